"""A new footprint is one function and one line in ``METRICS``; all else follows from it."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pipeline.tiny import load_tiny
from torch import nn

import dpod_search as dpod
from dpod_search.files import read_json
from dpod_search.footprint import METRICS
from dpod_search.pipeline import run_stages
from dpod_search.report import read_run


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A metric that nothing in the package has heard of."""
    count: Callable[..., Any] = METRICS["params"]
    monkeypatch.setitem(METRICS, "toy_bytes", lambda *known: 3 * count(*known))


def test_it_goes_through_a_whole_run(tmp_path: Path) -> None:
    config = load_tiny(
        'search.objectives=["accuracy", "toy_bytes"]',
        'search.constraints={toy_bytes="<= 80%"}',
    )
    run_stages(config, tmp_path)

    names = list(METRICS)
    search, front = read_json(tmp_path / "search.json"), read_json(tmp_path / "front.json")
    manifest = read_json(tmp_path / "exported" / "manifest.json")
    assert search["footprints"] == front["footprints"] == names
    assert search["constraints"] == {"toy_bytes": "<= 80%"}
    with (tmp_path / "trials.csv").open(newline="") as file:
        trials = list(csv.DictReader(file))
    for holder in (search["full"], front["full"], *front["members"], *manifest["models"], *trials):
        assert float(holder["toy_bytes"]) == 3 * float(holder["params"])
    limit = 0.8 * search["full"]["toy_bytes"]
    for trial in trials:
        assert trial["fate"] == "pruned-constraint" or float(trial["toy_bytes"]) <= limit
    for member in front["members"]:
        assert member["values_after"]["toy_bytes"] == member["toy_bytes"]
        assert member["toy_bytes"] <= limit or not member["on_front"]

    read = read_run(tmp_path)
    assert read.search.footprints == tuple(names)
    assert read.search.objectives[1].is_footprint
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "minimize toy bytes" in page
    assert "toy (KiB)" in page


def test_the_width_program_keeps_within_it(tmp_path: Path) -> None:
    config = load_tiny('oneshot.method="mdp"', 'oneshot.budgets=["toy_bytes<=50%"]')
    run_stages(config, tmp_path, stages=["train", "search"])

    full = read_json(tmp_path / "search.json")["full"]["toy_bytes"]
    (choice,) = read_json(tmp_path / "oneshot.json")["choices"]
    assert choice["footprint"]["toy_bytes"] == 3 * choice["footprint"]["params"]
    assert 0.4 * full < choice["footprint"]["toy_bytes"] <= 0.5 * full


@pytest.mark.parametrize(
    ("objective", "name"), [("toy_bytes", "toy_bytes"), (dpod.PeakBytes(), "peak_bytes")]
)
def test_python_users_name_it(
    objective: object, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METRICS, name, METRICS["toy_bytes"])
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 2, 1))
    supernet = dpod.build_supernet(net, torch.zeros(2, 3, 8, 8))
    limit = dpod.build_footprint(supernet).measure(supernet.space.full)[name] // 2

    front = dpod.search(
        supernet,
        [dpod.Macs(), objective],
        n_trials=10,
        constraints={name: f"<= {limit}"},
    )

    assert len(front) >= 1
    for member in front:
        assert member.values[name] == member.footprint[name] <= limit
    assert front.under(**{name: limit}) in list(front)


def test_the_widths_decide_as_before_where_nobody_asks_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is registered must not change the trials of a study that does not name it."""
    overrides = ("search.n_trials=24", "search.audit_share=0.5")
    run_stages(load_tiny(*overrides), tmp_path / "with", stages=["train", "search"])
    monkeypatch.delitem(METRICS, "toy_bytes")
    run_stages(load_tiny(*overrides), tmp_path / "without", stages=["train", "search"])

    seen = []
    for name in ("with", "without"):
        with (tmp_path / name / "trials.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        kept = [column for column in rows[0] if column not in ("toy_bytes", "seconds")]
        seen.append([[row[column] for column in kept] for row in rows])
    assert seen[0] == seen[1]
