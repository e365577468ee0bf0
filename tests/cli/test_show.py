from __future__ import annotations

import re
from dataclasses import replace
from io import StringIO

import pytest
from report.run_folder import RunFolder
from rich.console import Console

from dpod_search.cli.show import _front_table
from dpod_search.cli.show import describe_run
from dpod_search.cli.show import show_choices
from dpod_search.cli.show import show_run
from dpod_search.cli.show import show_status
from dpod_search.files import write_json
from dpod_search.pipeline import StageOutcome
from dpod_search.pipeline.stages.choosing import find_costs
from dpod_search.records.front import FinetunedFront
from dpod_search.records.front import FullNet
from dpod_search.records.front import Member
from dpod_search.records.oneshot import OneShot
from dpod_search.records.oneshot import OneShotChoice


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


def make_member(trial, costs, **changes):
    """Make a finetuned subnet."""
    known = {
        "trial": trial,
        "folder": "full" if trial is None else str(trial),
        "widths": {},
        "values": {},
        "values_after": {},
        "footprint": costs,
        "validation_before": {"accuracy": 0.7},
        "validation": {"accuracy": 0.8},
        "test_before": {"accuracy": 0.7},
        "test": {"accuracy": 0.9},
        "budgets": (),
        "macs_share": 1.0,
        "on_front": True,
        "knee": False,
    }
    return Member(**(known | changes))


def make_front(members, costs, budgets=()):
    """Make a front beside a full net of some costs."""
    return FinetunedFront(
        study="digits",
        seed=0,
        footprints=tuple(costs),
        budgets=budgets,
        unmet_budgets={},
        full=FullNet(footprint=costs, validation={"accuracy": 0.8}, test={"accuracy": 0.9}),
        members=members,
    )


@pytest.mark.parametrize("width", [60, 100])
def test_the_front_names_the_full_net_and_cuts_no_number(width):
    full = {"macs": 1_814_073_344, "params": 11_689_512}
    members = [
        make_member(0, full),
        make_member(3, {"macs": 5, "params": 3}),
        make_member(None, full),
    ]
    text = render(Console.print, _front_table(make_front(members, full)), width)
    assert "…" not in text
    if width == 100:
        assert "1,814,073,344" in text
        assert text.count("(full)") == 1
        assert re.search(r"full +1,814,073,344", text)


def test_the_front_names_its_knee():
    members = [make_member(i, {"macs": 900 - i, "params": 80}, knee=i == 1) for i in range(3)]
    front = make_front(members, {"macs": 900, "params": 80})
    lines = render(Console.print, _front_table(front)).splitlines()
    assert [line.split()[-1] for line in lines if "%" in line] == ["yes", "knee", "yes"]


def test_the_front_shows_the_footprints_that_were_searched():
    costs = {"macs": 900, "params": 80, "weight_bytes": 320, "toy_bytes": 7777}
    member = make_member(0, costs, values_after={"accuracy": 0.8, "toy_bytes": 7777.0})
    text = render(Console.print, _front_table(make_front([member], costs)))
    assert "toy_bytes" in text
    assert "7,777" in text
    assert "weight_bytes" not in text


def make_timed(budgets=(), costs=(), **measured):
    """Make a front of one member of which latency is modelled; nothing was searched along it."""
    sizes = {"macs": 900, "params": 80, "peak_bytes": 4096, "latency": 0.19337}
    sizes = {name: sizes[name] for name in costs or sizes}
    after = {"accuracy": 0.8, "macs": 900.0, **measured}
    return make_front([make_member(2, sizes, values_after=after)], sizes, budgets)


def show_finished(tmp_path, front, constraints):
    front.write(tmp_path)
    found = RunFolder(tmp_path).documents["search.json"]
    write_json(tmp_path / "search.json", found | {"constraints": constraints})
    console = Console(file=(text := StringIO()), width=120)
    show_run(console, tmp_path, [StageOutcome("finetune", was_done=False, seconds=0.004)])
    return text.getvalue()


