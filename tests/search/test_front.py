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
    with pytest.raises(InfeasibleError, match=f"the smallest has {front[0].macs:g}"):
        front.under(macs=1)


def test_under_an_unknown_footprint_names_the_nearest(front):
    with pytest.raises(ConfigError, match="did you mean macs"):
        front.under(mac=1)
    with pytest.raises(ConfigError, match="did you mean params"):
        front.under(macs=1, param=1)
    with pytest.raises(ConfigError, match="bound on macs must be a number, got '5M'"):
        front.under(macs="5M")


def test_an_empty_front_says_so():
    with pytest.raises(InfeasibleError, match="front is empty"):
        Front((), (ACCURACY, Macs())).under(macs=1)


@pytest.mark.parametrize("k", [2, 3, 5])
def test_select_keeps_both_ends(front, k):
    chosen = front.select(k)
    assert len(chosen) == k
    assert chosen[0] == front[0]
    assert chosen[k - 1] == front[7]


def test_select_one_takes_the_most_accurate_and_many_take_all(front):
    assert list(front.select(1)) == [front[7]]
    assert front.select(8) is front
    with pytest.raises(ConfigError, match="must be >= 1"):
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
