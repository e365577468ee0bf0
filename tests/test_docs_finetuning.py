"""The code in docs/finetuning.md runs, from top to bottom, and its figures are those of the settings."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from training.fakes import single_thread

from dpod_search.finetune import FinetuneSettings


PAGE = Path(__file__).resolve().parents[1] / "docs" / "finetuning.md"
TEXT = PAGE.read_text(encoding="utf-8")


def find_blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.M | re.S)


def test_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "page"}
    with single_thread():
        for block in find_blocks("python"):
            exec(compile(block, str(PAGE), "exec"), names)  # noqa: S102  # our own page

    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(names["finetuned"]) + 1
    assert all(" macs: " in line for line in lines[:-1])
    assert lines[-1].endswith(" seconds")
    assert names["teacher"].n_images == 2 * 72  # two views of every picture
    assert list(tmp_path.iterdir()) == []


def test_the_study_file_of_the_page_is_one() -> None:
    for block in find_blocks("toml"):
        FinetuneSettings(**tomllib.loads(block)["finetune"])


def test_the_table_of_epochs_is_right() -> None:
    shares = {"all": 1.0, "a quarter": 0.25, "a tenth": 0.1, "a hundredth": 0.01}
    for name, share in shares.items():
        (row,) = re.findall(rf"^\| {name} \| (.*) \|$", TEXT, re.M)
        found = [int(re.findall(r"\d+", cell)[0]) for cell in row.split("|")]
        settings = (FinetuneSettings(equal_cost=power) for power in (0.0, 0.5, 1.0))
        assert found == [round(one.epochs_of(share)) for one in settings]
