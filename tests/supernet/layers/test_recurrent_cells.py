"""LSTMCell, GRUCell and RNNCell in a loop: hidden units are a group, shared by all steps."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from latency.fakes import SETTINGS
from supernet.exactness import assert_close
from supernet.exactness import assert_exact
from supernet.exactness import reasons
from supernet.exactness import sample_widths
from torch import Tensor
from torch import nn

from dpod_search.footprint import build_footprint
from dpod_search.importance import measure_unit_importance
from dpod_search.latency import make_request
from dpod_search.latency.backends.programs import write_program
from dpod_search.latency.layers import list_placed_layers
from dpod_search.supernet import Supernet
from dpod_search.supernet import absorb_subnet
from dpod_search.supernet import build_supernet
from dpod_search.supernet import extract_subnet
from dpod_search.supernet import reorder_units


N_STEPS, N_INPUTS, N_HIDDEN = 4, 5, 8
X = torch.randn(
    3, N_STEPS, N_INPUTS, generator=torch.Generator().manual_seed(0), dtype=torch.double
)
CELLS = [nn.LSTMCell, nn.GRUCell, nn.RNNCell]


class Loop(nn.Module):
    """A loop over steps, as people write it."""

    def __init__(self, kind: type[nn.RNNCellBase], way: str = "none", **options) -> None:
        super().__init__()
        self.way, self.size, self.is_lstm = way, N_HIDDEN, issubclass(kind, nn.LSTMCell)
        self.front = nn.Linear(N_INPUTS, 6)
        self.cell = kind(6, N_HIDDEN, **options)
        self.hidden, self.head = nn.Linear(N_HIDDEN, 7), nn.Linear(7, 3)
        self.double().eval()

    def start(self, x: Tensor) -> object:
        if self.way == "none":
            return None
        if self.way == "zeros":
            state = torch.zeros(x.size(0), self.size, dtype=x.dtype)
        elif self.way == "of the cell":
            state = x.new_zeros(x.shape[0], self.cell.hidden_size)
        else:
            state = x.new_zeros(x.shape[0], 8)
        return (state, torch.zeros_like(state)) if self.is_lstm else state

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        state, outputs = self.start(x), []
        for step in range(x.size(1)):
            state = self.cell(x[:, step], state)
            outputs.append(state[0] if self.is_lstm else state)
        return self.head(self.hidden(torch.stack(outputs, 1)).relu().mean(1))


def names_of(supernet: Supernet) -> list[str]:
    return [group.name for group in supernet.groups]


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("way", ["none", "zeros", "of the cell"])
def test_units_are_a_group_of_all_steps(kind: type[nn.RNNCellBase], way: str) -> None:
    options = {"nonlinearity": "relu"} if kind is nn.RNNCell and way == "zeros" else {}
    supernet = build_supernet(Loop(kind, way, bias=way != "zeros", **options), X)
    assert names_of(supernet) == ["front", "cell", "hidden"]
    assert_exact(supernet, X, widths=sample_widths(supernet, 4), n_trained=2)
    small = extract_subnet(supernet, supernet.space.smallest)
    assert type(small.cell) is kind
    assert small.cell.hidden_size == 1


@pytest.mark.parametrize("kind", CELLS)
def test_a_first_state_of_a_number_in_the_code_fixes_the_width(
    kind: type[nn.RNNCellBase],
) -> None:
    supernet = build_supernet(Loop(kind, "number"), X)
    assert names_of(supernet) == ["front", "hidden"]
    assert (
        "whose state is given, combines it with channels of fixed number"
        in (reasons(supernet)["cell"])
    )
    assert_exact(supernet, X, widths=sample_widths(supernet, 2), n_trained=0)


class Stacked(nn.Module):
    """Cells on top of each other in a list, and a decoder that starts where the encoder ended."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.ModuleList([nn.LSTMCell(N_INPUTS, 8), nn.LSTMCell(8, 6)])
        self.decoder = nn.LSTMCell(6, 6)
        self.head = nn.Linear(6, 3)
        self.double().eval()

    def forward(self, x: Tensor) -> Tensor:
        states = [(x.new_zeros(x.size(0), c.hidden_size),) * 2 for c in self.cells]
        for part in x.unbind(1):
            for k, cell in enumerate(self.cells):
                hidden, memory = cell(part, states[k])
                states[k] = (hidden, memory)
                part = hidden
        hidden, memory = states[-1]
        for _ in range(2):
            hidden, memory = self.decoder(hidden, (hidden, memory))
        return self.head(hidden * memory.tanh())


def test_cells_in_a_row_and_a_decoder() -> None:
    supernet = build_supernet(Stacked(), X)
    assert names_of(supernet) == ["cells.0", "cells.1"]
    assert "decoder" in supernet.groups[1].members
    assert_exact(supernet, X, widths=sample_widths(supernet, 4), n_trained=1)


