from __future__ import annotations

from report.graph.graphs import layer
from report.graph.graphs import make_inspection
from report.graph.graphs import op

from dpod_search.report.graph.boxes import fold


def test_a_chain_that_keeps_its_channels_is_one_box():
    boxes = fold(make_inspection().operations)
    # What only computes a size (3) is left out, and a layer starts a box of its own.
    assert [box.rows for box in boxes] == [[0], [1, 2], [4, 5], [6], [7, 8], [9], [10]]
    assert [box.sources for box in boxes] == [[], [0], [1], [2], [1, 3], [4], [5]]


def test_a_result_that_is_read_twice_ends_its_box():
    operations = [
        op("x", "input", [], (3,)),
        layer("one", [0], (8,), (0,)),
        op("relu", "function", [1], (8,), groups=(0,)),
        op("tanh", "function", [1], (8,), groups=(0,)),
    ]
    assert [box.rows for box in fold(operations)] == [[0], [1], [2], [3]]


def test_a_tuple_is_drawn_with_what_is_picked_out_of_it():
    operations = [
        op("x", "input", [], (8,)),
        op("chunk", "method", [0], None),
        op("getitem", "function", [1], (4,), groups=(0,)),
        op("getitem", "function", [1], (4,), groups=(0,)),
        op("shape", "method", [0], None),
        op("getitem", "function", [4], None),
    ]
    boxes = fold(operations)
    assert [box.rows for box in boxes] == [[0], [1], [2], [3]]
    assert [box.sources for box in boxes] == [[], [0], [1], [1]]


def test_nothing_folds_to_nothing():
    assert fold([]) == []
