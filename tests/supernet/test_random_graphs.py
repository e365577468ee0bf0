"""Random graphs, in which branches part and meet anywhere: at any widths they are what is extracted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from strategies import Net
from strategies import graphs
from supernet.exactness import assert_exact

from dpod_search.errors import GroupingError
from dpod_search.supernet import build_supernet


def check(net: Net, seed: int) -> None:
    try:
        supernet = build_supernet(net.model, net.example)
    except GroupingError as error:
        # All its channels meet the picture's, or it has one of each.
        assert "no channel group of the model can be narrowed" in str(error)  # noqa: PT017
        assert "running it narrower fails" not in str(error)  # noqa: PT017
        return
    rng = np.random.default_rng(seed)
    assert_exact(supernet, net.example, widths=[supernet.space.sample(rng)], n_trained=1)


@settings(max_examples=120)
@given(graphs(), st.integers(0, 2**16))
def test_a_random_graph_is_exact_and_counted(net: Net, seed: int) -> None:
    check(net, seed)


@pytest.mark.slow
@settings(max_examples=600)
@given(graphs(), st.integers(0, 2**16))
def test_many_random_graphs_are_exact_and_counted(net: Net, seed: int) -> None:
    check(net, seed)
