from __future__ import annotations

import itertools

import numpy as np
import pytest
from search.fakes import make_space
from search.fakes import make_tables
from search.fakes import make_task

from dpod_search.search import PROPOSERS
from dpod_search.search import ProposalRequest
from dpod_search.search import SearchSettings
from dpod_search.search import propose_seeds


def request(n_ladder=8, path=(), tables=None, **task):
    settings = SearchSettings(n_ladder=n_ladder, n_mdp=2)
    return ProposalRequest(make_task(**task), settings, path, tables)


@pytest.mark.parametrize("proposer", PROPOSERS.values(), ids=PROPOSERS)
class TestProposerContract:
    def test_it_is_deterministic_and_stays_in_the_space(self, proposer):
        space = make_space()
        path = [space.full, space.uniform(0.5)]
        asked = request(path=path, tables=make_tables(space), space=space)
        proposals = proposer(asked)
        assert proposals == proposer(asked)
        assert proposals
        for proposal in proposals:
            space.check(proposal.widths)


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_the_ladder_has_both_ends_and_no_repetition(n):
    asked = request(n)
    widths = [p.widths for p in PROPOSERS["ladder"](asked)]
    assert len(set(widths)) == n
    assert widths[0] == asked.task.space.full
    if n > 1:
        assert widths[-1] == asked.task.space.smallest


def test_the_ladder_is_even_in_log_macs():
    asked = request(5, space=make_space(4, 64))
    logs = [
        np.log(asked.task.measure_footprint(p.widths)["macs"]) for p in PROPOSERS["ladder"](asked)
    ]
    steps = [a - b for a, b in itertools.pairwise(logs)]
    assert max(steps) < 1.7 * min(steps)


def test_the_ladder_is_no_longer_than_the_space_allows():
    asked = request(8, space=make_space(2, 3))
    assert len(PROPOSERS["ladder"](asked)) == 3
    assert PROPOSERS["ladder"](request(0)) == []


def test_seeds_come_from_the_path_first_and_only_once():
    space = make_space()
    seeds = propose_seeds(request(3, path=[space.full, space.uniform(0.5)], space=space))
    assert [seed.source for seed in seeds] == ["path", "path", "ladder", "ladder"]
    assert len({seed.widths for seed in seeds}) == 4


def test_seeds_meet_the_constraints():
    asked = request(8, constraints={"macs": "<= 30%"})
    seeds = propose_seeds(asked)
    assert 2 <= len(seeds) < 8
    assert all(asked.task.is_feasible(seed.widths) for seed in seeds)
