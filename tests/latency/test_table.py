"""What a table says, and what is wrong with a file that is none."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from latency.fakes import DEVICE
from latency.fakes import make_residual_supernet
from latency.fakes import make_table

from dpod_search.errors import DataError
from dpod_search.latency import read_table
from dpod_search.latency.table import LayerGrid
from dpod_search.latency.table import MeasuredNet


INPUTS, OUTPUTS = (2, 4, 9), (1, 8)
MS = np.array([[1.0, 3.0], [2.0, 7.0], [4.0, 5.0]])
GRID = LayerGrid(INPUTS, OUTPUTS, MS)


@pytest.fixture(scope="module")
def table():
    return make_table(make_residual_supernet())


def test_a_grid_is_exact_where_it_was_measured():
    np.testing.assert_array_equal(GRID.at(INPUTS, OUTPUTS), MS)
    assert GRID.at([4], [8]) == 7.0


@given(st.floats(0, 1), st.floats(0, 1), st.integers(0, 1))
def test_a_grid_is_bilinear_between(s, t, row):
    i = INPUTS[row] + s * (INPUTS[row + 1] - INPUTS[row])
    o = OUTPUTS[0] + t * (OUTPUTS[1] - OUTPUTS[0])
    (a, b), (c, d) = MS[row], MS[row + 1]

    due = (1 - s) * ((1 - t) * a + t * b) + s * ((1 - t) * c + t * d)
    assert GRID.at([i], [o])[0, 0] == pytest.approx(due)


def test_a_grid_of_one_width_holds_for_it():
    grid = LayerGrid((1,), (2, 4), np.array([[1.0, 3.0]]))
    np.testing.assert_allclose(grid.at([1], [2, 3, 4]), [[1, 2, 3]])
    assert grid.covers([1], [2, 4])
    assert not grid.covers([2], [2])
    assert not grid.covers([1], [2, 5])


def test_a_table_is_read_as_it_was_written(table, tmp_path):
    table.write(tmp_path / "a.json")
    found = read_table(tmp_path / "a.json")

    assert (found.device, found.space, found.nets) == (table.device, table.space, table.nets)
    assert found.reference_ms == table.reference_ms
    assert list(found.layers) == list(table.layers)
    for spec, grid in table.layers.items():
        assert (found.layers[spec].inputs, found.layers[spec].outputs) == (
            grid.inputs,
            grid.outputs,
        )
        np.testing.assert_allclose(found.layers[spec].ms, grid.ms, rtol=1e-4)
    found.write(tmp_path / "b.json")
    assert (tmp_path / "a.json").read_text() == (tmp_path / "b.json").read_text()


def test_restless_nets_are_counted(table):
    assert table.n_restless == 0
    nets = (MeasuredNet((1,), 1.0, 1.0, 1.0, 1.6), *table.nets)
    assert type(table)(DEVICE, 1.0, {}, "", nets).n_restless == 1


def put(value, path, new):
    *way, last = path
    for step in way:
        value = value[step]
    if new is ...:
        del value[last]
    else:
        value[last] = new


@pytest.mark.parametrize(
    ("path", "new", "message"),
    [
        (["format"], "something", "its format is not"),
        (["version"], 2, "its version is 2, and only 1 can be read"),
        (["version"], ..., "its version is None"),
        (["device"], ..., "it lacks 'device'"),
        (["device"], "mine", "describes no device"),
        (["device", "n_cores"], ..., "describes no device"),
        (["device", "n_cores"], "many", "n_cores of a device cannot be 'many'"),
        (["device", "colour"], "red", "describes no device"),
        (["layers"], {}, "no list"),
        (["nets"], 3, "no list"),
        (["space"], None, "no text"),
        (["reference_ms"], 0, "latency of the reference net must be above 0"),
        (["layers", 0], "x", "a layer lacks a part"),
        (["layers", 0, "ms"], ..., "a layer lacks a part"),
        (["layers", 0, "ms"], 3.0, "are no table"),
        (["layers", 0, "ms", -1], ..., "are cut off: 1 rows of 8 are due"),
        (["layers", 1, "ms", 2, 3], ..., "are cut off: 8 rows of 8 are due"),
        (["layers", 1, "ms", 2, 3], -1.0, "must be above 0 and finite, got -1.0"),
        (["layers", 1, "ms", 2, 3], 0, "must be above 0 and finite, got 0"),
        (["layers", 1, "ms", 2, 3], math.nan, "must be above 0 and finite, got nan"),
        (["layers", 1, "ms", 2, 3], math.inf, "must be above 0 and finite, got inf"),
        (["layers", 1, "ms", 2, 3], "0.3", "must be above 0 and finite, got '0.3'"),
        (["layers", 1, "ms", 2, 3], True, "must be above 0 and finite, got True"),
        (["layers", 1, "ms", 2, 3], None, "must be above 0 and finite, got None"),
        (["layers", 1, "inputs"], [], "must be ascending widths"),
        (["layers", 1, "inputs"], "12345678", "must be ascending widths"),
        (["layers", 1, "inputs", 0], 0, "must be ascending widths"),
        (["layers", 1, "outputs", 3], 99, "must be ascending widths"),
        (["layers", 1, "outputs", 3], 3.5, "must be ascending widths"),
        (["layers", 1, "spec", "colour"], "red", "unknown property 'colour'"),
        (["layers", 1, "spec", "kind"], "magic", "cannot be of kind 'magic'"),
        (["layers", 1, "spec", "conv_group"], [1, 3], "multiples of the 3 of a group"),
        (["nets", 0], 7, "a net lacks a part"),
        (["nets", 0, "ms"], ..., "a net lacks a part"),
        (["nets", 0, "ms"], -3, "latency of the net .* got -3"),
        (["nets", 0, "high_ms"], math.nan, "latency of the net .* got nan"),
        (["nets", 0, "widths"], "8:8", "must be whole numbers"),
        (["nets", 0, "widths", 0], -1, "must be whole numbers"),
    ],
)
def test_a_damaged_table_is_one_clear_error(table, tmp_path, path, new, message):
    value = json.loads(json.dumps(table.to_json()))
    put(value, path, new)
    file = tmp_path / "table.json"
    file.write_text(json.dumps(value))

    with pytest.raises(DataError, match=message) as told:
        read_table(file)
    text = str(told.value)
    assert str(file) in text
    assert "measure it again" in text
    assert "\n" not in text


def test_a_table_that_is_cut_off_is_none(table, tmp_path):
    file = tmp_path / "table.json"
    table.write(file)
    data = file.read_bytes()
    for length in (0, 1, len(data) // 2, len(data) - 3):
        file.write_bytes(data[:length])
        with pytest.raises(DataError, match="no latency table, or cut off"):
            read_table(file)


@pytest.mark.parametrize("text", ["[]", "3", "null", '"x"', "{}", "\x80", "[" * 100_000])
def test_a_file_of_something_else_is_none(tmp_path, text):
    file = tmp_path / "table.json"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match="table.json"):
        read_table(file)


def test_a_file_that_is_missing_is_named(tmp_path):
    with pytest.raises(DataError, match=r"no latency table .*nothing.json; check the path"):
        read_table(tmp_path / "nothing.json")
    with pytest.raises(DataError, match="check the path"):
        read_table(tmp_path)
