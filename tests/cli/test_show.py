from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from dpod_search.cli.show import _front_table
from dpod_search.cli.show import show_status
from dpod_search.cli.show import show_supernet


def render(show, value, width=100):
    text = StringIO()
    show(Console(file=text, width=width), value)
    return text.getvalue()


STATUS = {
    "study": "digits",
    "folder": "runs/digits",
    "is_running": True,
    "stages": {"train": True, "search": False},
    "trials": {"complete": 7, "pruned": 2},
    "n_trials": 20,
    "n_finetuned": 0,
}


def test_a_status_in_the_middle_of_a_search():
    text = render(show_status, STATUS)
    assert "a process works on it" in text
    assert "search: not ended" in text
    assert "trials: 7 complete, 2 pruned of 20" in text
    assert "fates" not in text


def test_a_status_before_the_search():
    assert "trials: none of 20" in render(show_status, {**STATUS, "trials": {}})


def test_trials_elsewhere_are_not_taken_for_none():
    audit = {"rate": None}
    found = {**STATUS, "trials": {}, "counts": {"evaluated": 9}, "audit": audit, "n_front": 3}
    text = render(show_status, found)
    assert "trials: not in the run folder; --storage says where they are" in text


@pytest.mark.parametrize("width", [60, 100])
def test_the_front_names_the_full_net_and_cuts_no_number(width):
    full = {"macs": 1_814_073_344, "params": 11_689_512, "test_accuracy": 0.9}
    rest = {"macs_share": 1.0, "validation_accuracy": 0.8, "on_front": True}
    members = [
        {**full, **rest, "trial": 0, "folder": "0"},
        {**full, **rest, "trial": 3, "folder": "3", "macs": 5, "params": 3},
        {**full, **rest, "trial": None, "folder": "full"},
    ]
    table = _front_table({"study": "digits", "full": full, "members": members})
    text = render(Console.print, table, width)
    assert "…" not in text
    if width == 100:
        assert "1,814,073,344" in text
        assert text.count("(full)") == 1
        assert "full   1,814,073,344" in text


def test_the_audit_is_shown_with_its_interval():
    counts = {"evaluated": 9, "pruned-surrogate": 4, "failed": 0}
    audit = {"n_audited": 5, "n_wrong": 1, "rate": 0.2, "low": 0.036, "high": 0.625}
    found = {**STATUS, "counts": counts, "audit": audit, "n_front": 3}
    text = render(show_status, found)
    assert "fates: 9 evaluated, 4 pruned-surrogate; front of 3" in text
    assert "false prunes: 1 of 5 audited (95 % interval 4 to 62 %)" in text
    silent = {**found, "audit": {**audit, "rate": None}}
    assert "false prunes" not in render(show_status, silent)


def test_what_is_frozen_or_not_counted_is_said():
    sizes = {"macs": 2000, "params": 30}
    described = {
        "groups": [
            {"name": "conv", "full": 8, "rungs": [2, 8], "members": ["a", "b"], "macs_share": 0.25}
        ],
        "frozen": [{"name": "head", "full": 10, "reasons": ["the output", "another"]}],
        "uncounted": ["einsum at net.py:3"],
        "full": sizes,
        "smallest": sizes,
        "n_subnets": "12345",
    }
    text = render(show_supernet, described)
    for part in (
        "25.0 %",
        "2 8",
        "a, b",
        "the output; another",
        "macs not counted: einsum",
        "full net: macs 2,000, params 30",
        "subnets: 12,345",
    ):  # fmt: skip  (a table)
        assert part in text
