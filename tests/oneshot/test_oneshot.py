"""What holds for every chooser: within the budget, of the space, and the budget is used."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpod_search.errors import ConfigError
from dpod_search.errors import InfeasibleError
from dpod_search.oneshot import CHOOSERS
from dpod_search.oneshot import OneShotRequest
from dpod_search.oneshot import choose_widths
from dpod_search.quantities import number
from dpod_search.widths import BLOCK_RUNGS
from dpod_search.widths import Widths
from dpod_search.widths import WidthSpace


def make_cost(space, weights):
    """A chain of groups, those inside a removed block and the block itself costing nothing."""
    inside = {name: block for block, names in space.inside for name in names}

    def cost(widths: Widths) -> float:
        active = {
            name: (width if name not in inside or widths[inside[name]] else 0)
            for name, width in widths.items()
        }
        chain = [1, *(active[name] for name in space.names), 1]
        linear = sum(w * active[name] for w, name in zip(weights, space.names, strict=True))
        return 1 + linear + sum(a * b for a, b in pairwise(chain))

    return cost


@st.composite
def requests(draw):
    fulls = draw(st.lists(st.integers(2, 20), min_size=1, max_size=4))
    ratios = draw(st.lists(st.sampled_from([0.1, 0.25, 0.5, 0.6, 0.75]), max_size=4)) or [0.5]
    names = {f"g{i}": full for i, full in enumerate(fulls)}
    blocks, inside = [], {}
    if draw(st.booleans()):
        names["block"] = 1
        blocks, inside = ["block"], {"block": ["g0"]}
    space = WidthSpace.from_ratios(names, ratios, blocks=blocks, inside=inside)
    weights = draw(st.lists(st.integers(0, 9), min_size=len(names), max_size=len(names)))
    cost = make_cost(space, weights)
    budget = draw(st.floats(0.05, 1.1)) * cost(space.full)
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    scores = [
        None if rungs == BLOCK_RUNGS else np.round(rng.exponential(size=rungs[-1]), 1)
        for rungs in space.rungs
    ]
    return OneShotRequest(
        space=space,
        is_met=lambda widths: cost(widths) <= budget,
        measure=lambda widths: cost(widths) / budget,
        scores=scores,
        per_cost=draw(st.booleans()),
        seed=draw(st.integers(0, 99)),
    )


def reachable(method, space):
    """The smallest subnet that a method can choose: only the random one removes blocks."""
    if method == "random":
        return space.smallest
    return space.uniform(1e-9)


@pytest.mark.parametrize("method", sorted(CHOOSERS))
@given(request_=requests())
def test_the_choice_is_within_the_budget_or_the_smallest_is_not(method, request_):
    space = request_.space
    smallest = reachable(method, space)
    if not request_.is_met(smallest):
        share = f"{number(100 * request_.measure(smallest))} %"
        with pytest.raises(InfeasibleError, match="smallest") as caught:
            choose_widths(method, request_)
        assert share in str(caught.value)
        return
    chosen = choose_widths(method, request_)
    space.check(chosen)
    assert request_.is_met(chosen)
    assert space.canonical(chosen) == chosen
    if request_.is_met(space.full):
        assert chosen == space.full
    assert choose_widths(method, request_) == chosen


@given(requests())
def test_no_group_of_the_random_choice_can_be_raised(request_):
    space = request_.space
    if not request_.is_met(space.smallest):
        return
    chosen = choose_widths("random", request_)
    rungs = space.to_rungs(chosen)
    for group, n_rungs in enumerate(space.n_rungs):
        if rungs[group] + 1 < n_rungs:
            raised = [*rungs]
            raised[group] += 1
            wider = space.canonical(space.from_rungs(raised))
            assert wider == chosen or not request_.is_met(wider)


@given(requests())
def test_the_next_uniform_ratio_does_not_fit(request_):
    space = request_.space
    if not request_.is_met(space.uniform(1e-9)):
        return
    chosen = choose_widths("uniform", request_)
    ratios = {w / r[-1] for r in space.rungs if r != BLOCK_RUNGS for w in r}
    fitting = [space.uniform(ratio) for ratio in ratios if request_.is_met(space.uniform(ratio))]
    assert chosen in fitting
    assert all(sum(chosen.active) >= sum(widths.active) for widths in fitting)


@pytest.mark.parametrize("method", ["magnitude", "taylor"])
@given(request_=requests())
def test_a_threshold_lies_between_what_is_kept_and_what_is_not(method, request_):
    space = request_.space
    if request_.per_cost or not request_.is_met(space.uniform(1e-9)):
        return
    chosen = choose_widths(method, request_)
    kept, left = [], []
    for rungs, width, scores in zip(space.rungs, chosen.active, request_.scores, strict=True):
        if scores is None:
            assert width == 1
            continue
        rms = max(np.sqrt(np.mean(scores**2)), 1e-300)
        values = scores / rms if method == "magnitude" else scores
        ordered = np.sort(values)[::-1]
        if width > rungs[0]:
            kept.append(ordered[rungs[rungs.index(width) - 1]])  # why this rung was needed
        left += list(ordered[width : width + 1])
    assert min(kept, default=np.inf) >= max(left, default=-np.inf)


def test_a_larger_budget_gives_a_wider_subnet_in_every_group():
    space = WidthSpace.from_ratios({"a": 8, "b": 16, "c": 24})
    rng = np.random.default_rng(0)
    cost = make_cost(space, (1, 1, 1))
    scores = [rng.exponential(size=rungs[-1]) for rungs in space.rungs]
    for method in ("uniform", "magnitude", "taylor"):
        before = (0, 0, 0)
        for share in np.linspace(0.1, 1, 10):
            budget = share * cost(space.full)
            request = OneShotRequest(
                space,
                lambda widths, budget=budget: cost(widths) <= budget,
                lambda widths, budget=budget: cost(widths) / budget,
                scores,
            )
            chosen = choose_widths(method, request).active
            assert all(a >= b for a, b in zip(chosen, before, strict=True))
            before = chosen


def two_groups(scores, *, budget, per_cost=False):
    """Groups of four units; those of `dear` cost nine times as much as those of `cheap`."""
    space = WidthSpace(("cheap", "dear"), ((1, 2, 3, 4), (1, 2, 3, 4)))
    cost = lambda widths: widths["cheap"] + 9 * widths["dear"]  # noqa: E731
    return OneShotRequest(
        space,
        lambda widths: cost(widths) <= budget,
        lambda widths: cost(widths) / budget,
        [np.array(values) for values in scores],
        per_cost=per_cost,
    )


def test_taylor_keeps_the_units_of_the_largest_scores():
    scores = ([0.9, 0.05, 0.04, 0.03], [0.8, 0.7, 0.6, 0.5])
    assert choose_widths("taylor", two_groups(scores, budget=30)).active == (1, 3)


def test_for_each_share_of_the_budget_cheap_units_come_first():
    scores = ([0.9, 0.3, 0.3, 0.3], [0.8, 0.7, 0.6, 0.5])
    assert choose_widths("taylor", two_groups(scores, budget=22)).active == (1, 2)
    chosen = choose_widths("taylor", two_groups(scores, budget=22, per_cost=True))
    assert chosen.active == (4, 2)


def test_magnitudes_of_groups_of_another_scale_are_compared_by_their_shares():
    scores = ([4.0, 3.0, 2.0, 1.0], [0.04, 0.03, 0.02, 0.01])
    assert choose_widths("magnitude", two_groups(scores, budget=20)).active == (2, 2)
    assert choose_widths("taylor", two_groups(scores, budget=20)).active == (4, 1)


def test_magnitudes_of_a_wide_group_do_not_look_small():
    space = WidthSpace(("narrow", "wide"), ((1, 2), tuple(range(1, 33))))
    request = OneShotRequest(
        space,
        lambda widths: sum(widths.active) <= 17,
        lambda widths: sum(widths.active) / 17,
        [np.array([1.0, 0.5]), np.linspace(1.0, 0.5, 32)],
    )
    assert choose_widths("magnitude", request).active == (1, 16)


def test_the_order_of_units_in_a_group_does_not_matter():
    scores = ([0.03, 0.9, 0.05, 0.04], [0.5, 0.8, 0.6, 0.7])
    assert choose_widths("taylor", two_groups(scores, budget=30)).active == (1, 3)


def test_other_seeds_draw_other_subnets():
    space = WidthSpace.from_ratios({f"g{i}": 16 for i in range(6)})
    request = OneShotRequest(space, lambda w: sum(w.active) <= 48, lambda w: sum(w.active) / 48)
    drawn = {choose_widths("random", replace(request, seed=seed)) for seed in range(20)}
    assert len(drawn) > 15
    assert all(sum(widths.active) in (47, 48) for widths in drawn)  # rungs are two units apart


def test_an_unknown_method_names_the_known_ones():
    with pytest.raises(ConfigError, match=r"method must be one of .*'uniform'.* got 'unifrom'"):
        choose_widths("unifrom", two_groups(([1] * 4, [1] * 4), budget=30))


@pytest.mark.parametrize("method", ["magnitude", "taylor"])
@pytest.mark.parametrize(
    "scores", [(), ([1.0] * 4, [1.0] * 3), ([1.0] * 4, [-1.0] * 4), ([1.0] * 4, [np.nan] * 4)]
)
def test_scores_that_do_not_fit_are_refused(method, scores):
    with pytest.raises(ConfigError, match=f"{method} needs"):
        choose_widths(method, two_groups(scores, budget=30))
