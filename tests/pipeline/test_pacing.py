from __future__ import annotations

import itertools
import json
import time

import numpy as np
import pytest
import torch
from pipeline.tiny import load_tiny

from dpod_search.files import hash_file
from dpod_search.files import read_json
from dpod_search.pipeline import RunFolder
from dpod_search.pipeline import Session
from dpod_search.pipeline import pacing
from dpod_search.pipeline import run_stages
from dpod_search.pipeline.pacing import estimate_stages
from dpod_search.pipeline.pacing import measure_paces
from dpod_search.pipeline.pacing import plan_work
from dpod_search.placement import limit_threads
from dpod_search.progress import SilentProgress
from dpod_search.training import POLICIES


STAGES = ["train", "search", "finetune", "export", "report"]


def make_session(folder, *overrides, **options):
    return Session(load_tiny(*overrides), RunFolder(folder), SilentProgress(), **options)


def list_files(folder):
    return {file: hash_file(file) for file in folder.rglob("*") if file.is_file()}


def test_what_is_measured_changes_neither_weights_nor_draws_nor_the_folder(tmp_path):
    session = make_session(tmp_path / "run", "model.arguments={width=4}")
    supernet = session.blank_supernet
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    was_training, gradients = supernet.training, [p.grad for p in supernet.parameters()]
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    expected = (torch.rand(1), np.random.rand())  # noqa: NPY002
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    assert set(estimate_stages(session, STAGES)) == {*STAGES, "scoring"}
    assert (torch.rand(1), np.random.rand()) == expected  # noqa: NPY002
    after = supernet.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert supernet.widths == supernet.space.full
    assert supernet.training == was_training
    assert [p.grad for p in supernet.parameters()] == gradients
    assert not (tmp_path / "run").exists()


def test_paces_are_of_this_net_and_ordered(tmp_path, monkeypatch):
    # A clock that goes on by one with each look tells nothing else than that it was looked at.
    ticks = itertools.count()
    for name in ("perf_counter", "process_time"):
        monkeypatch.setattr(pacing.time, name, lambda: float(next(ticks)))
    session = make_session(tmp_path)
    paces = measure_paces(session)
    assert paces.step.full_macs == session.sizes.measure(session.blank_supernet.space.full)["macs"]
    assert paces.step.smallest_macs < paces.step.full_macs
    assert paces.evaluation.full > 0
    assert 0 <= paces.step.smallest <= paces.step.full
    assert next(ticks) < 100  # a few steps, and no more


def test_the_work_is_that_of_the_training_which_follows(tmp_path):
    settings = ("training.epochs=4", "training.max_scoring_share=3")
    session = make_session(tmp_path / "run", *settings)
    work = plan_work(session)
    run_stages(load_tiny(*settings), tmp_path / "run", stages=["train"])
    trained = read_json(tmp_path / "run" / "training.json")
    n_images = len(session.data.train)
    step_macs = np.mean([sum(nets) for nets in work.steps])
    assert trained["macs"] == pytest.approx(work.n_trained * step_macs, rel=0.3)
    assert work.n_trained == 4 * n_images
    path = json.loads((tmp_path / "run" / "path.json").read_text())["profiles"]
    assert abs(work.n_profiles - len(path)) <= 1
    scored = sum(macs * n for macs, n in work.scores)
    assert scored / 2 <= trained["scoring_macs"] <= 2 * scored


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_every_policy_can_be_asked_for_its_work(tmp_path, policy):
    session = make_session(tmp_path, f"training.policy={policy}", "training.policy_options={}")
    work = plan_work(session)
    assert all(work.steps)
    assert bool(work.scores) <= (policy == "dpod")


def test_what_is_done_is_not_told_of_again(run):
    session = make_session(run)
    assert set(estimate_stages(session, ["search", "report"])) == {"search", "report"}
    assert estimate_stages(session, ["search"])["search"] < 1e-9  # all its trials are there
    # How many are finetuned is known to one: the full net may be among those that are chosen.
    assert pacing._find_done(session, plan_work(session), ["finetune"])["finetune"] >= 2 / 3
    assert estimate_stages(session, ["export", "report"]) is None


