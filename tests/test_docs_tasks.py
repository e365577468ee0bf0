"""The code in docs/tasks.md runs, and its table is that of the tasks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from training.fakes import single_thread

from dpod_search.tasks import TASKS
from dpod_search.tasks import resolve_task
from dpod_search.torchvision_ops import ensure_torchvision


PAGE = Path(__file__).resolve().parents[1] / "docs" / "tasks.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {"__name__": "page"}
    ensure_torchvision()  # of a build for another PyTorch, too
    with single_thread():
        for block in re.findall(r"^```python\n(.*?)^```", TEXT, re.M | re.S):
            exec(compile(block, str(PAGE), "exec", dont_inherit=True), names)  # noqa: S102  # our own page
    iou, accuracy = map(float, capsys.readouterr().out.split())
    assert 0 < iou <= accuracy <= 1


def test_the_table_names_each_task_and_its_metrics() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \|.*\|([^|]*)\|$", TEXT, re.M)
    assert [name for name, _ in rows] == list(TASKS)
    for name, cell in rows:
        named = re.findall(r"`(\w+)`", cell)
        assert named == [metric.name for metric in resolve_task(name).metrics]
