from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from latency.fakes import SETTINGS
from latency.fakes import Dense
from latency.fakes import add_up
from latency.fakes import find_sizes
from latency.fakes import make_grids
from latency.fakes import make_residual_supernet
from latency.fakes import make_table
from torch import nn

from dpod_search.errors import DataError
from dpod_search.footprint import build_footprint
from dpod_search.latency import make_request
from dpod_search.latency.layers import list_placed_layers
from dpod_search.latency.layers import sample_subnets
from dpod_search.latency.model import to_rungs
from dpod_search.latency.summands import MAX_CELLS
from dpod_search.latency.summands import build_summands
from dpod_search.supernet import build_supernet


def add_up_summands(supernet, table, n=60):
    """Return every summand of some subnets, and the subnets."""
    subnets = sample_subnets(supernet.space, n, np.random.default_rng(3))
    rungs = to_rungs(supernet.space, np.array([widths.active for widths in subnets]))
    summands = build_summands(supernet, list_placed_layers(supernet), table)
    return {name: summand.at(rungs) for name, summand in summands.items()}, subnets


def test_parts_are_plain_sums_over_the_layers_that_are_there():
    supernet = make_residual_supernet()
    table = make_table(supernet)
    summands, subnets = add_up_summands(supernet, table)
    layers = list_placed_layers(supernet)

    assert any(0 in widths.active for widths in subnets)
    assert set(summands) == {"layers", "constant", "n_layers", "outputs", "inputs"}
    for i, widths in enumerate(subnets):
        there = [layer for layer in layers if all(widths.active[b] for b in layer.blocks)]
        sizes = [(layer, *find_sizes(layer, widths.active)) for layer in there]
        due = add_up(supernet, dict(table.layers), widths.active)
        assert summands["layers"][i] == pytest.approx(due)
        assert summands["constant"][i] == 1
        assert summands["n_layers"][i] == len(there)
        n_out = sum(n * np.prod(layer.spec.size) for layer, _, n in sizes)  # nothing is strided
        n_in = sum(n * np.prod(layer.spec.size) for layer, n, _ in sizes)
        assert summands["outputs"][i] == pytest.approx(1e-5 * n_out)
        assert summands["inputs"][i] == pytest.approx(1e-5 * n_in)


def test_a_layer_of_too_many_groups_is_exact_where_latency_is_bilinear():
    supernet = build_supernet(Dense(5, 8), torch.zeros(2, 3, 8, 8))
    head = list_placed_layers(supernet)[-1]
    assert 8 ** len(head.groups) > MAX_CELLS
    table = make_table(supernet)
    truth = make_grids(
        make_request(supernet, SETTINGS), lambda i, o: 0.2 + 0.01 * i + 0.03 * o + i * o / 300
    )
    summands, subnets = add_up_summands(supernet, replace(table, layers=truth))

    due = [add_up(supernet, truth, widths.active) for widths in subnets]
    np.testing.assert_allclose(summands["layers"], due, rtol=1e-6)


class Sum(nn.Module):
    """Depthwise over all that was joined: many groups, and the same ones on both sides."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(3, 8, 3, padding=1) for _ in range(5))
        self.depthwise = nn.Conv2d(40, 40, 3, groups=40)
        self.head = nn.Conv2d(40, 40, 1)
        self.last = nn.Conv2d(40, 4, 1)

    def forward(self, x):
        x = self.depthwise(torch.cat([conv(x) for conv in self.convs], 1))
        return self.last(torch.relu(self.head(x))).mean((2, 3))


def test_it_is_so_for_depthwise_layers():
    supernet = build_supernet(Sum(), torch.zeros(2, 3, 8, 8))
    table = make_table(supernet)
    truth = make_grids(make_request(supernet, SETTINGS), lambda i, o: 0.2 + 0.01 * i + 0.03 * o)
    summands, subnets = add_up_summands(supernet, replace(table, layers=truth))

    due = [add_up(supernet, truth, widths.active) for widths in subnets]
    np.testing.assert_allclose(summands["layers"], due, rtol=1e-6)


def test_attention_that_no_table_knows_is_a_part_of_its_own():
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Linear(6, 8)
            self.attention = nn.MultiheadAttention(8, 4, batch_first=True)
            self.head = nn.Linear(8, 4)

        def forward(self, x):
            x = self.embed(x)
            x = x + self.attention(x, x, x, need_weights=False)[0]
            return self.head(x.mean(1))

    supernet = build_supernet(Net().eval(), torch.zeros(2, 5, 6))
    kinds = {plan.kind for plan in supernet.grouping.layers}
    assert "attention" in kinds
    settings = replace(SETTINGS, n_fit=8, n_held_out=4)
    summands, subnets = add_up_summands(supernet, make_table(supernet, settings))
    sizes = np.array([sum(widths.active) for widths in subnets])
    assert (summands["rest"] > 0).all()
    assert summands["rest"][sizes.argmin()] < summands["rest"][sizes.argmax()]


@pytest.mark.parametrize("is_there", [True, False])
def test_a_layer_that_the_table_lacks_is_named(is_there):
    supernet = make_residual_supernet()
    table = make_table(supernet)
    layers = dict(table.layers)
    spec = list_placed_layers(supernet)[1].spec
    grid = layers.pop(spec)
    if is_there:
        layers[spec] = replace(grid, inputs=grid.inputs[:-1], ms=grid.ms[:-1])

    with pytest.raises(DataError, match=r"lacks 3\.conv1 \(conv 3x3 at 8x8 norm relu, 8 to 8"):
        build_summands(supernet, list_placed_layers(supernet), replace(table, layers=layers))


def test_a_recurrent_layer_that_no_table_knows_weighs_its_macs():
    # Its sequence is the batch.
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.rnn, self.head = nn.Linear(6, 8), nn.GRU(8, 8, 2), nn.Linear(8, 4)

        def forward(self, x):
            return self.head(self.rnn(self.embed(x))[0])

    supernet = build_supernet(Net().eval(), torch.zeros(2, 6))
    settings = replace(SETTINGS, n_fit=8, n_held_out=4)
    summands, subnets = add_up_summands(supernet, make_table(supernet, settings))
    footprint = build_footprint(supernet)
    others = {"embed": 6, "head": 4}
    recurrent = [
        footprint.measure(w)["macs"] - others["embed"] * w["embed"] - others["head"] * w["rnn[1]"]
        for w in subnets
    ]
    np.testing.assert_allclose(summands["rest"], np.array(recurrent) * 1e-6)
