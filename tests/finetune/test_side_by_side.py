"""Subnets finetuned side by side end as one after the other."""

from __future__ import annotations

import os

import pytest
import torch
from training.fakes import equal_states
from training.fakes import make_batches
from training.fakes import make_loader
from training.fakes import make_supernet
from training.fakes import single_thread

from dpod_search import finetune_all
from dpod_search import train_supernet
from dpod_search.errors import ConfigError
from dpod_search.errors import TrainingError
from dpod_search.finetune import FinetuneSettings
from dpod_search.finetune.side_by_side import _Parent
from dpod_search.supernet import Subnet


SETTINGS = FinetuneSettings(epochs=3, equal_cost=0, n_views=2)


@pytest.fixture(scope="module")
def trained():
    supernet = make_supernet(dropout=0.1)
    with single_thread():
        train_supernet(supernet, make_batches(), epochs=2)
    return supernet


def make_subnets(supernet):
    space = supernet.space
    return [
        Subnet(supernet, widths) for widths in (space.smallest, space.uniform(0.5), space.full)
    ]


@pytest.mark.parametrize("make", [make_loader, make_batches])
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


def test_nothing_to_do_is_done(trained):
    assert finetune_all([], make_batches(), n_jobs=2) == []


@pytest.mark.skipif(os.name != "posix", reason="Windows does not tell that a parent is gone")
def test_a_process_ends_with_the_one_that_started_it(monkeypatch):
    ended = []
    monkeypatch.setattr(os, "_exit", ended.append)
    _Parent(os.getppid()).advance()
    assert ended == []
    _Parent(os.getppid() + 1).advance()
    assert ended == [1]
