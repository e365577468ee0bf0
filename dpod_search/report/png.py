"""The figures as PNG, drawn by kaleido, which needs the extra ``[png]`` and a browser."""

from __future__ import annotations

import importlib.util
import io
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from PIL import Image

from dpod_search.errors import ConfigError
from dpod_search.figures import FIGURES
from dpod_search.figures import Drawing
from dpod_search.files import write_bytes
from dpod_search.records.run import read_run


_WIDTH = 960
_SCALE = 1.5


def write_pngs(run_folder: Path) -> tuple[Path, ...]:
    """Write ``figures/<figure>.png`` of every figure that the run folder allows.

    Args:
        run_folder: A run folder in which the search stage has run.

    Returns:
        The files, in the order of the report.

    Raises:
        ConfigError: If kaleido is not installed, or finds no browser.
        RunFolderError: If the search stage has not run there.
        CheckpointError: If a file is damaged or cannot be written.
    """
    check_png()
    run = read_run(run_folder)
    folder = run_folder / "figures"
    figures = {}
    for kind in FIGURES:
        drawing = kind.draw(run)
        file = folder / f"{kind.name}.png"
        if isinstance(drawing, Drawing):
            figures[file] = drawing.figure
        else:
            file.unlink(missing_ok=True)
    draw_pngs(figures)
    return tuple(figures)


def check_png() -> None:
    """Raise unless PNGs can be drawn: kaleido is installed and there is a browser.

    Raises:
        ConfigError: If one of them is missing.
    """
    if importlib.util.find_spec("kaleido") is None:
        raise ConfigError(
            'PNGs need kaleido, which is not installed; pip install "dpod-search[png]"'
        )
    if _find_browser() is None:
        raise ConfigError(
            "PNGs need a Chrome or Chromium, and none is on the PATH; install one, run "
            "plotly_get_chrome, or name its program in BROWSER_PATH"
        )


def draw_pngs(figures: Mapping[Path, go.Figure]) -> None:
    """Draw figures on white ground, all with one browser.

    Args:
        figures: The figure to draw in each file.

    Raises:
        ConfigError: If the browser cannot be started.
        CheckpointError: If a file cannot be written.
    """
    if not figures:
        return
    from plotly.io import write_images

    try:
        with tempfile.TemporaryDirectory(prefix="dpod-png-") as scratch:
            drawn = [Path(scratch) / f"{i}.png" for i in range(len(figures))]
            settings: dict[str, Any] = {"format": "png", "width": _WIDTH, "scale": _SCALE}
            write_images([_print(f) for f in figures.values()], drawn, **settings)
            pictures = [_shrink(png) for png in drawn]
    except (RuntimeError, OSError, ValueError) as error:
        raise ConfigError(
            f"the browser {_find_browser()} did not draw the PNGs ({type(error).__name__}: "
            f"{error}); name another in BROWSER_PATH, or leave --png out"
        ) from error
    # Outside, as a folder that cannot be written to is no fault of the browser.
    for file, picture in zip(figures, pictures, strict=True):
        write_bytes(file, picture)


def _print(figure: go.Figure) -> go.Figure:
    copy = go.Figure(figure)
    copy.update_layout(paper_bgcolor="#ffffff", plot_bgcolor="#ffffff", font={"color": "#333333"})
    return copy


def _shrink(png: Path) -> bytes:
    # Flat colours: a palette of 256 shows the same in a third of the bytes.
    small = io.BytesIO()
    with Image.open(png) as picture:
        picture.convert("RGB").quantize(256).save(small, format="PNG", optimize=True)
    return small.getvalue()


def _find_browser() -> str | None:
    named = os.environ.get("BROWSER_PATH")
    if named:
        return shutil.which(named)
    # Kaleido starts its browsers through choreographer, which knows where they are.
    from choreographer.browsers.chromium import Chromium

    found: str | None = Chromium.find_browser(skip_local=False)
    return found
