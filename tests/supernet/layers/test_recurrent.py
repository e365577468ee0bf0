"""LSTM, GRU and RNN: hidden units of each layer are a group, in every gate and wherever they are read."""

from __future__ import annotations

import copy
import io
import itertools
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from supernet.exactness import assert_close
from supernet.exactness import assert_exact
from supernet.exactness import sample_widths
from torch import Tensor
from torch import nn
from torch.nn.utils import rnn

from dpod_search.evaluation import RepairingEvaluator
from dpod_search.export import export
from dpod_search.footprint import build_footprint
from dpod_search.importance import measure_unit_importance
from dpod_search.supernet import Supernet
from dpod_search.supernet import absorb_subnet
from dpod_search.supernet import build_supernet
from dpod_search.supernet import extract_subnet
from dpod_search.supernet import plan_weights
from dpod_search.supernet import reorder_units


N_STEPS, N_INPUTS, N_HIDDEN = 4, 5, 8
# In double precision, for PyTorch's counter does not look into the fused kernel of single precision.
X = torch.randn(
    3, N_STEPS, N_INPUTS, generator=torch.Generator().manual_seed(0), dtype=torch.double
)


class Net(nn.Module):
    """Linear layers in front of a recurrent layer and behind it."""

    def __init__(
        self, kind: type[nn.RNNBase] = nn.LSTM, reads: str = "outputs", **options
    ) -> None:
        super().__init__()
        self.reads, self.is_lstm = reads, kind is nn.LSTM
        self.batch_first = options.get("batch_first", False)
        self.front = nn.Linear(N_INPUTS, 6)
        self.rnn = kind(6, N_HIDDEN, **options)
        n_features = self.double().read(torch.zeros(1, 2, N_INPUTS, dtype=torch.double)).shape[1]
        self.hidden, self.head = nn.Linear(n_features, 7), nn.Linear(7, 3)
        self.double().eval()

    def read(self, x: Tensor) -> Tensor:
        x = self.front(x)
        outputs, states = self.rnn(x if self.batch_first else x.transpose(0, 1))
        if self.reads == "outputs":
            return outputs[:, -1] if self.batch_first else outputs[-1]
        if self.is_lstm:
            states, cells = states
        if self.reads == "both ends":
            return torch.cat([states[-2], states[-1]], 1)
        if self.reads == "all states":
            return states.transpose(0, 1).flatten(1)
        if self.reads == "cells":
            return cells[0] * cells[1]
        return states[-1]

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.hidden(self.read(x)).relu())


def names_of(supernet: Supernet) -> list[str]:
    return [group.name for group in supernet.groups]


def frozen_for(supernet: Supernet, name: str) -> str:
    found = [item for item in supernet.grouping.frozen if item.name.startswith(name)]
    return "; ".join(reason for item in found for reason in item.reasons)


def assert_same(supernet: Supernet, *inputs: Tensor, n: int = 4) -> None:
    """Supernet and extracted net give the same, whatever structure that has."""
    for widths in sample_widths(supernet, n):
        with supernet.active(widths):
            narrow = torch.utils._pytree.tree_leaves(supernet(*inputs))
        extracted = torch.utils._pytree.tree_leaves(extract_subnet(supernet, widths)(*inputs))
        for one, other in zip(narrow, extracted, strict=True):
            assert_close(one, other)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_layers": 2, "batch_first": True, "dropout": 0.3},
        {"num_layers": 2, "bidirectional": True, "bias": False, "dropout": 0.3},
        {"num_layers": 3, "bidirectional": True, "batch_first": True},
    ],
)
def test_units_of_each_layer_are_a_group(kind: type[nn.RNNBase], options: dict) -> None:
    supernet = build_supernet(Net(kind, **options), X)
    n_layers = options.get("num_layers", 1)
    own = ["rnn"] if n_layers == 1 else [f"rnn[{k}]" for k in range(n_layers)]
    assert names_of(supernet) == ["front", *own, "hidden"]
    assert_exact(supernet, X, widths=sample_widths(supernet, 4), n_trained=2)


