"""Subnets finetuned side by side end as one after the other."""

from __future__ import annotations

import os
import signal
import threading

import joblib.parallel
import pytest
import torch
from torch.utils.data import DataLoader
from torch.utils.data import TensorDataset
from training.fakes import equal_states
from training.fakes import make_batches
from training.fakes import make_loader
from training.fakes import make_pictures
from training.fakes import make_supernet
from training.fakes import single_thread

from dpod_search import finetune_all
from dpod_search.errors import ConfigError
from dpod_search.errors import DataError
from dpod_search.errors import TrainingError
from dpod_search.finetune import FinetuneContext
from dpod_search.finetune import FinetuneSettings
from dpod_search.finetune import make_teacher
from dpod_search.finetune import prepare_finetuning
from dpod_search.finetune import run_jobs
from dpod_search.progress import SilentProgress
from dpod_search.search import Candidate
from dpod_search.supernet import Subnet


SETTINGS = FinetuneSettings(epochs=3, equal_cost=0, n_views=2)


def make_subnets(supernet):
    space = supernet.space
    return [
        Subnet(supernet, widths) for widths in (space.smallest, space.uniform(0.5), space.full)
    ]


def make_helped_loader():
    """A loader with a process of its own, started by one that joblib has started."""
    loader = make_loader()
    loader.n_workers = 1
    return loader


@pytest.mark.parametrize("make", [make_loader, make_batches, make_helped_loader])
def test_two_processes_give_what_one_gives(trained, make):
    options = {"settings": SETTINGS, "validation_loader": make_batches(60, 20, seed=8)}
    with single_thread():
        found = [
            finetune_all(make_subnets(trained), make(), n_jobs=n_jobs, **options)
            for n_jobs in (1, 2)
        ]
    for alone, beside, subnet in zip(*found, make_subnets(trained), strict=True):
        assert alone.widths == beside.widths == subnet.widths
        assert equal_states(alone.module.state_dict(), beside.module.state_dict())
        assert alone.accuracy == beside.accuracy
        assert alone.history == beside.history


def test_an_error_in_another_process_is_told_as_in_this_one(trained):
    bad = make_batches()
    bad[1][0][0, 0, 0, 0] = torch.nan
    with pytest.raises(TrainingError, match=r"step 1 \(finetuning\)"):
        finetune_all(make_subnets(trained), bad, n_jobs=2, settings=SETTINGS)


def test_no_processes_are_refused(trained):
    with pytest.raises(ConfigError, match="n_jobs must be"):
        finetune_all(make_subnets(trained), make_batches(), n_jobs=0)
    with pytest.raises(ConfigError, match="n_jobs must be <= .* on this machine"):
        finetune_all(make_subnets(trained), make_batches(), n_jobs=1000)


def test_nothing_to_do_is_done(trained):
    assert finetune_all([], make_batches(), n_jobs=2) == []


def prepare_some(supernet, loader, settings, n=2):
    teacher = make_teacher(supernet, loader, settings)
    context = FinetuneContext(loader, settings=settings, teacher=teacher)
    return teacher, [prepare_finetuning(subnet, context) for subnet in make_subnets(supernet)[:n]]


def test_what_the_caller_does_between_results_is_none_of_its_business(trained):
    def describe():
        backend, _ = joblib.parallel.get_active_backend()
        return type(backend), backend.inner_max_num_threads

    before = describe()
    _, jobs = prepare_some(trained, make_loader(), SETTINGS)
    assert [describe() for _ in run_jobs(jobs, n_jobs=2)] == [before, before]


def test_the_teacher_answers_no_more_than_the_longest_training_asks(trained):
    loader = make_loader()
    settings = FinetuneSettings(epochs=1, equal_cost=0, n_views=10)
    teacher, jobs = prepare_some(trained, loader, settings)
    assert sorted(number for number, _ in run_jobs(jobs, n_jobs=2)) == [0, 1]
    assert teacher.n_images == sum(len(images) for images, _ in loader)


def test_a_shuffling_loader_is_seeded_whichever_process_does_the_job(trained):
    loader = DataLoader(TensorDataset(*make_pictures(24)), batch_size=8, shuffle=True)
    before = torch.get_rng_state()
    with single_thread():
        found = [
            [
                tuned.history
                for tuned in finetune_all(
                    make_subnets(trained), loader, n_jobs=2, settings=SETTINGS, seed=seed
                )
            ]
            for seed in (5, 5, 6)
        ]
    assert found[0] == found[1]
    assert found[0] != found[2]
    assert torch.equal(torch.get_rng_state(), before)


class Locked(list):
    """Batches that no other process can have."""

    def __init__(self):
        super().__init__(make_batches())
        self.lock = threading.Lock()


class Deadly(list):
    """Batches that end another process, as the system does when memory is short."""

    def __init__(self):
        super().__init__(make_batches())
        self.pid = os.getpid()

    def __iter__(self):
        if os.getpid() != self.pid:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__iter__()


def test_a_loader_that_cannot_be_handed_over_is_named(trained):
    with pytest.raises(DataError, match=r"cannot pickle '_thread.lock' object\); give") as error:
        finetune_all(make_subnets(trained), Locked(), n_jobs=2, settings=SETTINGS)
    assert "\n" not in str(error.value)


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_process_that_is_lost_is_told_in_one_line(trained):
    with pytest.raises(TrainingError, match="a process that finetuned was lost") as error:
        finetune_all(make_subnets(trained), Deadly(), n_jobs=2, settings=SETTINGS)
    assert "\n" not in str(error.value)


class NothingDone(SilentProgress):
    def advance(self, n=1, note=""):
        raise AssertionError(note)


def test_what_cannot_be_finetuned_is_refused_before_anything_is(trained):
    subnets = make_subnets(trained)
    lost = Candidate(7, trained.space.full, {"accuracy": 0.5}, {"macs": 1})
    with pytest.raises(ConfigError, match="trial 7 has no supernet"):
        finetune_all([*subnets, lost], make_batches(), progress=NothingDone())
    other = make_supernet(seed=4)
    with pytest.raises(ConfigError, match="of several supernets"):
        finetune_all(
            [*subnets, Subnet(other, other.space.full)], make_batches(), progress=NothingDone()
        )
