from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from latency.fakes import SETTINGS
from latency.fakes import make_residual_net
from latency.fakes import make_residual_supernet
from latency.fakes import make_table

from dpod_search.errors import ConfigError
from dpod_search.errors import DataError
from dpod_search.latency import LatencySettings
from dpod_search.latency import make_request
from dpod_search.latency import pack_nets
from dpod_search.latency import read_request
from dpod_search.latency import write_request
from dpod_search.latency.layers import list_placed_layers
from dpod_search.latency.request import extract_net
from dpod_search.latency.request import make_images
from dpod_search.supernet import build_supernet


@pytest.fixture(scope="module")
def supernet():
    return make_residual_supernet()


@pytest.fixture(scope="module")
def packed(supernet):
    settings = replace(SETTINGS, n_fit=8, n_held_out=4, n_grid=2, batch_size=3)
    request = make_request(supernet, settings)
    return pack_nets(replace(request, nets=request.nets[:2]), supernet)


def test_a_request_asks_for_every_layer_and_both_ends(supernet):
    request = make_request(supernet, SETTINGS)
    layers = list_placed_layers(supernet)

    assert {layer.spec for layer in request.layers} == {layer.spec for layer in layers}
    assert len(request.layers) < len(layers)
    assert [net.widths for net in request.nets[:2]] == [
        supernet.space.full.active,
        supernet.space.canonical(supernet.space.smallest).active,
    ]
    assert len({net.widths for net in request.nets}) == SETTINGS.n_fit + SETTINGS.n_held_out
    assert request.input_shape == (3, 8, 8)
    assert request.n_cells == sum(len(x.inputs) * len(x.outputs) for x in request.layers)
    # Held-out nets are of all sizes.
    sums = [sum(net.widths) for net in request.nets[-8:]]
    assert np.ptp(sums) > 0.4 * sum(supernet.space.full.active)


def test_a_grid_is_thinned_and_keeps_its_ends(supernet):
    fine, coarse = (
        make_request(supernet, SETTINGS),
        make_request(supernet, replace(SETTINGS, n_grid=3)),
    )
    for one, other in zip(fine.layers, coarse.layers, strict=True):
        for axis in ("inputs", "outputs"):
            full, thin = getattr(one, axis), getattr(other, axis)
            assert len(thin) == min(3, len(full))
            assert (thin[0], thin[-1]) == (full[0], full[-1])
            assert set(thin) <= set(full)


def test_a_seed_draws_the_same_nets(supernet):
    one, same, other = (make_request(supernet, SETTINGS, seed=seed) for seed in (1, 1, 2))
    assert [net.widths for net in one.nets] == [net.widths for net in same.nets]
    assert [net.widths for net in one.nets] != [net.widths for net in other.nets]


def test_a_space_that_is_too_small_is_told():
    supernet = build_supernet(
        make_residual_net(n_blocks=0), torch.zeros(2, 3, 8, 8), ratios=(0.25, 0.5, 0.75)
    )
    with pytest.raises(ConfigError, match="at least 24 subnets, and the supernet has 4; take"):
        make_request(supernet, LatencySettings())


def test_a_request_knows_the_table_that_holds_it(supernet):
    request, table = make_request(supernet, SETTINGS), make_table(supernet)
    coarse = make_table(supernet, replace(SETTINGS, n_grid=2))

    assert request.is_held_by(table)
    assert not request.is_held_by(replace(table, nets=table.nets[1:]))
    assert not request.is_held_by(replace(table, layers=dict(list(table.layers.items())[1:])))
    assert not request.is_held_by(replace(table, space="another"))
    assert not request.is_held_by(replace(table, layers=coarse.layers))


def test_nets_are_cut_out(supernet):
    widths = supernet.space.smallest.active
    net = extract_net(supernet, widths)
    assert not net.training
    assert sum(p.numel() for p in net.parameters()) < 100
    assert net(make_images((3, 8, 8), 5)).shape == (5, 4)


def test_a_request_is_read_as_it_was_written(packed, tmp_path):
    file = tmp_path / "request.json"
    write_request(packed, file)
    found = read_request(file)

    for name in ("input_shape", "layers", "space", "runs_channels_last"):
        assert getattr(found, name) == getattr(packed, name)
    for name in ("backend", "batch_size", "n_threads", "seconds"):
        assert getattr(found.settings, name) == getattr(packed.settings, name)
    assert [(n.widths, n.packed) for n in found.nets] == [
        (n.widths, n.packed) for n in packed.nets
    ]
    assert file.stat().st_size < 20_000


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
        (["format"], "dpod-search latency table", "its format is not"),
        (["version"], 9, "its version is 9"),
        (["version"], ..., "lacks 'version'"),
        (["backend"], "tensorrt", "latency.backend must be one of"),
        (["batch_size"], "1", "latency.batch_size must be"),
        (["seconds"], None, "latency.seconds must be"),
        (["space"], 3, "its space is no text"),
        (["runs_channels_last"], "no", "neither true nor false"),
        (["input_shape"], [3, 8.5], "input_shape must be whole numbers"),
        (["input_shape"], 3, "input_shape must be whole numbers"),
        (["layers"], ..., "lacks 'layers'"),
        (["layers"], 3, "no latency request"),
        (["layers", 0, "inputs"], [], "must be ascending widths"),
        (["layers", 0, "outputs"], [0, 1], "must be ascending widths"),
        (["layers", 0, "spec", "kernel"], [3], "do not fit each other"),
        (["layers", 0, "spec"], ..., "lacks 'spec'"),
        (["nets"], ..., "lacks 'nets'"),
        (["nets", 0, "packed"], ..., "lacks 'packed'"),
        (["nets", 0, "packed"], "?", "no latency request"),
        (["nets", 0, "packed"], 3, "no latency request"),
        (["nets", 0, "widths"], ["8"], "must be whole numbers"),
    ],
)
def test_a_damaged_request_is_one_clear_error(packed, tmp_path, path, new, message):
    file = tmp_path / "request.json"
    write_request(packed, file)
    value = json.loads(file.read_text())
    put(value, path, new)
    file.write_text(json.dumps(value))

    with pytest.raises(DataError, match=message) as told:
        read_request(file)
    text = str(told.value)
    assert str(file) in text
    assert "write it again with `dpod-search latency request`" in text
    assert "\n" not in text


def test_a_request_that_is_cut_off_is_none(packed, tmp_path):
    file = tmp_path / "request.json"
    write_request(packed, file)
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(DataError, match="no latency request, or cut off"):
        read_request(file)
    with pytest.raises(DataError, match="there is no latency request"):
        read_request(tmp_path / "nothing.json")


@pytest.mark.parametrize(
    ("shape", "batch_size", "message"),
    [
        ((3, 8, 8), 0, "batch_size must be a whole number >= 1 and <= 1,000,000, got 0"),
        ((3, 8, 8), 2**63, "batch_size must be a whole number"),
        ((3, 2048, 2048), 1000, "batch_size must be <= 794 with inputs of 3 x 2048 x 2048, got"),
        ((10**9, 10**9), 1, "batch_size must be <= 0 with inputs of 1000000000 x 1000000000"),
    ],
)
def test_inputs_that_would_fill_the_memory_are_refused(shape, batch_size, message):
    with pytest.raises(ConfigError, match=message):
        make_images(shape, batch_size)
