"""Many workers on one study, killed at any moment: nothing lost, nothing done twice."""

from __future__ import annotations

import itertools
import multiprocessing
import random
import time
from collections import Counter
from collections import defaultdict

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState
from search.work_once import STUDY
from search.work_once import make_shared_task
from search.work_once import work

from dpod_search.pareto import compute_hypervolume
from dpod_search.pareto import to_minimized
from dpod_search.search import open_storage


KINDS = ("journal", "sqlite", "postgresql")


@pytest.fixture
def find_storage(request, tmp_path):
    def find(kind):
        if kind == "postgresql":
            return request.getfixturevalue("server")
        return (
            str(tmp_path / "study.journal") if kind == "journal" else f"sqlite:///{tmp_path}/s.db"
        )

    return find


class Workers:
    """Processes at one study, and who of them was killed."""

    def __init__(self, storage, log, n_trials, sampler, **options):
        # One process imports everything once and forks the workers, which then start at once.
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["dpod_search.search"])
        self._arguments = (storage, str(log), n_trials, sampler)
        self._options = options
        self.running = []
        self.killed = []

    def start(self):
        process = self._context.Process(target=work, args=self._arguments, kwargs=self._options)
        process.start()
        self.running.append(process)

    def kill(self, rng):
        process = self.running.pop(rng.randrange(len(self.running)))
        assert process.is_alive(), "the study was over before its workers were killed"
        process.kill()
        process.join()
        self.killed.append(process.pid)

    def wait(self):
        for process in self.running:
            process.join(timeout=300)
            assert process.exitcode == 0


def read_evaluations(log):
    """Return for each subnet the processes that began to evaluate it."""
    found = defaultdict(list)
    for line in log.read_text().splitlines():
        process, widths = line.split()
        found[widths].append(int(process))
    return found


def read_trials(storage):
    opened = open_storage(storage)
    study = optuna.load_study(
        study_name=STUDY, storage=opened, sampler=optuna.samplers.RandomSampler()
    )
    trials = study.get_trials(deepcopy=False)
    opened.remove_session()
    if hasattr(opened, "_backend") and hasattr(opened._backend, "engine"):
        opened._backend.engine.dispose()
    return trials


def measure(values):
    """Measure the hypervolume of objective values, up to the largest net."""
    task = make_shared_task()
    points = to_minimized(values, task.directions)
    points[:, 1] = np.log(points[:, 1])
    smallest, full = (
        np.log(task.measure_footprint(w)["macs"]) for w in (task.space.smallest, task.space.full)
    )
    return compute_hypervolume(points, np.array([0.0, full + 0.1 * (full - smallest)]))


def check(trials, evaluations, killed, n_trials):
    """Check what must hold whatever happened to the workers."""
    assert [trial.number for trial in trials] == list(range(len(trials)))
    states = Counter(trial.state for trial in trials)
    assert states == {TrialState.COMPLETE: n_trials}
    evaluated = [t for t in trials if t.user_attrs["fate"] == "evaluated"]
    tried = [",".join(map(str, t.user_attrs["widths"].values())) for t in evaluated]
    assert len(set(tried)) == len(tried) == n_trials
    assert set(tried) <= set(evaluations)
    for widths, processes in evaluations.items():
        # Whoever begins one again does so for a worker that was killed.
        assert set(processes[:-1]) <= set(killed), widths
    # Each that was killed had at most one subnet in the making.
    assert sum(len(processes) - 1 for processes in evaluations.values()) <= len(killed)


def kill_for(seconds, storage, tmp_path, *, n_trials, pause):
    # So long that four workers cannot end the study before.
    each = 4 * seconds / (0.9 * n_trials)
    log = tmp_path / "evaluations.txt"
    rng = random.Random(3)
    workers = Workers(storage, log, n_trials, "nsga2", seconds=each)
    for _ in range(4):
        workers.start()
    while not log.exists():
        time.sleep(0.05)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(rng.uniform(*pause))
        workers.kill(rng)
        workers.start()
    workers.wait()
    trials = read_trials(storage)
    check(trials, read_evaluations(log), workers.killed, n_trials)
    return trials


@pytest.mark.parametrize("kind", KINDS)
def test_killed_workers_lose_nothing_and_nothing_is_done_twice(kind, find_storage, tmp_path):
    trials = kill_for(3, find_storage(kind), tmp_path, n_trials=200, pause=(0.3, 1.0))
    alone = work(None, None, 200, "nsga2")
    expected = measure([list(trial.values.values()) for trial in alone.trials])
    assert measure([trial.values for trial in trials]) >= 0.98 * expected


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["journal", "postgresql"])
def test_a_minute_of_killing_loses_nothing_either(kind, find_storage, tmp_path):
    trials = kill_for(60, find_storage(kind), tmp_path, n_trials=1500, pause=(1.0, 5.0))
    alone = work(None, None, 1500, "nsga2")
    expected = measure([list(trial.values.values()) for trial in alone.trials])
    assert measure([trial.values for trial in trials]) >= 0.98 * expected


def test_workers_of_another_sampler_wait_for_widths_that_somebody_is_at(tmp_path):
    # Four random workers in a space of 16 subnets meet each other all the time.
    storage, log = str(tmp_path / "study.journal"), tmp_path / "evaluations.txt"
    workers = Workers(storage, log, 60, "random", n_groups=2, n_rungs=4)
    for _ in range(4):
        workers.start()
    workers.wait()
    evaluations = read_evaluations(log)
    assert all(len(processes) == 1 for processes in evaluations.values())
    trials = read_trials(storage)
    fates = Counter(trial.user_attrs["fate"] for trial in trials)
    assert fates == {"evaluated": len(evaluations), "cached": 60 - len(evaluations)}
    assert len(set(itertools.chain(*evaluations.values()))) > 1


def test_the_last_of_several_workers_measures_the_full_net_once(tmp_path):
    storage, log = str(tmp_path / "study.journal"), tmp_path / "evaluations.txt"
    workers = Workers(storage, log, 40, "nsga2")
    for _ in range(3):
        workers.start()
    workers.wait()
    assert all(len(processes) == 1 for processes in read_evaluations(log).values())


def test_seeds_are_shared_out_and_trials_signed(tmp_path):
    storage, log = str(tmp_path / "study.journal"), tmp_path / "evaluations.txt"
    workers = Workers(storage, log, 60, "nsga2")
    for _ in range(4):
        workers.start()
    workers.wait()
    trials = read_trials(storage)
    seeds = [t for t in trials if t.user_attrs.get("source") == "ladder"]
    assert [t.number for t in seeds] == list(range(len(seeds)))
    assert len({str(t.user_attrs["widths"]) for t in seeds}) == len(seeds) == 8
    assert max(t.system_attrs["NSGAIISampler:generation"] for t in trials) >= 1
    assert len({t.system_attrs.get("dpod:worker") for t in trials}) > 1
