from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from search.fakes import ACCURACY
from search.fakes import make_space
from search.fakes import make_task

from dpod_search.search import Macs
from dpod_search.search import Objective
from dpod_search.search.plan.lattice import Lattice
from dpod_search.search.plan.surrogate.encoding import Encoder
from dpod_search.search.plan.surrogate.encoding import choose_columns
from dpod_search.widths import WidthSpace


def encode(task, rungs, footprints=None):
    lattice = Lattice(task)
    return Encoder(task, lattice).encode(np.array(rungs), footprints)


def test_features_are_logarithms_of_width_ratios_and_of_costs():
    task = make_task(make_space(2, 4))
    found = encode(task, [[3, 3], [1, 0]])
    narrow = task.measure_footprint(task.space.from_rungs([1, 0]))
    np.testing.assert_allclose(found[0, :2], 0)
    np.testing.assert_allclose(found[1, :2], [-1, -2])
    expected = np.log2([narrow["macs"], narrow["params"], narrow["weight_bytes"]])
    np.testing.assert_allclose(found[1, 2:], expected)


def test_a_removed_block_is_half_a_block_and_costs_nothing_to_take_the_logarithm_of():
    space = WidthSpace(("stem", "block"), ((4, 8), (0, 1)))
    found = encode(make_task(space), [[1, 0], [1, 1]])
    assert found[:, 1].tolist() == [-1, 0]
    assert np.isfinite(found).all()


def test_footprints_that_are_known_are_not_measured_again():
    task = make_task()
    rungs = np.zeros((2, 4), dtype=np.int64)
    known = {**Lattice(task).measure(rungs), "macs": np.array([2.0, 4.0])}
    assert encode(task, rungs, known)[:, 4].tolist() == [1, 2]


def test_an_own_footprint_is_a_feature_only_if_it_is_an_objective():
    own = Objective("own", "minimize", lambda widths: 8.0, "footprint")
    task = make_task()
    searched = replace(task, objectives=(ACCURACY, Macs(), own))
    rungs = [[0, 0, 0, 0]]
    assert encode(task, rungs).shape == (1, 4 + 3)
    assert encode(searched, rungs)[0, -1] == pytest.approx(3)


def test_columns_that_repeat_or_never_change_are_left_out():
    column = np.array([-1.0, 0.0, 1.0])
    other = np.array([1.0, 0.0, 1.0])
    features = np.column_stack([np.zeros(3), column, other, column + 1e-9, np.ones(3)])
    assert choose_columns(features) == [1, 2]
    assert choose_columns(np.ones((3, 2))) == [0]
