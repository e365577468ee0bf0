from __future__ import annotations

import json
import math
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from itertools import pairwise

import pytest
from search.fakes import make_space
from training.policies.contract import PolicyContract
from training.policies.contract import make_context
from training.policies.contract import run_policy

from dpod_search.progress import SilentProgress
from dpod_search.training.policies import DpodPolicy
from dpod_search.training.policies.shrinking import MIN_IMAGES


N_SCORED = 2512
N_STEPS = 60


@dataclass
class Asked:
    """A judge that remembers what it was asked, and what that cost.

    Args:
        context: What the policy is given.
        scores: Widths and pictures of each score.
    """

    context: object = None
    scores: list = field(default_factory=list)

    @property
    def macs(self):
        return sum(n * self.context.cost(widths) for widths, n in self.scores)


def limit(scoring_macs, space=None, n_scored=N_SCORED):
    """Make a context that allows scores so many multiply-adds, and what is asked in it."""
    plain = make_context(space or make_space(5, 8), n_steps=N_STEPS)
    asked = Asked()

    def score(widths, n_images=n_scored):
        asked.scores.append((widths, n_images))
        return plain.score(widths)

    asked.context = replace(plain, score=score, n_scored=n_scored, scoring_macs=scoring_macs)
    return asked


def grow(asked, steps=range(N_STEPS)):
    policy = DpodPolicy(asked.context)
    run_policy(policy, steps)
    return policy


@pytest.fixture(scope="module")
def unlimited():
    asked = limit(math.inf)
    return grow(asked).path(), asked


@pytest.mark.parametrize("share", [0, 1e-4, 1e-3, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3])
@pytest.mark.parametrize("space", [make_space(5, 8), make_space(24, 8), make_space(1, 2)])
def test_scores_never_cost_more_than_they_may(share, space):
    whole = limit(math.inf, space)
    grow(whole)
    asked = limit(share * whole.macs, space)
    path = grow(asked).path()
    assert asked.macs <= share * whole.macs
    assert path[0] == space.full
    assert path[-1] == space.smallest
    costs = [asked.context.cost(widths) for widths in path]
    assert all(later <= earlier for earlier, later in pairwise(costs))


def test_a_limit_that_is_not_reached_changes_nothing(unlimited):
    path, whole = unlimited
    asked = limit(2 * whole.macs)
    assert grow(asked).path() == path
    assert asked.scores == whole.scores
    assert {n for _, n in asked.scores} == {N_SCORED}


def test_first_fewer_pictures_are_looked_at(unlimited):
    path, whole = unlimited
    asked = limit(0.3 * whole.macs)
    assert grow(asked).path() == path  # here quality does not depend on them
    (n_images,) = {n for _, n in asked.scores}
    assert MIN_IMAGES < n_images < 0.3 * N_SCORED
    assert [widths for widths, _ in asked.scores] == [widths for widths, _ in whole.scores]
    assert asked.macs > 0.5 * 0.3 * whole.macs


def test_then_fewer_subnets_are_scored_and_never_some_of_the_groups_alone(unlimited):
    _, whole = unlimited
    asked = limit(0.02 * whole.macs)
    grow(asked)
    assert {n for _, n in asked.scores} == {MIN_IMAGES}
    assert 6 <= len(asked.scores) < len(whole.scores) / 2
    space = asked.context.space
    first, *others = [space.to_rungs(widths) for widths, _ in asked.scores[:6]]
    steps = [tuple(a - b for a, b in zip(first, other, strict=True)) for other in others]
    assert sorted(steps) == sorted(tuple(int(i == j) for j in range(5)) for i in range(5))


def test_where_nothing_may_be_scored_the_groups_shrink_alike():
    asked = limit(0)
    path = grow(asked).path()
    assert not asked.scores
    for widths in path:
        rungs = asked.context.space.to_rungs(widths)
        assert max(rungs) - min(rungs) <= 3


def test_fewer_pictures_than_the_least_are_all_looked_at():
    asked = limit(limit(math.inf).context.cost(make_space(5, 8).full) * 1000, n_scored=40)
    grow(asked)
    assert {n for _, n in asked.scores} == {40}


def test_a_gain_by_noise_is_no_price_to_go_by():
    # Scored once, every group seems to gain by its first rung; what follows is not scored.
    asked = limit(3e7)
    context = replace(asked.context, score=lambda widths, *n: -sum(widths.active) / 1e3)
    policy = DpodPolicy(context)
    run_policy(policy, range(N_STEPS))
    for widths in policy.path():
        rungs = context.space.to_rungs(widths)
        assert max(rungs) - min(rungs) <= 7
    assert all(loss > 0 for loss in policy.state()["shrinking"]["losses"])


@dataclass
class Watched(SilentProgress):
    """Progress that notes its tasks: name, expected total, units."""

    tasks: list = field(default_factory=list)
    n_open: int = 0

    def start(self, task, total, done=0):
        self.tasks.append([task, total, 0])
        self.n_open += 1

    def advance(self, n=1, note=""):
        self.tasks[-1][2] += n

    def finish(self):
        self.n_open -= 1


@pytest.mark.parametrize("share", [0.003, 0.05, 2])
def test_each_profile_that_is_scored_is_a_task_with_its_scores_counted(unlimited, share):
    _, whole = unlimited
    asked, progress = limit(share * whole.macs), Watched()
    asked.context = replace(asked.context, progress=progress)
    grow(asked)
    assert progress.n_open == 0
    assert sum(n for _, _, n in progress.tasks) == len(asked.scores)
    names = [name for name, _, _ in progress.tasks]
    possible = [f"path {number} of 14: scoring" for number in range(2, 15)]
    assert names == [name for name in possible if name in names]
    if share > 1:
        assert names == possible
        expected = sum(total for _, total, _ in progress.tasks)
        assert expected / 2 <= len(asked.scores) <= expected * 1.1


@pytest.mark.parametrize("n_done", range(10, N_STEPS, 3))
@pytest.mark.parametrize("share", [0.005, 0.02, 0.3])
def test_a_resumed_training_spends_and_grows_the_same(unlimited, share, n_done):
    _, whole = unlimited
    asked = limit(share * whole.macs)
    path = grow(asked).path()
    again = limit(share * whole.macs)
    state = json.dumps(grow(again, range(n_done)).state(), allow_nan=False)
    resumed = DpodPolicy(again.context)
    resumed.restore(json.loads(state))
    run_policy(resumed, range(n_done, N_STEPS))
    assert resumed.path() == path
    assert again.scores == asked.scores


class TestContract(PolicyContract):
    @pytest.fixture(params=[0, 1e7, 1e8])
    def scoring_macs(self, request):
        return request.param

    @pytest.fixture
    def make(self):
        return DpodPolicy

    @pytest.fixture
    def context(self, scoring_macs):
        return limit(scoring_macs).context
