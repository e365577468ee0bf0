from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import pytest
from browser import find_chromium
from PIL import Image
from report.run_folder import RunFolder

from dpod_search.errors import CheckpointError
from dpod_search.errors import ConfigError
from dpod_search.report import FIGURES
from dpod_search.report import check_png
from dpod_search.report import write_pngs
from dpod_search.report.png import draw_pngs


@pytest.mark.e2e
def test_every_figure_is_drawn_on_white(run: RunFolder) -> None:
    pytest.importorskip("kaleido")
    if find_chromium() is None:
        pytest.skip("no browser on the PATH")
    folder = run.write()
    stale = folder / "figures" / "latency.png"
    stale.parent.mkdir()
    stale.write_bytes(b"of an earlier search")
    files = write_pngs(folder)
    assert not stale.exists()
    assert {file.stem for file in files} == {kind.name for kind in FIGURES} - {"latency"}
    for file in files:
        with Image.open(file) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        assert pixels.shape[1] == 1440
        assert (pixels[0, 0] == 255).all()
        assert (pixels != 255).any(axis=2).mean() > 0.005, file
        assert file.stat().st_size < 150_000


def test_without_kaleido_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "kaleido" else find(name)
    )
    with pytest.raises(ConfigError, match=r'pip install "dpod-search\[png\]"'):
        check_png()


def test_without_a_browser_it_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("kaleido")
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="need a Chrome or Chromium") as caught:
        check_png()
    assert "\n" not in str(caught.value)


@pytest.mark.e2e
def test_a_browser_that_does_not_start_is_one_line(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("kaleido")
    monkeypatch.setenv("BROWSER_PATH", sys.executable)
    with pytest.raises(ConfigError, match="did not draw the PNGs") as caught:
        write_pngs(run.write())
    assert "\n" not in str(caught.value)


def test_a_folder_that_cannot_be_written_is_no_fault_of_the_browser(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def write_images(figures: object, files: list[Path], **settings: object) -> None:
        for file in files:
            Image.new("RGB", (4, 4)).save(file)

    monkeypatch.setattr("plotly.io.write_images", write_images)
    (tmp_path / "figures").write_text("a file where the folder should be")
    with pytest.raises(CheckpointError) as caught:
        draw_pngs({tmp_path / "figures" / "front.png": go.Figure()})
    assert "browser" not in str(caught.value)
