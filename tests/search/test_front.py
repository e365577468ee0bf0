from __future__ import annotations

import numpy as np
import pytest
from search.fakes import ACCURACY
from search.fakes import ChainFootprint
from search.fakes import compute_accuracy
from search.fakes import make_space

from dpod_search.errors import ConfigError
from dpod_search.errors import InfeasibleError
from dpod_search.search import Candidate
from dpod_search.search import Front
from dpod_search.search import Macs
from dpod_search.search import Params


SPACE = make_space()


def make_candidate(number, ratio):
    widths = SPACE.uniform(ratio)
    footprint = ChainFootprint().measure(widths)
    values = {"accuracy": compute_accuracy(widths, SPACE), "macs": footprint["macs"]}
    return Candidate(number, widths, values, footprint)


@pytest.fixture
def front():
    members = tuple(make_candidate(i, ratio) for i, ratio in enumerate(np.arange(8, 0, -1) / 8))
    return Front(members, (ACCURACY, Macs()))


def test_members_ascend_in_macs(front):
    macs = [member.macs for member in front]
    assert macs == sorted(macs)
    assert len(front) == 8
    assert front[0].widths == SPACE.smallest


def test_under_takes_the_most_accurate_within_the_bounds(front):
    assert front.under().trial == 0
    assert front.under(macs=front[3].macs) == front[3]
    assert front.under(macs=front[3].macs, params=front[2].footprint["params"]) == front[2]


def test_under_a_bound_too_low_names_the_smallest(front):
    with pytest.raises(InfeasibleError, match=f"the smallest has {front[0].macs:,}"):
        front.under(macs=1)


def test_under_an_unknown_footprint_names_the_nearest(front):
    with pytest.raises(ConfigError, match="did you mean macs"):
        front.under(mac=1)
    with pytest.raises(ConfigError, match="did you mean params"):
        front.under(macs=1, param=1)
    with pytest.raises(ConfigError, match="bound on macs must be a number, got '5M'"):
        front.under(macs="5M")


def test_an_empty_front_says_so():
    empty = Front((), (ACCURACY, Macs()))
    with pytest.raises(InfeasibleError, match="front is empty"):
        empty.under(macs=1)
    with pytest.raises(InfeasibleError, match="front is empty"):
        empty.under("macs<=1")
    with pytest.raises(InfeasibleError, match="front is empty"):
        empty.best_under(["macs<=1"])
    assert empty.knees() == ()


def test_a_budget_reads_like_a_constraint(front):
    full = Front(front.members, front.objectives, {"macs": front[7].macs})
    limit = front[3].macs
    assert front.under(f"macs<={limit:.0f}") == front[3]
    assert full.under(f"macs <= {100.0001 * limit / front[7].macs:.4f}%") == front[3]
    assert front.under("macs<=1G", macs=limit) == front[3]
    with pytest.raises(ConfigError, match="give a number instead of a percentage"):
        front.under("macs<=50%")
    with pytest.raises(ConfigError, match="did you mean macs"):
        front.under("mac<=1")
    assert full.select(3).under("macs<=100%") == full.attach(str).under("macs<=100%") == front[7]


def test_of_equally_good_members_the_cheaper_is_the_best():
    cheap, dear = make_candidate(1, 0.5), make_candidate(2, 1.0)
    same = Candidate(3, dear.widths, {**dear.values, "accuracy": 0.7}, dear.footprint)
    equal = Candidate(4, cheap.widths, {**cheap.values, "accuracy": 0.7}, cheap.footprint)
    assert Front((same, equal), (ACCURACY, Macs())).under("macs<=1G").trial == 4


def test_each_budget_has_its_best_and_one_that_is_not_met_is_told(front, caplog):
    low, high = f"macs<={front[2].macs:.0f}", f"macs<={front[5].macs:.0f}"
    found = front.best_under([high, "macs<=1", low, "macs<=1G"])
    assert list(found.items()) == [(high, front[5]), (low, front[2]), ("macs<=1G", front[7])]
    assert len(caplog.messages) == 1
    assert f"macs<=1: the smallest macs is {front[0].macs:,.0f}" in caplog.text
    chosen, unmet = front.split_by_budget(["macs<=1", low])
    assert chosen == {low: front[2]}
    assert list(unmet) == ["macs<=1"]
    with pytest.raises(InfeasibleError, match="macs<=1: .*; no member .* macs<=2:"):
        front.best_under(["macs<=1", "macs<=2"])
    assert front.best_under([]) == {}
    with pytest.raises(ConfigError, match="a list of texts, got 'macs<=1'"):
        front.best_under("macs<=1")


def test_the_knee_is_in_the_scale_of_ratios(front):
    def place(number, macs, accuracy):
        footprint = {"macs": float(macs)}
        return Candidate(number, front[0].widths, {"accuracy": accuracy, **footprint}, footprint)

    steps = ((100, 0.0), (1_000, 0.55), (10_000, 0.8), (100_000, 0.9), (1_000_000, 1.0))
    members = tuple(place(i, *step) for i, step in enumerate(steps))
    objectives = (ACCURACY, Macs())
    # Equal factors are equal steps, so the gains are 0.55 - 1/4, 0.8 - 2/4 and 0.9 - 3/4.
    assert [m.trial for m in Front(members, objectives).knees()] == [1]
    better = (*members[:2], place(2, 10_000, 0.81), *members[3:])
    assert [m.trial for m in Front(better, objectives).knees()] == [2]
    assert Front(members, (*objectives, Params())).knees() == ()
    assert Front(members[:2], objectives).knees() == ()


@pytest.mark.parametrize("k", [2, 3, 5])
def test_select_keeps_both_ends(front, k):
    chosen = front.select(k)
    assert len(chosen) == k
    assert chosen[0] == front[0]
    assert chosen[k - 1] == front[7]


def test_select_one_takes_the_most_accurate_and_many_take_all(front):
    assert list(front.select(1)) == [front[7]]
    assert front.select(8) is front
    with pytest.raises(ConfigError, match="must be a whole number >= 1"):
        front.select(0)


def test_select_prefers_what_adds_volume(front):
    # A near copy of the cheapest adds less than anything in the middle.
    near = Candidate(99, front[0].widths, front[0].values, front[0].footprint)
    crowded = Front((*front.members, near), front.objectives)
    assert 99 not in [member.trial for member in crowded.select(4)]


def test_attach_gives_every_member_its_subnet(front):
    attached = front.attach(str)
    assert [member.subnet for member in attached] == [str(member.widths) for member in front]
    assert front[0].subnet is None
