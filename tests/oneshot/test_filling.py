"""Filling: within the budget, no narrower than the shape, and nothing more would fit."""

from __future__ import annotations

import pytest
from hypothesis import assume
from hypothesis import given
from hypothesis import strategies as st
from oneshot.test_oneshot import requests

from dpod_search.errors import InfeasibleError
from dpod_search.oneshot import OneShotRequest
from dpod_search.oneshot import fill
from dpod_search.widths import BLOCK_RUNGS
from dpod_search.widths import WidthSpace
from dpod_search.widths import lies_in


@given(request_=requests(), data=st.data())
def test_nothing_more_fits_between_the_shape_and_what_is_around_it(request_, data):
    space = request_.space
    rungs = [data.draw(st.integers(0, n - 1)) for n in space.n_rungs]
    shape = space.canonical(space.from_rungs(rungs))
    assume(request_.is_met(shape))
    more = [data.draw(st.integers(i, n - 1)) for i, n in zip(rungs, space.n_rungs, strict=True)]
    around = space.from_rungs(more)
    filled = fill(request_, shape, around)
    assert request_.is_met(filled)
    assert lies_in(shape, filled)
    for name, steps in zip(space.names, space.rungs, strict=True):
        wider = [w for w in steps if filled[name] < w <= around[name]]
        assert filled[name] <= max(shape[name], around[name])
        if steps == BLOCK_RUNGS:
            assert filled[name] == shape[name]
        elif wider and space.canonical(filled.replace(name, wider[0])) != filled:
            assert not request_.is_met(filled.replace(name, wider[0]))


def test_the_shape_is_kept_as_nearly_as_rungs_allow():
    space = WidthSpace.from_ratios({"a": 64, "b": 64}, [i / 64 for i in range(1, 65)])
    shape = space.full.replace("a", 8).replace("b", 16)

    def fit(limit):
        request = OneShotRequest(space, lambda w: w["a"] * w["b"] <= limit, lambda _: 2.0)
        return fill(request, shape, space.full).active

    assert fit(8 * 16 * 4) == (16, 32)
    assert fit(8 * 16 * 4 + 16) == (16, 33)
    with pytest.raises(InfeasibleError, match=r"the subnet .* of the budget"):
        fit(8 * 16 - 1)