def test_the_work_of_a_run_that_prunes_at_once_is_what_it_finetunes(tmp_path):
    budgets = ["macs<=50%", "macs<=25% and params<=90%", "latency<=30%"]
    at_once = ('oneshot.method="uniform"', f"oneshot.budgets={json.dumps(budgets)}")
    policy = ('training.policy="dense"', "training.policy_options={}")
    session = make_session(tmp_path, *at_once, *policy)
    work = pacing.plan_pruning(session)
    full = session.sizes.measure(session.blank_supernet.space.full)["macs"]
    shares = [macs / full for macs, _ in work.finetuned]
    assert shares == pytest.approx([0.5, 0.25, 0.3, 1.0], rel=1e-6)
    assert work.n_trials == len(budgets)
    assert set(work.steps) == {(full,)}
    assert set(estimate_stages(session, STAGES)) == {*STAGES, "scoring"}


def test_a_run_tells_about_how_long_the_stages_take_that_are_to_do(tmp_path):
    folder, told = tmp_path / "run", []
    config = load_tiny("training.epochs=1")
    run_stages(config, folder, stages=["train"], tell=told.append)
    (line,) = told
    assert " if this machine does nothing else" in line
    assert ": train " in line
    assert "\n" not in line
    run_stages(config, folder, stages=["train"], tell=told.append)
    assert told == [line]  # there is nothing left to do
    run_stages(config, folder, stages=["train", "search"], tell=told.append)
    assert "search" in told[1]
    assert "train" not in told[1]


def test_a_search_whose_study_is_gone_is_told_of_as_to_do(run):
    (run / "study.journal").unlink()
    told = []
    run_stages(load_tiny(), run, tell=told.append)
    (line,) = told
    assert "search" in line
    assert "train" not in line


def test_an_estimate_that_fails_costs_no_run(tmp_path, monkeypatch):
    def fail(session, stages):
        raise ValueError("odd")

    monkeypatch.setattr(pacing, "estimate_stages", fail)
    told = []
    run_stages(load_tiny("training.epochs=1"), tmp_path, stages=["train"], tell=told.append)
    assert told == []
    assert (tmp_path / "training.json").exists()


def test_told_or_not_the_weights_are_the_same(tmp_path):
    config, told = load_tiny("training.epochs=1"), []
    run_stages(config, tmp_path / "one", stages=["train"])
    run_stages(config, tmp_path / "two", stages=["train"], tell=told.append)
    assert told
    for name in ("supernet.safetensors", "path.json"):
        assert hash_file(tmp_path / "one" / name) == hash_file(tmp_path / "two" / name)


def test_a_net_that_takes_long_is_run_once_on_two_pictures(monkeypatch):
    ticks = itertools.count()
    monkeypatch.setattr(pacing.time, "perf_counter", lambda: float(next(ticks)))
    asked = []
    assert pacing._time_in_turn([asked.append, asked.append], 64, pacing.time.perf_counter) == [
        0.5,
        0.5,
    ]
    assert asked == [2, 2]


def test_a_net_that_takes_little_is_run_on_all_pictures_and_the_least_counts(monkeypatch):
    clock = [0.0]
    slow = itertools.cycle([3.0, 1.0, 2.0])
    monkeypatch.setattr(pacing.time, "perf_counter", lambda: clock[0])
    asked = []

    def run(n_images):
        asked.append(n_images)
        clock[0] += 1e-5 * n_images * next(slow)

    (seconds,) = pacing._time_in_turn([run], 64, pacing.time.perf_counter)
    assert seconds == pytest.approx(1e-5)
    assert asked[:2] == [2, 2]
    assert set(asked[2:]) == {64}


@pytest.mark.skipif(
    time.get_clock_info("process_time").resolution > 1e-4, reason="the clock is too coarse here"
)
def test_others_who_work_on_the_machine_make_no_estimate_longer(tmp_path, monkeypatch):
    session = make_session(tmp_path)
    with limit_threads(1):
        alone = measure_paces(session)
        # As if this process had one thousandth of the machine.
        wall, busy = time.perf_counter, time.process_time
        monkeypatch.setattr(pacing.time, "perf_counter", lambda: wall() + 1000 * busy())
        beside = measure_paces(session)
    assert beside.step.full < 10 * alone.step.full
    assert beside.evaluation.full < 10 * alone.evaluation.full


def test_no_picture_is_fetched_that_the_supernet_does_not_need(tmp_path, monkeypatch):
    session = make_session(tmp_path)
    measure_paces(session)
    assert "validation_batches" not in vars(session)
    assert "scoring_batches" not in vars(session)
    plan_work(session)
    assert "validation_batches" not in vars(session)
