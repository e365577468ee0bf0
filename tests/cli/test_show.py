from __future__ import annotations

import re
from io import StringIO

import pytest
from rich.console import Console

from dpod_search.cli.show import _front_table
from dpod_search.cli.show import describe_run
from dpod_search.cli.show import show_choices
from dpod_search.cli.show import show_run
from dpod_search.cli.show import show_status
from dpod_search.files import write_json
from dpod_search.pipeline import StageOutcome
from dpod_search.pipeline.choosing import find_budgets
from dpod_search.pipeline.choosing import find_costs


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


def test_a_status_names_every_limit_of_the_search():
    limits = {"n_evaluated": 60, "seconds": 2.5}
    text = render(show_status, {**STATUS, "limits": limits})
    assert "7 complete, 2 pruned of 20, or n_evaluated = 60, or seconds = 2.5" in text


def test_a_status_says_why_the_front_is_empty():
    found = {**STATUS, "counts": {"evaluated": 9}, "audit": {"rate": None}}
    assert "(no evaluated trial met the bounds)" in render(show_status, {**found, "n_front": 0})
    assert "met the bounds" not in render(show_status, {**found, "n_front": 3})


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


def test_the_front_names_its_knee():
    full = {"macs": 900, "params": 80, "test_accuracy": 0.9}
    rest = {"macs_share": 1.0, "validation_accuracy": 0.8, "on_front": True}
    members = [
        {**full, **rest, "trial": i, "folder": str(i), "macs": 900 - i, "knee": i == 1}
        for i in range(3)
    ]
    lines = render(
        Console.print, _front_table({"study": "s", "full": full, "members": members})
    ).splitlines()
    assert [line.split()[-1] for line in lines if "%" in line] == ["yes", "knee", "yes"]


def test_the_front_shows_the_footprints_that_were_searched():
    costs = {"macs": 900, "params": 80, "weight_bytes": 320, "toy_bytes": 7777}
    full = {**costs, "test_accuracy": 0.9}
    member = {**full, "macs_share": 1.0, "validation_accuracy": 0.8, "on_front": True}
    member |= {"trial": 0, "folder": "0", "values_after": {"accuracy": 0.8, "toy_bytes": 7777.0}}
    front = {"study": "digits", "footprints": list(costs), "full": full, "members": [member]}
    text = render(Console.print, _front_table(front))
    assert "toy_bytes" in text
    assert "7,777" in text
    assert "weight_bytes" not in text


def make_front(**changes):
    """Make a front of one member of which latency is modelled; nothing was searched along it."""
    costs = {"macs": 900, "params": 80, "peak_bytes": 4096, "latency": 0.19337}
    full = {**costs, "test_accuracy": 0.9}
    member = {**full, "trial": 2, "folder": "2", "macs_share": 1.0, "validation_accuracy": 0.8}
    member |= {"on_front": True, "values_after": {"accuracy": 0.8, "macs": 900.0}}
    front = {"study": "digits", "footprints": list(costs), "full": full, "members": [member]}
    return front | changes


def show_finished(tmp_path, front, constraints):
    write_json(tmp_path / "front.json", front)
    found = {"constraints": constraints, "counts": {"evaluated": 1}, "front": [2]}
    write_json(tmp_path / "search.json", found)
    console = Console(file=(text := StringIO()), width=120)
    show_run(console, tmp_path, [StageOutcome("finetune", was_done=False, seconds=0.004)])
    return text.getvalue()


@pytest.mark.parametrize(
    ("budgets", "constraints"),
    [(["latency<=50%"], {}), (["macs<=5M and latency<=1"], {}), ([], {"latency": "<= 1"})],
)
def test_latency_has_a_column_where_it_is_bounded(tmp_path, budgets, constraints):
    text = show_finished(tmp_path, make_front(budgets=budgets), constraints)
    heading = next(line for line in text.splitlines() if "of full" in line)
    assert re.search(r"params +latency +validation", heading)
    assert "0.1934 ms" in text
    assert "peak_bytes" not in text
    assert "0.004 s" in text


def test_a_latency_that_the_search_measured_has_a_column(tmp_path):
    front = make_front()
    front["footprints"].remove("latency")
    front["members"][0]["values_after"] |= {"latency_ms": 0.0312, "energy": 1e-5}
    text = show_finished(tmp_path, front, {})
    assert re.search(r"params +latency_ms +energy +validation", text)
    assert "0.0312 ms" in text
    assert "0.00001" in text


def test_a_budget_is_told_with_what_it_bounds(tmp_path):
    front = make_front(budgets=["macs<=5M and latency<=1"])
    front["members"][0]["budgets"] = front["budgets"]
    told = "macs<=5M and latency<=1: trial 2, macs 900, latency 0.1934 ms"
    assert told in show_finished(tmp_path, front, {})
    found = {"budgets": find_budgets(front), "costs": find_costs(front)}
    assert f"best under {told}" in render(show_status, {**STATUS, **found})


def test_choices_name_what_their_budget_bounds():
    footprint = {"macs": 12345678, "params": 80, "latency": 0.019, "peak_bytes": 4096}
    choice = {"budget": "peak_bytes<=50%", "footprint": footprint, "importance": 0.0002}
    choice |= {"is_proven": False, "gap": 0.0004, "seconds": 0.02}
    text = render(show_choices, {"method": "mdp", "choices": [choice], "unmet": {}}, width=200)
    assert "; macs 12,345,678; params 80; latency 0.019 ms modelled; peak_bytes 4,096; " in text
    assert "; 0.02 % of the importance; gap 0.04 % in 0.02 s" in text


def test_the_audit_is_shown_with_its_interval():
    counts = {"evaluated": 9, "pruned-surrogate": 4, "failed": 0}
    audit = {"n_audited": 5, "n_wrong": 1, "rate": 0.2, "low": 0.036, "high": 0.625}
    found = {**STATUS, "counts": counts, "audit": audit, "n_front": 3}
    text = render(show_status, found)
    assert "fates: 9 evaluated, 4 pruned-surrogate; front of 3" in text
    assert "false prunes: 1 of 5 audited (95 % interval 4 to 62 %)" in text
    saved = {"n_drawn": 8, "saved": 0.625, "saved_low": 0.306, "saved_high": 0.863}
    text = render(show_status, {**found, "audit": audit | saved})
    assert "saved by the surrogate: about 62 % (95 % interval 31 to 86 %, from 8 audits)" in text
    silent = {**found, "audit": {**audit, "rate": None}}
    assert "false prunes" not in render(show_status, silent)


def test_a_training_that_learned_nothing_is_told(tmp_path):
    write_json(tmp_path / "training.json", {"warning": "hardly more than guessing"})
    outcomes = [StageOutcome("train", was_done=False, seconds=1.0)]
    console = Console(file=(text := StringIO()), width=100)
    show_run(console, tmp_path, outcomes)
    assert "hardly more than guessing" in text.getvalue()
    assert describe_run(tmp_path, outcomes)["warning"] == "hardly more than guessing"
