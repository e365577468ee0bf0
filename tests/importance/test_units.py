from __future__ import annotations

import numpy as np
import pytest

from dpod_search.errors import ConfigError
from dpod_search.importance import LayerScores
from dpod_search.importance import UnitImportance
from dpod_search.widths import BLOCK_RUNGS
from dpod_search.widths import WidthSpace


SPACE = WidthSpace(("a", "block", "b"), ((1, 3, 4), BLOCK_RUNGS, (2, 3)), (("block", ("b",)),))
IMPORTANCE = UnitImportance(
    "taylor",
    (4, None, 3),
    (
        LayerScores("stem", 0, np.array([0.1, 0.2, 0.0, 0.1])),
        LayerScores("inner", 2, np.array([0.1, 0.1, 0.2]), (1,)),
        LayerScores("outer", 0, np.array([0.05, 0.05, 0.05, 0.05]), (1,)),
    ),
)


def test_a_subnet_keeps_the_prefixes_of_the_layers_that_are_there():
    kept = IMPORTANCE.tabulate(SPACE)
    rungs = [[2, 1, 1], [0, 1, 0], [1, 1, 1], [1, 0, 0], [0, 0, 1]]
    expected = [1, 0.1 + 0.2 + 0.05, 0.3 + 0.4 + 0.15, 0.3, 0.1]
    np.testing.assert_allclose(kept.at(rungs), expected)


def test_groups_have_the_sums_of_their_layers_and_blocks_have_none():
    a, block, b = IMPORTANCE.by_group()
    np.testing.assert_allclose(a, [0.15, 0.25, 0.05, 0.15])
    np.testing.assert_allclose(b, [0.1, 0.1, 0.2])
    assert block is None
    assert IMPORTANCE.layers[0].scores[0] == 0.1  # nothing was added to the scores themselves


def test_scores_move_with_their_units():
    moved = IMPORTANCE.reorder((np.array([1, 0, 3, 2]), None, None))
    np.testing.assert_allclose(moved.layers[0].scores, [0.2, 0.1, 0.1, 0.0])
    np.testing.assert_allclose(moved.by_group()[0], [0.25, 0.15, 0.15, 0.05])
    np.testing.assert_allclose(moved.tabulate(SPACE).at([[0, 1, 0]]), [0.2 + 0.05 + 0.2])
    assert moved.layers[1] is not IMPORTANCE.layers[0]
    np.testing.assert_allclose(moved.layers[1].scores, IMPORTANCE.layers[1].scores)


@pytest.mark.parametrize(
    "space",
    [
        WidthSpace(("a", "b"), ((1, 4), (2, 3))),
        WidthSpace(("a", "block", "b"), ((1, 5), BLOCK_RUNGS, (2, 3))),
        WidthSpace(("a", "block", "b", "c"), ((1, 4), BLOCK_RUNGS, (2, 3), (1, 2))),
    ],
)
def test_a_space_of_other_groups_is_refused(space):
    with pytest.raises(ConfigError, match="measure it on the supernet of the space"):
        IMPORTANCE.tabulate(space)
