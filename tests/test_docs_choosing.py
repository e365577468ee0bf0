"""The code in docs/choosing.md runs, and its budgets can be read."""

from __future__ import annotations

import logging
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from training.fakes import single_thread

from dpod_search.bounds import split_budgets
from dpod_search.finetune import FinetuneSettings


PAGE = Path(__file__).resolve().parents[1] / "docs" / "choosing.md"
TEXT = PAGE.read_text(encoding="utf-8")


def find_blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.M | re.S)


def test_the_page_runs(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    names: dict[str, Any] = {"__name__": "page"}
    with single_thread(), caplog.at_level(logging.WARNING):
        for block in find_blocks("python"):
            exec(compile(block, str(PAGE), "exec"), names)  # noqa: S102  # our own page

    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["macs<=50%", "macs<=5M and params<=50k"]
    assert "no member of the front meets the budget macs<=1:" in caplog.text


def test_the_budgets_of_study_file_and_command_line_are_the_same() -> None:
    (block,) = find_blocks("toml")
    settings = FinetuneSettings(**tomllib.loads(block)["finetune"])
    (command,) = re.findall(r'--budgets "(.*)"', TEXT)
    assert split_budgets(command) == tuple(settings.budgets)
    rows = re.findall(r"^\| `(.*?)`", TEXT, re.M)
    for row in rows:
        FinetuneSettings(**tomllib.loads(row))