@pytest.mark.parametrize(
    ("budgets", "constraints"),
    [(["latency<=50%"], {}), (["macs<=5M and latency<=1"], {}), ([], {"latency": "<= 1"})],
)
def test_latency_has_a_column_where_it_is_bounded(tmp_path, budgets, constraints):
    text = show_finished(tmp_path, make_timed(budgets), constraints)
    heading = next(line for line in text.splitlines() if "of full" in line)
    assert re.search(r"params +latency +validation", heading)
    assert "0.1934 ms" in text
    assert "peak_bytes" not in text
    assert "0.004 s" in text


def test_a_latency_that_the_search_measured_has_a_column(tmp_path):
    costs = ("macs", "params", "peak_bytes")
    front = make_timed(costs=costs, latency_ms=0.0312, energy=1e-5)
    text = show_finished(tmp_path, front, {})
    assert re.search(r"params +latency_ms +energy +validation", text)
    assert "0.0312 ms" in text
    assert "0.00001" in text


def test_a_budget_is_told_with_what_it_bounds(tmp_path):
    front = make_timed(["macs<=5M and latency<=1"])
    front = replace(front, members=[replace(front.members[0], budgets=front.budgets)])
    told = "macs<=5M and latency<=1: trial 2, macs 900, latency 0.1934 ms"
    assert told in show_finished(tmp_path, front, {})
    found = {"budgets": front.chosen, "costs": find_costs(front)}
    assert f"best under {told}" in render(show_status, {**STATUS, **found})


def test_choices_name_what_their_budget_bounds():
    footprint = {"macs": 12345678, "params": 80, "latency": 0.019, "peak_bytes": 4096}
    choice = OneShotChoice(
        budget="peak_bytes<=50%",
        widths={},
        footprint=footprint,
        importance=0.0002,
        gap=0.0004,
        is_proven=False,
        seconds=0.02,
    )
    chosen = OneShot(key="0f", method="mdp", choices=(choice,), unmet={})
    text = render(show_choices, chosen, width=200)
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
    written = RunFolder(tmp_path).documents["training.json"]
    write_json(tmp_path / "training.json", written | {"warning": "hardly more than guessing"})
    outcomes = [StageOutcome("train", was_done=False, seconds=1.0)]
    console = Console(file=(text := StringIO()), width=100)
    show_run(console, tmp_path, outcomes)
    assert "hardly more than guessing" in text.getvalue()
    assert describe_run(tmp_path, outcomes)["warning"] == "hardly more than guessing"


@pytest.mark.parametrize(("accuracy", "told"), [(0.88, "2.0 worse"), (0.91, "1.0 better")])
def test_the_front_compares_with_the_full_net_in_words(accuracy, told):
    full = {"macs": 900_000, "params": 80_000}
    members = [make_member(1, {"macs": 90_000, "params": 8_000}, test={"accuracy": accuracy})]
    text = render(
        Console.print, _front_table(make_front([*members, make_member(0, full)], full)), 80
    )
    assert told in text
    assert max(map(len, text.splitlines())) <= 80
    assert "points of accuracy better or worse" in text


def test_what_is_cheaper_and_as_good_is_told(tmp_path):
    sizes = [{"macs": macs, "params": 80} for macs in (500, 700, 900)]
    members = [make_member(i, size, knee=i == 1) for i, size in enumerate(sizes)]
    members[2] = replace(members[2], budgets=("macs<=95%",))
    front = make_front(members, sizes[2], ("macs<=95%",))
    text = show_finished(tmp_path, front, {})
    assert "macs<=95% of the full net's: trial 0 is cheaper than trial 2 and as good" in text
    assert "trial 0 is cheaper than trial 1, the knee, and as good on validation" in text


def test_a_measured_latency_has_a_column(tmp_path):
    front = make_timed(["latency<=50%"])
    front = replace(front, members=[replace(front.members[0], measured_latency_share=0.47)])
    text = show_finished(tmp_path, front, {})
    assert "47.0 %" in text
