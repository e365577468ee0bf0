from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpod_search.errors import InfeasibleError
from dpod_search.pipeline.stages.correcting import NEAR
from dpod_search.pipeline.stages.correcting import correct
from dpod_search.widths import Widths


# Subnets of one group: a subnet of width w takes w / 1000 of the full net's time, says the model.
FULL = 1000


class Chooser:
    """The widest subnet within so many times the wish, of the widths that there are."""

    def __init__(self, wished, widths):
        self.wished, self.widths = wished, sorted(widths)
        self.asked = []

    def __call__(self, factor):
        self.asked.append(factor)
        within = [w for w in self.widths if w <= factor * self.wished * FULL * (1 + 1e-12)]
        if not within:
            raise InfeasibleError(f"the smallest has {self.widths[0]}")
        return Widths(("a",), (within[-1],)), within[-1]


def run(truth, wished, widths=range(1, FULL + 1), n=8):
    choose = Chooser(wished, widths)
    measured = []

    def measure(found):
        measured.append(found.active[0])
        return truth(found.active[0] / FULL) / truth(1)

    found = correct(choose, measure, wished=wished, n_corrections=n)
    assert len(measured) == len(set(measured))
    assert found.share == measure(found.widths)
    assert found.known == found.widths.active[0]
    return found, choose, measured[:-1]


def test_what_is_right_at_once_is_measured_once():
    found, choose, measured = run(lambda share: share, 0.5)
    assert (found.widths.active, found.share, found.n_corrections) == ((500,), 0.5, 0)
    assert (choose.asked, measured) == ([1.0], [500])


@pytest.mark.parametrize("wished", [0.25, 0.5, 0.75])
@pytest.mark.parametrize("power", [0.5, 0.7, 1.4, 2.0])
def test_a_model_that_is_off_by_a_power_is_corrected(power, wished):
    found, _, measured = run(lambda share: share**power, wished)
    assert NEAR * wished <= found.share <= wished
    assert found.n_corrections > 0
    assert len(measured) <= 6


def test_a_constant_that_the_model_does_not_know_is_corrected():
    found, _, _ = run(lambda share: 0.3 + share, 0.5)
    assert NEAR * 0.5 <= found.share <= 0.5


def test_what_cannot_be_met_is_the_nearest_beyond():
    found, _, measured = run(lambda share: 3 + share, 0.5)
    assert found.widths.active == (min(measured),)
    assert found.share > 0.5


def test_a_limit_below_all_subnets_is_no_end():
    # The model calls all that is within the wish out of reach but for one width.
    found, choose, _ = run(lambda share: share**2, 0.6, widths=[400, 580, 600, 900])
    assert found.widths.active == (600,)
    found, choose, _ = run(lambda share: share + 0.2, 0.5, widths=[390, 420, 500])
    assert found.widths.active == (390,)
    assert min(choose.asked) < 1


def test_nothing_within_the_modelled_limit_is_infeasible():
    with pytest.raises(InfeasibleError, match="smallest has 600"):
        run(lambda share: share, 0.5, widths=[600, 700])


def test_without_corrections_the_model_is_believed():
    found, choose, _ = run(lambda share: share**0.5, 0.5, n=0)
    assert (found.widths.active, choose.asked) == ((500,), [1.0])


def test_a_wish_beyond_the_full_net_takes_it():
    found, _, measured = run(lambda share: share**2, 1.3)
    assert (found.widths.active, measured) == ((FULL,), [FULL])


@given(
    wished=st.floats(0.05, 1),
    widths=st.sets(st.integers(1, FULL), min_size=1),
    power=st.floats(0.3, 3),
    constant=st.floats(0, 2),
)
def test_what_was_measured_nearest_within_the_wish_is_taken(wished, widths, power, constant):
    def truth(share):
        return constant + share**power

    try:
        found, choose, measured = run(truth, wished, widths=widths)
    except InfeasibleError:
        assert min(widths) > wished * FULL
        return
    shares = [truth(w / FULL) / truth(1) for w in measured]
    within = [share for share in shares if share <= wished]
    assert found.share == (max(within) if within else min(shares))
    assert len(choose.asked) <= 9
    assert all(math.isfinite(factor) and factor > 0 for factor in choose.asked)
    assert min(choose.asked) * wished <= max(choose.asked) * wished <= 1 + 1e-9