def test_all_that_can_go_goes() -> None:
    supernet = build_supernet(Net(nn.GRU, num_layers=2), X)
    kept = sum(p.numel() for p in extract_subnet(supernet, supernet.space.smallest).parameters())
    assert kept < 0.1 * sum(p.numel() for p in supernet.parameters())


@pytest.mark.parametrize("reads", ["last state", "both ends", "cells"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_states_taken_out_by_number_are_of_their_own_layers(
    reads: str, bidirectional: bool
) -> None:
    supernet = build_supernet(Net(nn.LSTM, reads, num_layers=2, bidirectional=bidirectional), X)
    shared = reads == "cells" and not bidirectional  # the states of both layers are multiplied
    assert names_of(supernet)[1:-1] == (["rnn[0]"] if shared else ["rnn[0]", "rnn[1]"])
    assert_exact(supernet, X, widths=sample_widths(supernet, 4), n_trained=1)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_states_that_are_used_together_share_a_width(kind: type[nn.RNNBase]) -> None:
    supernet = build_supernet(Net(kind, "all states", num_layers=2, bidirectional=True), X)
    assert names_of(supernet) == ["front", "rnn", "hidden"]
    assert_exact(supernet, X, widths=sample_widths(supernet, 3), n_trained=1)
    assert type(extract_subnet(supernet, supernet.space.smallest).rnn) is kind


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_states_that_are_kept_in_an_attribute_share_a_width(kind: type[nn.RNNBase]) -> None:
    class Keeps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = kind(N_INPUTS, N_HIDDEN, 2, batch_first=True)
            self.head = nn.Linear(N_HIDDEN, 3)
            self.state = None

        def forward(self, x: Tensor) -> Tensor:
            y, self.state = self.rnn(x)
            return self.head(y[:, -1])

    supernet = build_supernet(Keeps().double(), X)
    assert [group.name for group in supernet.groups] == ["rnn"]
    supernet(X)
    states = supernet.net.state if kind is nn.LSTM else [supernet.net.state]
    assert all(state.shape == (2, len(X), N_HIDDEN) for state in states)


@pytest.mark.parametrize("reads", ["outputs", "both ends", "cells"])
def test_projections_keep_the_share_of_the_units(reads: str) -> None:
    net = Net(nn.LSTM, reads, num_layers=2, bidirectional=True, proj_size=4)
    supernet = build_supernet(net, X)
    groups = {group.name: group for group in supernet.groups}
    assert groups["rnn[0]"].unit == 2  # of a unit two cells, and one that they are projected to
    assert_exact(supernet, X, widths=sample_widths(supernet, 3), n_trained=1)


def test_a_subnet_of_one_width_is_a_layer_of_pytorchs_and_another_a_row_of_them() -> None:
    supernet = build_supernet(Net(num_layers=2, bidirectional=True), X)
    space = supernet.space
    even = extract_subnet(supernet, space.full.replace("rnn[0]", 4).replace("rnn[1]", 4))
    assert type(even.rnn) is nn.LSTM
    assert (even.rnn.hidden_size, even.rnn.num_layers) == (4, 2)
    uneven = extract_subnet(supernet, space.full.replace("rnn[0]", 4))
    layers = [layer for layer in uneven.rnn.children() if isinstance(layer, nn.LSTM)]
    assert [layer.hidden_size for layer in layers] == [4, 8]
    for subnet in (even, uneven):
        again = copy.deepcopy(subnet)
        with io.BytesIO() as file:
            torch.save(subnet, file)
            file.seek(0)
            read = torch.load(file, weights_only=False)
        assert_close(again(X), subnet(X))
        assert_close(read(X), subnet(X))


class Translator(nn.Module):
    """A decoder that starts where the encoder ended."""

    def __init__(self, kind: type[nn.RNNBase], unpacks: bool) -> None:
        super().__init__()
        self.encoder = kind(N_INPUTS, N_HIDDEN, 2, batch_first=True)
        self.decoder = kind(N_INPUTS, N_HIDDEN, 2, batch_first=True)
        self.head = nn.Linear(N_HIDDEN, 3)
        self.unpacks = unpacks
        self.double().eval()

    def forward(self, x: Tensor) -> Tensor:
        _, state = self.encoder(x)
        if self.unpacks:
            hidden, cell = state
            state = (hidden, cell)
        return self.head(self.decoder(x, state)[0])


@pytest.mark.parametrize(("kind", "unpacks"), [(nn.LSTM, False), (nn.LSTM, True), (nn.GRU, False)])
def test_a_state_that_is_handed_on_shares_its_width(kind: type[nn.RNNBase], unpacks: bool) -> None:
    supernet = build_supernet(Translator(kind, unpacks), X)
    assert names_of(supernet) == ["encoder"]
    assert set(supernet.groups[0].members) >= {"encoder", "decoder"}
    assert_exact(supernet, X, widths=sample_widths(supernet, 3), n_trained=1)


class Started(Net):
    """Is given its first state, as many write it."""

    def __init__(self, way: str) -> None:
        nn.Module.__init__(self)
        self.way, self.n_layers, self.size = way, 2, N_HIDDEN
        self.rnn = nn.LSTM(N_INPUTS, N_HIDDEN, 2, batch_first=True)
        self.hidden, self.head = nn.Linear(N_HIDDEN, 7), nn.Linear(7, 3)
        self.double().eval()

    def read(self, x: Tensor) -> Tensor:
        n = x.size(0)
        if self.way == "zeros":
            first = torch.zeros(self.n_layers, n, self.size, dtype=x.dtype).to(x.device)
            cells = torch.zeros((self.n_layers, n, self.size), dtype=x.dtype)
        elif self.way == "new":
            first = x.new_zeros(self.n_layers, n, self.rnn.hidden_size)
            cells = torch.zeros_like(first)
        else:
            first = cells = torch.zeros(2, n, 8, dtype=x.dtype)
        return self.rnn(x, (first, cells))[0][:, -1]


@pytest.mark.parametrize("way", ["zeros", "new"])
def test_a_first_state_as_wide_as_an_attribute_is_as_wide_as_the_layer(way: str) -> None:
    supernet = build_supernet(Started(way), X)
    assert names_of(supernet) == ["rnn", "hidden"]
    assert_exact(supernet, X, widths=sample_widths(supernet, 3), n_trained=1)
    small = extract_subnet(supernet, supernet.space.smallest)
    assert small.size == (small.rnn.hidden_size if way == "zeros" else N_HIDDEN)


def test_a_first_state_of_a_number_in_the_code_fixes_the_width() -> None:
    supernet = build_supernet(Started("number"), X)
    assert names_of(supernet) == ["hidden"]
    assert "whose first state is given, combines it with channels of fixed number" in frozen_for(
        supernet, "rnn"
    )


class Packed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.front, self.rnn = nn.Linear(N_INPUTS, 6), nn.GRU(6, N_HIDDEN, batch_first=True)
        self.hidden, self.head = nn.Linear(N_HIDDEN, 7), nn.Linear(7, 3)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        packed = rnn.pack_padded_sequence(
            self.front(x), lengths, batch_first=True, enforce_sorted=False
        )
        outputs, _ = rnn.pad_packed_sequence(self.rnn(packed)[0], batch_first=True)
        return self.head(self.hidden(outputs.sum(1)).relu())


def test_packed_sequences_are_refused_aloud_and_the_rest_is_narrowed() -> None:
    lengths = torch.tensor([4, 2, 3])
    supernet = build_supernet(Packed().double().eval(), (X, lengths))
    assert names_of(supernet) == ["hidden"]
    assert "is given a packed sequence" in frozen_for(supernet, "rnn")
    assert "pack_padded_sequence" in frozen_for(supernet, "front")
    assert [where.split()[0] for where in supernet.grouping.uncounted] == ["rnn"]
    assert_same(supernet, X, lengths)


class Returned(nn.Module):
    def __init__(self, part: int | None) -> None:
        super().__init__()
        self.front, self.rnn, self.part = nn.Linear(N_INPUTS, 6), nn.LSTM(6, N_HIDDEN, 2), part

    def forward(self, x: Tensor) -> object:
        result = self.rnn(self.front(x))
        return result if self.part is None else result[self.part]


@pytest.mark.parametrize("part", [None, 1])
def test_a_result_that_is_returned_whole_stays(part: int | None) -> None:
    supernet = build_supernet(Returned(part).double().eval(), X)
    assert names_of(supernet) == ["front"]
    assert "is used as a whole" in frozen_for(supernet, "rnn")
    assert not supernet.grouping.uncounted
    assert_same(supernet, X)


class Reader(nn.LSTM):
    """Of the user's own, and computes as an LSTM."""

    note = "mine"


class Others(nn.Module):
    """A subclass, a call twice, parts of what it gives, a sum of input and output, one sample."""

    def __init__(self) -> None:
        super().__init__()
        self.front = nn.Linear(N_INPUTS, N_HIDDEN)
        self.reader = Reader(N_HIDDEN, N_HIDDEN, 2, batch_first=True)
        self.twice = nn.GRU(N_HIDDEN, N_HIDDEN, 2, batch_first=True)
        self.ways = nn.RNN(N_HIDDEN, 10, 1, "relu", bidirectional=True, batch_first=True)
        self.norm, self.head = nn.LayerNorm(10), nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        x = x + self.reader(x)[0]
        self.twice.flatten_parameters()
        once, state = self.twice(x)
        again, _ = self.twice(x * 2, state)
        forward, backward = self.ways(once + again)[0].chunk(2, -1)
        return self.head(self.norm(forward * backward))


def test_what_else_models_do_with_recurrent_layers() -> None:
    supernet = build_supernet(Others().double().eval(), X)
    assert names_of(supernet) == ["front", "twice", "ways"]
    assert_exact(supernet, X, widths=sample_widths(supernet, 4), n_trained=2)
    small = extract_subnet(supernet, supernet.space.smallest)
    assert type(small.reader) is Reader
    assert_same(supernet, X[0])  # one sequence, without an axis for samples


def test_weights_that_two_layers_share_stay() -> None:
    class Tied(Net):
        def __init__(self) -> None:
            super().__init__(nn.GRU)
            self.other = nn.GRU(6, N_HIDDEN).double()
            self.other.weight_ih_l0 = self.rnn.weight_ih_l0
            self.other.weight_hh_l0 = self.rnn.weight_hh_l0

        def read(self, x: Tensor) -> Tensor:
            read = super().read(x)
            return read + self.other(self.front(x))[0][:, -1] if hasattr(self, "other") else read

    supernet = build_supernet(Tied(), X)
    assert names_of(supernet) == ["hidden"]
    assert "is shared with other" in frozen_for(supernet, "rnn")
    assert_same(supernet, X)
    measured = build_footprint(supernet).measure(supernet.space.full)
    assert measured["params"] == sum(p.numel() for p in supernet.parameters())


@pytest.mark.parametrize("criterion", ["taylor", "magnitude", "group_magnitude"])
def test_units_have_an_importance_and_can_be_reordered(criterion: str) -> None:
    net = Net(nn.LSTM, "both ends", num_layers=2, bidirectional=True, proj_size=4)
    supernet = build_supernet(net, X)
    before = supernet(X)
    batches = [(X, torch.tensor([0, 1, 2]))]
    importance = measure_unit_importance(supernet, batches, criterion=criterion)
    scores = importance.by_group()
    assert all(score is not None and score.std() > 0 for score in scores)
    found = reorder_units(supernet, scores, inputs=(X,))
    assert not found.left
    assert all(list(order) != sorted(order) for order in found.orders[1:3])
    assert_close(supernet(X), before)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_a_unit_whose_rows_are_zero_gives_zero(kind: type[nn.RNNBase]) -> None:
    """So what importance cuts off is what a subnet is without."""
    layer = kind(N_INPUTS, N_HIDDEN, batch_first=True).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.view(-1, N_HIDDEN, *parameter.shape[1:])[:, -1] = 0
    assert not layer(X)[0][..., -1].any()
    assert layer(X)[0][..., :-1].all()


def test_a_subnet_comes_back_where_it_was_cut_from() -> None:
    supernet = build_supernet(Net(num_layers=2, bidirectional=True), X)
    for widths in sample_widths(supernet, 4):
        subnet = extract_subnet(supernet, widths)
        with torch.no_grad():
            for parameter in subnet.parameters():
                parameter.mul_(2)
        absorb_subnet(supernet, widths, subnet)
        with supernet.active(widths):
            assert_close(supernet(X), subnet(X))


def test_repair_says_that_it_cannot_solve_it() -> None:
    supernet = build_supernet(Net(nn.GRU, num_layers=2).float(), X.float())
    evaluator = RepairingEvaluator(supernet, X.float())
    with evaluator.calibrated(supernet.space.smallest):
        pass
    assert evaluator.repair.left == {"rnn": "a recurrent layer has no closed form here"}


def test_gradients_can_be_added_past_autograd() -> None:
    supernet = build_supernet(Net(num_layers=2, bidirectional=True), X)
    rng = np.random.default_rng(0)
    chosen = [supernet.space.full, supernet.space.sample(rng), supernet.space.smallest]

    def add_up() -> list[Tensor]:
        supernet.zero_grad()
        for widths in chosen:
            with supernet.active(widths):
                supernet(X).square().sum().backward()
        return [parameter.grad.clone() for parameter in supernet.parameters()]

    expected = add_up()
    with supernet.adding_gradients():
        for got, wanted in zip(add_up(), expected, strict=True):
            assert_close(got, wanted)


def test_the_weights_of_a_layer_are_cut_in_one_step() -> None:
    """One by one they cost a layer that is given few samples a third of its training step."""
    supernet = build_supernet(Net(num_layers=2, bidirectional=True), X)
    with supernet.active(supernet.space.smallest):
        layers = supernet.net.rnn._active_layers()
    steps = {part.grad_fn for layer in layers for part in layer.values()}
    assert len(steps) == 1
    assert sum(map(len, layers)) == 16


def test_macs_are_those_of_all_gates_directions_layers_and_steps() -> None:
    supernet = build_supernet(Net(nn.GRU, num_layers=2, bidirectional=True), X)
    macs = build_footprint(supernet).measure(supernet.space.full)["macs"]
    h, ways, gates = N_HIDDEN, 2, 3
    recurrent = ways * gates * h * ((6 + h) + (ways * h + h))
    assert macs == N_STEPS * (N_INPUTS * 6 + recurrent) + ways * h * 7 + 7 * 3


def test_every_weight_has_its_groups() -> None:
    supernet = build_supernet(Net(nn.LSTM, num_layers=2), X)
    own = [p for p in plan_weights(supernet) if p.name.startswith("rnn.")]
    expected = [f"rnn.weight_{s}_l{k}" for k, s in itertools.product((0, 1), ("ih", "hh"))]
    assert [plan.name for plan in own] == expected
    assert all(len(plan.axes[0]) == 4 for plan in own)  # a row of units for each gate


@pytest.mark.parametrize("ending", [".py", ".pt2"])
def test_a_row_of_layers_can_be_exported(ending: str, tmp_path: Path) -> None:
    class Ends(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.LSTM(N_INPUTS, N_HIDDEN, 2, batch_first=True, bidirectional=True)
            self.head = nn.Linear(2 * N_HIDDEN, 3)

        def forward(self, x: Tensor) -> Tensor:
            _, (states, _) = self.rnn(x)
            return self.head(torch.cat([states[-2], states[-1]], 1))

    supernet = build_supernet(Ends().eval(), X.float())
    uneven = supernet.space.full.replace("rnn[1]", 3)
    subnet = SimpleNamespace(
        module=extract_subnet(supernet, uneven).eval(), input_shape=(N_STEPS, N_INPUTS)
    )
    assert export(subnet, tmp_path / f"model{ending}").max_difference < 1e-5