class Own(nn.GRUCell):
    """Of the user's own, and computes as a GRU's cell."""

    note = "mine"


class Others(nn.Module):
    """A subclass; states of two samples each that are used together; a pair that is returned."""

    def __init__(self, returns: bool) -> None:
        super().__init__()
        self.own, self.pair = Own(N_INPUTS, 8), nn.LSTMCell(8, 6)
        self.head, self.returns = nn.Linear(6, 3), returns
        self.double().eval()

    def forward(self, x: Tensor) -> object:
        made = self.pair(self.own(x[:, 0]))
        return made if self.returns else self.head(made[0])


def test_a_pair_that_is_returned_stays_and_a_subclass_is_kept() -> None:
    supernet = build_supernet(Others(returns=False), X)
    assert names_of(supernet) == ["own", "pair"]
    assert_exact(supernet, X, widths=sample_widths(supernet, 3), n_trained=0)
    assert type(extract_subnet(supernet, supernet.space.smallest).own) is Own

    supernet = build_supernet(Others(returns=True), X)
    assert names_of(supernet) == ["own"]
    assert "is used as a whole" in reasons(supernet)["pair"]
    with supernet.active(supernet.space.smallest):
        got = supernet(X)
    for one, other in zip(got, extract_subnet(supernet, supernet.space.smallest)(X), strict=True):
        assert_close(one, other)


class OneSample(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.front, self.cell = nn.Linear(N_INPUTS, 6), nn.GRUCell(6, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        made = torch.stack([self.cell(x[k, 0]) for k in range(x.size(0))])
        return self.head(made)


def test_single_samples_are_refused_aloud() -> None:
    supernet = build_supernet(
        nn.Sequential(nn.Linear(N_INPUTS, N_INPUTS), OneSample()).double().eval(), X
    )
    assert "is given one sample without a batch axis" in reasons(supernet)["1.cell"]
    assert any(where.startswith("1.cell") for where in supernet.grouping.uncounted)


def test_one_sample_runs_as_it_does_in_the_plain_cell() -> None:
    for kind in CELLS:
        supernet = build_supernet(Loop(kind), X)
        widths = supernet.space.uniform(0.5)
        plain, elastic = extract_subnet(supernet, widths).cell, supernet.net.cell
        x = torch.randn(plain.input_size, dtype=torch.double)
        with supernet.active(widths):
            for given in (None, plain(x)):
                for one, other in zip(elastic(x, given), plain(x, given), strict=True):
                    assert_close(one, other)


@pytest.mark.parametrize("kind", CELLS)
def test_units_have_an_importance_and_can_be_reordered(kind: type[nn.RNNCellBase]) -> None:
    supernet = build_supernet(Loop(kind, "zeros"), X)
    before = supernet(X)
    batches = [(X, torch.tensor([0, 1, 2]))]
    scores = measure_unit_importance(supernet, batches, criterion="taylor").by_group()
    assert all(score is not None and score.std() > 0 for score in scores)
    found = reorder_units(supernet, scores, inputs=(X,))
    assert not found.left
    assert list(found.orders[1]) != sorted(found.orders[1])
    assert_close(supernet(X), before)


def test_a_subnet_comes_back_where_it_was_cut_from() -> None:
    supernet = build_supernet(Loop(nn.LSTMCell, "zeros"), X)
    for widths in sample_widths(supernet, 3):
        subnet = extract_subnet(supernet, widths)
        with torch.no_grad():
            for parameter in subnet.parameters():
                parameter.mul_(2)
        absorb_subnet(supernet, widths, subnet)
        with supernet.active(widths):
            assert_close(supernet(X), subnet(X))


def test_macs_are_those_of_all_gates_and_steps() -> None:
    supernet = build_supernet(Loop(nn.GRUCell), X)
    macs = build_footprint(supernet).measure(supernet.space.full)["macs"]
    recurrent = 3 * N_HIDDEN * (6 + N_HIDDEN)
    assert macs == N_STEPS * (N_INPUTS * 6 + recurrent + N_HIDDEN * 7) + 7 * 3


@pytest.mark.parametrize("kind", CELLS)
def test_every_step_is_in_a_latency_table(kind: type[nn.RNNCellBase]) -> None:
    supernet = build_supernet(Loop(kind).float(), X.float())
    cells = [layer for layer in list_placed_layers(supernet) if layer.name == "cell"]
    assert len(cells) == N_STEPS
    request = make_request(supernet, replace(SETTINGS, n_fit=8, n_held_out=4))
    (asked,) = (layer for layer in request.layers if layer.spec.kind == "cell")
    assert asked.outputs == tuple(range(1, 9))
    plain = extract_subnet(supernet, supernet.space.uniform(0.5)).cell
    built, x = asked.spec.build(plain.input_size, plain.hidden_size, batch_size=2)
    assert write_program(built[0], x) == write_program(plain.eval(), x)
    assert asked.spec.describe() == f"{asked.spec.cell} at 1"
