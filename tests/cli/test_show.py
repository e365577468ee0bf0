from __future__ import annotations

import dataclasses
import re
from io import StringIO

import pytest
from rich.console import Console

from dpod_search.cli.show import _front_table
from dpod_search.cli.show import describe_run
from dpod_search.cli.show import describe_supernet
from dpod_search.cli.show import show_choices
from dpod_search.cli.show import show_run
from dpod_search.cli.show import show_status
from dpod_search.cli.show import show_supernet
from dpod_search.files import write_json
from dpod_search.pipeline import StageOutcome
from dpod_search.pipeline.choosing import find_budgets
from dpod_search.pipeline.choosing import find_costs
from dpod_search.report.graph import InspectedDimension
from dpod_search.report.graph import InspectedGroup
from dpod_search.report.graph import Inspection


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


def make_inspection(n_groups=1):
    sizes = {"macs": 2000, "params": 30}
    return Inspection(
        title="net",
        groups=tuple(
            InspectedGroup(
                name=f"features.stage{i}.conv",
                kind="heads",
                full=8,
                rungs=(2, 4, 8),
                members=(
                    f"features.stage{i}.conv",
                    *(f"stage{i}.member{j}" for j in range(i + 2)),
                ),
                line="net.py:1",
                in_layers={"macs": 0.251, "params": 0.5},
                saves={"macs": 0.125, "params": 0.0004},
            )
            for i in range(n_groups)
        ),
        frozen=(InspectedDimension("head", 10, ("the output", "another"), ("head",), "net.py:9"),),
        operations=(),
        uncounted=("einsum at net.py:3",),
        full=sizes,
        smallest=sizes,
        n_subnets=12345,
    )


def test_what_is_frozen_or_not_counted_is_said():
    text = render(show_supernet, make_inspection())
    assert re.search(r"features.stage0.conv +heads +2 +8 +25.1 +50.0 +12.5 +0.04\n", text)
    for part in (
        "  stage0.member0, stage0.member1\n",
        "head  10\n  the output\n  another\n  made at net.py:9\n",
        "macs not counted: einsum",
        "full net: macs 2,000 (without those not counted), params 30",
        "subnets: 12,345",
    ):  # fmt: skip  (a table)
        assert part in text


def test_a_group_whose_weights_are_not_shared_in_order_says_so():
    found = make_inspection()
    assert "in order" not in render(show_supernet, found)
    [group] = found.groups
    group = dataclasses.replace(group, out_of_order=("chunk (net.py:4) cuts it",))
    found = dataclasses.replace(found, groups=(group,))
    told = "stage0.member1\n  weights not shared in order: chunk (net.py:4) cuts it\n"
    assert told in render(show_supernet, found)
    assert describe_supernet(found)["groups"][0]["out_of_order"] == ("chunk (net.py:4) cuts it",)


def test_a_frozen_module_of_unknown_width_has_none():
    found = make_inspection()
    item = dataclasses.replace(found.frozen[0], full=None)
    found = dataclasses.replace(found, frozen=(item,), uncounted=())
    text = render(show_supernet, found)
    assert "\nhead\n  the output\n" in text
    assert "full net: macs 2,000, params 30" in text
    assert describe_supernet(found)["frozen"][0]["full"] is None


@pytest.mark.parametrize("width", [40, 80, 120])
def test_fifty_groups_stay_readable(width):
    text = render(show_supernet, make_inspection(50), width)
    assert "stage49.member0, stage49.member1, stage49.member2 + 48" in " ".join(text.split())
    assert all(f"features.stage{i}.conv" in text for i in range(50))
    if width >= 80:
        assert max(map(len, text.splitlines())) <= width
        assert len(text.splitlines()) < 130


def test_a_training_that_learned_nothing_is_told(tmp_path):
    write_json(tmp_path / "training.json", {"warning": "hardly more than guessing"})
    outcomes = [StageOutcome("train", was_done=False, seconds=1.0)]
    console = Console(file=(text := StringIO()), width=100)
    show_run(console, tmp_path, outcomes)
    assert "hardly more than guessing" in text.getvalue()
    assert describe_run(tmp_path, outcomes)["warning"] == "hardly more than guessing"
