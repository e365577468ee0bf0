"""The chain: who is cut from whom, and what a subnet begins with."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from training.fakes import equal_states
from training.fakes import make_loader
from training.fakes import single_thread

from dpod_search import finetune_all
from dpod_search.evaluation import Evaluator
from dpod_search.evaluation import RepairingEvaluator
from dpod_search.finetune import FinetuneContext
from dpod_search.finetune import FinetuneSettings
from dpod_search.finetune import list_levels
from dpod_search.finetune import prepare_finetuning
from dpod_search.finetune.chain import find_parents
from dpod_search.finetune.chain import inherit
from dpod_search.supernet import Subnet
from dpod_search.widths import Widths


FULL = Widths(("a", "b"), (8, 8))
SETTINGS = FinetuneSettings(epochs=3, equal_cost=0, n_views=2, chain=True)


def make(*pairs):
    return [Widths(FULL.names, pair) for pair in pairs]


def plan(*pairs):
    return find_parents(make(*pairs), [a * b for a, b in pairs], full=FULL)


def test_each_is_cut_from_the_smallest_that_it_lies_in():
    assert plan((8, 8), (6, 6), (4, 4), (2, 2)) == [None, None, 1, 2]
    assert plan((2, 2), (4, 4), (6, 6)) == [1, 2, None]
    # One that lies in two of another shape takes the cheaper, one that lies in none the supernet.
    assert plan((2, 6), (7, 2), (2, 2)) == [None, None, 0]
    assert plan((4, 4), (4, 4), (1, 5)) == [None, None, None]


@given(st.lists(st.tuples(st.integers(1, 8), st.integers(1, 8)), max_size=12))
def test_levels_need_nothing_but_those_before(pairs):
    parents = plan(*pairs)
    seen = {None}
    for level in list_levels(parents):
        assert {parents[place] for place in level} <= seen
        seen |= set(level)
    assert seen == {None, *range(len(pairs))}
    for (a, b), parent in zip(pairs, parents, strict=True):
        if parent is not None:
            assert pairs[parent] not in ((a, b), (8, 8))
            assert a <= pairs[parent][0]
            assert b <= pairs[parent][1]


def test_a_subnet_begins_with_what_its_parent_has_learnt(trained):
    space, batches = trained.space, list(make_loader())
    context = FinetuneContext(make_loader(), batches, settings=SETTINGS)
    middle, smallest = (Subnet(trained, w) for w in (space.uniform(0.5), space.smallest))
    before = {name: tensor.clone() for name, tensor in trained.state_dict().items()}
    parent = prepare_finetuning(middle, context).run()
    # The parent itself is what a subnet of its widths would begin with, but for the order.
    same = prepare_finetuning(middle, context, parent=parent)
    images = batches[0][0]
    with torch.no_grad():
        torch.testing.assert_close(
            same.start.module.eval()(images), parent.module(images), rtol=1e-3, atol=1e-4
        )
    heir = prepare_finetuning(smallest, context, parent=parent)
    alone = prepare_finetuning(smallest, context)
    assert heir.start.accuracy_before == alone.start.accuracy_before  # that of the search
    assert not equal_states(heir.start.module.state_dict(), alone.start.module.state_dict())
    assert all(torch.equal(before[name], tensor) for name, tensor in trained.state_dict().items())


def test_without_training_what_the_search_measured_is_delivered(trained):
    batches = list(make_loader())
    subnets = [Subnet(trained, w) for w in (trained.space.uniform(0.5), trained.space.smallest)]
    settings = replace(SETTINGS, epochs=0)
    done = finetune_all(
        subnets, make_loader(), validation_loader=batches, settings=settings, repair=True
    )
    evaluator = RepairingEvaluator(trained, trained.calibration_images)
    for subnet, found in zip(subnets, done, strict=True):
        assert found.accuracy == found.accuracy_before
        with evaluator.calibrated(subnet.widths) as repaired, torch.no_grad():
            images = batches[0][0]
            torch.testing.assert_close(
                found.module(images), repaired(images), rtol=1e-3, atol=1e-4
            )


@pytest.mark.parametrize("has_parent", [False, True])
@pytest.mark.parametrize("is_short", [False, True])
def test_what_is_trained_for_a_few_steps_begins_repaired(trained, has_parent, is_short):
    space, loader = trained.space, make_loader()
    settings = replace(SETTINGS, repair_steps=SETTINGS.epochs * len(loader) + is_short)
    context = FinetuneContext(loader, list(loader), settings=settings, repair=True)
    middle, smallest = (Subnet(trained, w) for w in (space.uniform(0.5), space.smallest))
    parent = prepare_finetuning(middle, context).run() if has_parent else None
    job = prepare_finetuning(smallest, context, parent=parent)
    source = inherit(trained, parent) if parent else trained
    images = trained.calibration_images
    cut = Evaluator(source, images)
    repaired = RepairingEvaluator(source, images, target=parent.widths if parent else None)
    found = []
    for evaluator in (cut, repaired):
        with evaluator.calibrated(smallest.widths) as subnet:
            found.append(
                equal_states(job.start.module.state_dict(), subnet.extract().state_dict())
            )
    assert found == [not is_short, is_short]


def test_the_chain_is_the_same_side_by_side(trained):
    space = trained.space
    subnets = [Subnet(trained, w) for w in (space.smallest, space.uniform(0.5), space.full)]
    found = []
    with single_thread():
        for n_jobs in (1, 2):
            done = finetune_all(subnets, make_loader(), n_jobs=n_jobs, settings=SETTINGS)
            found.append([subnet.module.state_dict() for subnet in done])
        loose = finetune_all(subnets, make_loader(), settings=replace(SETTINGS, chain=False))
    assert all(equal_states(one, two) for one, two in zip(*found, strict=True))
    # The two that lie in no other subnet are as they are without a chain.
    is_same = [
        equal_states(a, b.module.state_dict()) for a, b in zip(found[0], loose, strict=True)
    ]
    assert is_same == [False, True, True]
