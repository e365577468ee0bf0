from __future__ import annotations

import csv
import io
import json
import math

import pytest
from search.fakes import ACCURACY
from search.fakes import compute_accuracy
from search.fakes import make_task

from dpod_search.footprint.shares import Share
from dpod_search.report import read_run
from dpod_search.search import Objective
from dpod_search.search import Proposal
from dpod_search.search import SearchSettings
from dpod_search.search import make_sampler
from dpod_search.search import open_study
from dpod_search.search import run_study
from dpod_search.search import write_records
from dpod_search.search.outcome import describe_search


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    settings = SearchSettings(n_trials=70, population_size=12, min_evaluated=15, audit_share=0.4)
    task = make_task(constraints={"macs": "<= 80%"})
    study = open_study("digits", None, task.objectives, make_sampler(settings, task))
    seeds = [Proposal(task.space.full, "path"), Proposal(task.space.smallest, "ladder")]
    result = run_study(study, task, settings, seeds)
    folder = tmp_path_factory.mktemp("run")
    write_records(result, folder, uncounted=["rnn (net.py:8)"])
    rows = list(csv.DictReader(io.StringIO((folder / "trials.csv").read_text())))
    return result, json.loads((folder / "search.json").read_text()), rows


def test_search_json_is_as_documented(searched):
    result, record, _ = searched
    assert list(record) == [
        "study",
        "groups",
        "objectives",
        "footprints",
        "constraints",
        "full",
        "counts",
        "audit",
        "importance",
        "importance_r2",
        "front",
        "trials",
        "uncounted",
    ]
    assert record["uncounted"] == ["rnn (net.py:8)"]
    assert record["groups"][0] == {
        "name": "group0",
        "full": 16,
        "rungs": [2, 4, 6, 8, 10, 12, 14, 16],
    }
    assert record["objectives"] == [
        {"name": "accuracy", "direction": "maximize"},
        {"name": "macs", "direction": "minimize"},
    ]
    assert record["footprints"] == ["macs", "params", "weight_bytes"]
    assert record["constraints"] == {"macs": "<= 80%"}
    assert set(record["full"]) == {"accuracy", "macs", "params", "weight_bytes"}
    assert sum(record["counts"].values()) == 70
    assert record["counts"]["pruned-constraint"] == 1
    assert record["front"] == [member.trial for member in result.front]


def test_importance_and_shares_are_those_of_the_groups(searched):
    result, record, _ = searched
    names = [group["name"] for group in record["groups"]]
    assert list(record["importance"]["accuracy"]) == names
    assert sum(record["importance"]["accuracy"].values()) == pytest.approx(1, abs=1e-4)
    assert 0.5 <= record["importance_r2"]["accuracy"] <= 1
    assert set(record["importance_r2"]) == {"accuracy"}  # macs are known, not learned
    shares = [Share(i / 10, i / 20) for i in range(len(names))]
    groups = describe_search(result, shares).to_json()["groups"]
    assert [group["shares"] for group in groups] == [
        {"macs": share.macs, "params": share.params} for share in shares
    ]
    with pytest.raises(ValueError, match="zip"):
        describe_search(result, shares[1:])


def test_trials_csv_is_as_documented(searched):
    _, record, rows = searched
    assert list(rows[0]) == [
        *("number", "fate", "source", "generation", "on_front", "accuracy", "macs"),
        *("params", "weight_bytes"),
        *("predicted_accuracy", "predicted_accuracy_low", "predicted_accuracy_high"),
        *("reason", "seconds", "width:group0", "width:group1", "width:group2", "width:group3"),
    ]
    assert [int(row["number"]) for row in rows] == list(range(70))
    assert rows[0]["fate"] == "pruned-constraint"
    assert rows[0]["accuracy"] == ""
    assert int(float(rows[0]["macs"])) == record["full"]["macs"]
    assert {row["source"] for row in rows} == {"path", "ladder", "sampler"}
    for row in rows:
        assert (int(row["number"]) in record["front"]) == (row["on_front"] == "1")
        if row["fate"] == "pruned-surrogate":
            assert row["predicted_accuracy"]
            assert row["reason"].endswith("is dominated by the front")


def test_audits_say_whether_pruning_would_have_been_wrong(searched):
    result, record, _ = searched
    audited = [trial for trial in result.trials if trial.fate == "audited"]
    assert audited
    for trial in audited:
        earlier = [t.values for t in result.trials[: trial.number] if t.values]
        beaten = any(
            v["accuracy"] >= trial.values["accuracy"]
            and v["macs"] <= trial.values["macs"]
            and v != trial.values
            for v in earlier
        )
        assert trial.audit_wrong == (not beaten)
        assert trial.reason.startswith("audit: ")
    audit = record["audit"]
    assert audit["n_audited"] == len(audited)
    drawn = [trial for trial in result.trials if trial.is_audit]
    assert {trial.fate for trial in drawn} == {"evaluated", "audited"}
    assert audit["n_drawn"] == len(drawn) > len(audited)
    assert audit["saved"] == len(audited) / len(drawn)
    assert audit["saved_low"] < audit["saved"] < audit["saved_high"]
    assert audit["low"] <= audit["rate"] <= audit["high"]


def test_the_front_is_what_no_other_trial_beats(searched):
    result, _, _ = searched
    values = [(t.values["accuracy"], t.values["macs"]) for t in result.trials if t.values]
    for member in result.front:
        a, m = member.values["accuracy"], member.values["macs"]
        assert not any(x >= a and y <= m and (x, y) != (a, m) for x, y in values)
        assert a == compute_accuracy(member.widths, result.space)


def test_no_audit_means_no_rate(tmp_path):
    task = make_task()
    settings = SearchSettings(n_trials=3)
    study = open_study("s", None, task.objectives, make_sampler(settings, task))
    write_records(run_study(study, task, settings), tmp_path)
    audit = json.loads((tmp_path / "search.json").read_text())["audit"]
    assert not any(audit.values())


def test_a_footprint_that_is_no_number_leaves_its_cell_empty(tmp_path):
    def own(widths):
        return math.nan if widths["group0"] < 8 else float(widths["group0"])

    objectives = (ACCURACY, Objective("own", "minimize", own, needs="footprint"))
    task = make_task(objectives=objectives)
    settings = SearchSettings(n_trials=40, min_evaluated=15)
    study = open_study("s", None, task.objectives, make_sampler(settings, task))
    write_records(run_study(study, task, settings), tmp_path)
    trials = read_run(tmp_path).trials
    assert len(trials) == 40
    failed = [trial for trial in trials if trial.widths["group0"] < 8]
    assert failed
    assert {trial.fate for trial in failed} == {"failed"}
    assert all("own" not in trial.values for trial in failed)
    assert any(trial.predicted for trial in trials)
