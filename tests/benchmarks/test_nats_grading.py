"""Fronts and rankings are graded by the table alone."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from dpod_search.pareto import find_front


@pytest.fixture(scope="module")
def grading(import_benchmark: Callable[[str], ModuleType]) -> ModuleType:
    return import_benchmark("nats_grading")


@pytest.fixture(scope="module")
def table(grading: ModuleType) -> Any:
    """A hundred networks of two groups; the first group costs, the second is what helps."""
    widths = np.array(list(itertools.product(range(1, 11), repeat=2)))
    macs = 10 * widths[:, 0] + widths[:, 1]
    accuracy = 0.5 + 0.04 * widths[:, 1] + 0.001 * widths[:, 0]
    return grading.WidthTable(widths, accuracy, macs, widths.prod(axis=1))


def write_trials(file: Path, table: Any, rows: list[int], front: set[int]) -> Path:
    with file.open("w", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow(["number", "fate", "on_front", "width:a", "width:b"])
        for number, row in enumerate(rows):
            writer.writerow([number, "evaluated", int(row in front), *table.channels[row]])
        # A pruned trial was not evaluated, and counts for nothing.
        writer.writerow([len(rows), "pruned-surrogate", 0, *table.channels[0]])
    return file


def test_the_true_front_has_no_gap(grading: ModuleType, table: Any, tmp_path: Path) -> None:
    points = np.column_stack([-table.accuracy, table.macs])
    front = set(np.flatnonzero(find_front(points)).tolist())
    trials = write_trials(tmp_path / "trials.csv", table, list(range(100)), front)

    graded = grading.grade_fronts(table, trials)

    assert graded["pipeline"] == {"gap": pytest.approx(0), "n_networks": len(front)}
    assert graded["best of the evaluated"]["gap"] == pytest.approx(0)
    assert graded["random"]["gap"] > 0
    assert graded["params"]["n_networks"] <= len(front)


def test_a_wrong_pick_costs_what_the_table_says(
    grading: ModuleType, table: Any, tmp_path: Path
) -> None:
    # Only the cheapest network is picked, though the best at its width was evaluated.
    trials = write_trials(tmp_path / "trials.csv", table, [0, 9], {0})

    graded = grading.grade_fronts(table, trials)

    assert graded["pipeline"]["n_networks"] == 1
    assert graded["pipeline"]["gap"] > 30 > graded["best of the evaluated"]["gap"]


def test_a_supernet_that_says_the_published_accuracies_ranks_all_rightly(
    grading: ModuleType, table: Any
) -> None:
    rows = np.arange(100)
    found = {"accuracy": table.accuracy.tolist(), "confidence": (-table.accuracy).tolist()}

    described = grading.describe_ranking(table, rows, found)

    assert described["supernet accuracy"]["tau"]["value"] == pytest.approx(1)
    assert described["supernet confidence"]["tau"]["value"] == pytest.approx(-1)
    assert 0 < described["params"]["tau"]["value"] < 1
    assert [band["n"] for band in described["macs"]["deciles"]] == [10] * 10
