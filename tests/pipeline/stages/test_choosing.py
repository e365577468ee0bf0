"""Which members are finetuned: by number, all of them, or by budgets."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path

import pytest
from pipeline.tiny import load_tiny

from dpod_search.errors import ConfigError
from dpod_search.errors import InfeasibleError
from dpod_search.files import hash_file
from dpod_search.files import read_json
from dpod_search.pipeline import run_stages
from dpod_search.pipeline.stages import finetuning
from dpod_search.pipeline.status import read_status
from dpod_search.records.front import FinetunedFront


N_VALIDATION = 359  # of the digits


def finetune(run: Path, *overrides: str) -> dict:
    run_stages(load_tiny(*overrides), run, stages=["finetune"])
    return read_json(run / "front.json")


def choose_by(*budgets: str) -> str:
    return f"finetune.budgets={json.dumps(budgets)}"


def read_trials(run: Path, *, behind: bool = False) -> dict[int, dict[str, float]]:
    """Return accuracy and macs of the front's members, and of those behind, from trials.csv."""
    header, *rows = (line.split(",") for line in (run / "trials.csv").read_text().splitlines())
    rows = [dict(zip(header, row, strict=True)) for row in rows]
    return {
        int(row["number"]): {"accuracy": float(row["accuracy"]), "macs": float(row["macs"])}
        for row in rows
        if row["on_front"] == "1" or (behind and row["accuracy"])
    }


def test_all_of_the_front_are_finetuned(run):
    front = finetune(run, "finetune.n_subnets=all")
    searched = read_json(run / "search.json")["front"]
    assert len(searched) > 2
    assert set(searched) <= {member["trial"] for member in front["members"]}
    assert front["budgets"] == []
    assert all(member["budgets"] == [] for member in front["members"])
    tuned = [member for member in front["members"] if member["macs_share"] < 1]
    assert len(tuned) > 4  # else nothing is foretold
    for member in front["members"]:
        if member in tuned:
            middle, low, high = member["foretold"]
            assert 0 < low <= middle <= high < 1
        else:
            assert "foretold" not in member


def find_largest(trials: dict[int, dict[str, float]], limit: float) -> int:
    """Return the largest of those that validation hardly tells from the best within a limit."""
    within = {n: t for n, t in trials.items() if t["macs"] <= limit}
    best = max(t["accuracy"] for t in within.values())
    least = best - math.sqrt(best * (1 - best) / N_VALIDATION)
    near = [n for n, t in within.items() if t["accuracy"] >= least]
    return max(near, key=lambda n: (within[n]["macs"], within[n]["accuracy"]))


def test_under_each_budget_the_largest_of_the_best_is_finetuned_and_nothing_else(run):
    front = finetune(run, choose_by("macs<=40%", "macs<=1", "macs<=1G", "macs<=41%"))
    searched, full = read_trials(run, behind=True), front["full"]["macs"]
    best, top = find_largest(searched, 0.4 * full), find_largest(searched, 1e9)
    chosen = FinetunedFront.read(run).chosen
    assert list(chosen) == front["budgets"] == ["macs<=40%", "macs<=1", "macs<=1G", "macs<=41%"]
    assert (chosen["macs<=40%"], chosen["macs<=1G"], chosen["macs<=1"]) == (best, top, None)
    budgets = {member["trial"]: member["budgets"] for member in front["members"]}
    assert {number for number, met in budgets.items() if met} == set(chosen.values()) - {None}
    # The full net is there to compare with, chosen or not.
    assert sum(not met for met in budgets.values()) <= 1
    if chosen["macs<=41%"] == best:
        assert budgets[best] == ["macs<=40%", "macs<=41%"]
    smallest = f"{min(t['macs'] for t in searched.values()):,.0f}"
    assert f"the smallest macs is {smallest}" in front["unmet_budgets"]["macs<=1"]
    assert read_status(run)["budgets"] == chosen


def test_a_budget_and_a_constraint_may_bound_the_same(tmp_path):
    config = load_tiny('search.constraints={macs="<= 80%"}', choose_by("macs<=40%"))
    run_stages(config, tmp_path / "digits", stages=["train", "search", "finetune"])
    assert FinetunedFront.read(tmp_path / "digits").chosen["macs<=40%"] is not None


def test_finetuning_reads_the_search_and_runs_none(run, monkeypatch):
    def fail(*arguments, **options):
        raise AssertionError("it is over")

    monkeypatch.setattr("dpod_search.pipeline.stages.searching.run_study", fail)
    monkeypatch.setattr("dpod_search.pipeline.stages.searching.open_study", fail)
    searched = read_trials(run)
    for member in finetune(run, "finetune.n_subnets=all")["members"]:
        if member["trial"] in searched:
            assert member["values"] == searched[member["trial"]]


def test_a_budget_that_is_not_met_is_in_the_log(run, caplog):
    with caplog.at_level(logging.WARNING):
        finetune(run, choose_by("macs<=1", "macs<=1G"))
    assert "finetune: no member of the front meets the budget macs<=1:" in caplog.text
    assert "meets the budget macs<=1:" in (run / "log.jsonl").read_text()


def test_other_budgets_finetune_nothing_that_is_there(run, monkeypatch):
    first = finetune(run, choose_by("macs<=1G"))
    before = {
        folder: hash_file(run / "finetuned" / folder / "model.safetensors")
        for folder in (member["folder"] for member in first["members"])
    }
    done = []

    def note(jobs, **options):
        for number, tuned in run_jobs(jobs, **options):
            done.append(tuned.widths)
            yield number, tuned

    run_jobs = finetuning.run_jobs
    monkeypatch.setattr(finetuning, "run_jobs", note)
    second = finetune(run, choose_by("macs<=1G", "macs<=1M", "macs<=99%"))
    known = {tuple(m["widths"].values()) for m in first["members"]}
    assert all(widths.active not in known for widths in done)
    for folder, digest in before.items():
        assert hash_file(run / "finetuned" / folder / "model.safetensors") == digest
    assert len(second["members"]) == len(known) + len(done)
    # Nor does choosing by number once more, as the run was made.
    done.clear()
    finetune(run)
    assert done == []


def test_budgets_that_none_meets_are_an_error(run):
    with pytest.raises(InfeasibleError, match=r"budget macs<=1: .*; no member.* macs<=2: "):
        finetune(run, choose_by("macs<=1", "macs<=2"))


def test_budgets_below_the_smallest_subnet_are_refused_before_the_training(tmp_path):
    config = load_tiny(choose_by("macs<=1", "params<=1"))
    with pytest.raises(InfeasibleError, match=r"^macs<=1: no subnet .*; params<=1: no subnet "):
        run_stages(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_budget_on_what_is_not_known_is_refused_before_the_training(tmp_path):
    config = load_tiny(choose_by("macs<=50%", "mac<=2M"))
    with pytest.raises(ConfigError, match="'mac<=2M': .*did you mean macs"):
        run_stages(config, tmp_path / "run")
    assert not (tmp_path / "run" / "supernet.safetensors").exists()


def test_the_knee_of_the_finetuned_front_is_marked(run):
    front = finetune(run, "finetune.n_subnets=all")
    members = [member for member in front["members"] if member["on_front"]]
    knees = [member for member in members if member["knee"]]
    assert not any(member["knee"] for member in front["members"] if not member["on_front"])
    assert len(knees) <= 1
    if knees:
        assert knees[0] not in (members[0], members[-1])
