"""Recurrent layers: the hidden units of each layer of an LSTM, GRU or RNN are a width.

A unit has a row in each gate block of the weights (4 in an LSTM, 3 in a GRU, 1 in an RNN), a
column in the recurrent weight, and one in whatever reads it. Both directions of a layer share
one width, as they do in PyTorch's own layer: so a subnet's layer is one of PyTorch's, and runs
in one call.

All layers of one module may differ in their widths (``recurrent_twins.py`` says how they run),
except where their last states are used together: those lie in one tensor. Where the model takes
them out by number alone, as in ``h_n[-1]``, each is of its own layer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from torch import fx
from torch import nn

from dpod_search.supernet.dimensions.walk import Axes
from dpod_search.supernet.dimensions.walk import Discovery
from dpod_search.supernet.dimensions.walk import freeze_inputs
from dpod_search.supernet.layers.kind import LayerKind
from dpod_search.supernet.layers.recurrent_geometry import REBUILDER
from dpod_search.supernet.layers.recurrent_twins import N_GATES
from dpod_search.supernet.layers.recurrent_twins import ElasticGRU
from dpod_search.supernet.layers.recurrent_twins import ElasticLSTM
from dpod_search.supernet.layers.recurrent_twins import ElasticRNN
from dpod_search.supernet.layout import Layout
from dpod_search.supernet.layout import fixed
from dpod_search.supernet.layout import scale
from dpod_search.supernet.plans import LayerPlan
from dpod_search.supernet.plans import MatrixPlan
from dpod_search.supernet.tracing.tracer import argument
from dpod_search.supernet.tracing.tracer import name_of


@dataclass(frozen=True)
class _Cells:
    """The cells of one layer.

    Args:
        hidden: Layout of the units, of which each has a row in every gate block.
        output: Layout of what a direction gives: the units, or what they are projected to.
    """

    hidden: Layout
    output: Layout


def recur(discovery: Discovery, node: fx.Node) -> Axes:
    """LSTM, GRU or RNN: new units in each layer, those of the last one on the last axis."""
    module = discovery.module(node)
    assert isinstance(module, nn.RNNBase)
    where = discovery.where(node)
    calls = [n for n in node.graph.nodes if n.op == "call_module" and n.target == node.target]
    if any(argument(call, 0, "input", None) not in discovery.shapes for call in calls):
        discovery.uncounted.append(where)
        return freeze_inputs(discovery, node, "is given a packed sequence")
    source = argument(node, 0, "input", None)
    shape = discovery.shapes[source]
    last = len(shape) - 1
    inputs = discovery.layout(source, last)
    discovery.freeze_axes(source, f"{where} runs along another axis", but=last)
    uses = {call: _find_uses(discovery, call) for call in calls}
    # A subnet of a class of the user's own stays of it, and so has one width for all its layers.
    is_own = type(module) not in RECURRENT.twins
    is_alike = is_own or module.num_layers == 1 or any(u.are_alike for u in uses.values())
    layers = _find_layers(discovery, str(node.target), module, is_alike=is_alike)
    n_directions = 1 + int(module.bidirectional)
    n_positions = math.prod(shape[:-1]) // discovery.n_samples(node)
    output = layers[-1].output * n_directions
    plan = LayerPlan(
        name=str(node.target),
        kind="recurrent",
        output=output,
        weight_input=inputs,
        n_positions=n_positions,
        kernel_numel=0,
        n_vectors=0,
        n_statistics=0,
        itemsize=next(module.parameters()).element_size(),
        matrices=tuple(_plan_matrices(module, layers, inputs, n_positions)),
    )
    discovery.keep(plan, inputs, where)
    _read_first_state(discovery, node, layers[0])
    if uses[node].is_whole:
        for cells in layers:
            discovery.dims.freeze(cells.hidden, f"the result of {where} is used as a whole")
    states = [[cells.output for cells in layers], [cells.hidden for cells in layers]]
    _lay_out_result(discovery, node, uses[node], {last: output}, states, n_directions=n_directions)
    return {}


def _find_layers(
    discovery: Discovery, name: str, module: nn.RNNBase, *, is_alike: bool
) -> list[_Cells]:
    """Return the cells of each layer: new ones, or those of an earlier call."""
    known = discovery.layers.get(name)
    if known is not None:
        found = {matrix.name: matrix for matrix in known.matrices}
        n_gates = N_GATES[module.mode]
        recurrent = [found[f"weight_hh_l{k}"] for k in range(module.num_layers)]
        return [_Cells(m.rows[: len(m.rows) // n_gates], m.columns) for m in recurrent]
    layers: list[_Cells] = []
    for k in range(module.num_layers):
        if layers and is_alike:
            layers.append(layers[0])
            continue
        label = "" if is_alike else f"{name}[{k}]"
        hidden = discovery.dims.add(module.hidden_size, name, name=label)
        output = hidden
        if module.proj_size:
            # PyTorch wants fewer projected than hidden units: both keep the same share.
            output = scale(hidden, Fraction(module.proj_size, module.hidden_size))
            discovery.dims.coarsen(hidden[0], module.proj_size)
        layers.append(_Cells(hidden, output))
    return layers


def _plan_matrices(
    module: nn.RNNBase, layers: Sequence[_Cells], inputs: Layout, n_positions: int
) -> Iterator[MatrixPlan]:
    reads, n_directions = inputs, 1 + int(module.bidirectional)
    for k, cells in enumerate(layers):
        gates = cells.hidden * N_GATES[module.mode]
        for end in (f"l{k}", f"l{k}_reverse")[:n_directions]:
            for sides, columns in (("ih", reads), ("hh", cells.output)):
                bias = f"bias_{sides}_{end}" if module.bias else ""
                yield MatrixPlan(f"weight_{sides}_{end}", bias, gates, columns, n_positions)
            if module.proj_size:
                yield MatrixPlan(f"weight_hr_{end}", "", cells.output, cells.hidden, n_positions)
        reads = cells.output * n_directions


@dataclass(frozen=True)
class _Uses:
    """What the model does with the result of a call.

    Args:
        pairs: Nodes that are both states of an LSTM.
        states: Nodes that are the states of all layers, each with its number.
        is_whole: The result, or the pair, is used in a way that is not understood.
        are_alike: The states of all layers are used together or kept, or the first ones are given.
    """

    pairs: tuple[fx.Node, ...]
    states: tuple[tuple[int, fx.Node], ...]
    is_whole: bool
    are_alike: bool


def _find_uses(discovery: Discovery, call: fx.Node) -> _Uses:
    taken = [(index_of(user), user) for user in call.users]
    second = [user for index, user in taken if index in (1, -1)]
    others = [user for index, user in taken if index not in (0, 1, -1, -2)]
    pairs: tuple[fx.Node, ...] = ()
    handed_on: list[fx.Node] = []
    states = [(0, user) for user in second]
    if isinstance(discovery.module(call), nn.LSTM):
        pairs = tuple(second)
        users = [(index_of(user), user) for pair in pairs for user in pair.users]
        states = [(index % 2, user) for index, user in users if index is not None]
        handed_on = [user for index, user in users if index is None]
        others += [user for user in handed_on if not _starts_from_pair(discovery, user)]
    is_given = argument(call, 1, "hx", None) is not None
    is_picked = all(index_of(user) is not None for _, state in states for user in state.users)
    # Who keeps states in an attribute wants the tensor that holds those of all layers.
    is_kept = any(map(discovery.is_held, (call, *pairs, *(state for _, state in states))))
    are_alike = is_given or bool(handed_on) or is_kept or not is_picked
    return _Uses(pairs, tuple(states), bool(others), are_alike)


def index_of(user: fx.Node) -> int | None:
    """Return the number by which a node takes one part of what it reads, None if it does not."""
    index = user.args[1] if name_of(user) == "getitem" else None
    return index if isinstance(index, int) and not isinstance(index, bool) else None


def _starts_from_pair(discovery: Discovery, user: fx.Node) -> bool:
    return user.op == "call_module" and isinstance(discovery.module(user), nn.LSTM)


def _lay_out_result(
    discovery: Discovery,
    node: fx.Node,
    uses: _Uses,
    output: Axes,
    states: Sequence[Sequence[Layout]],
    *,
    n_directions: int,
) -> None:
    """Say of all that is taken out of a result which units it has.

    Args:
        discovery: The walk.
        node: The call.
        uses: What is done with its result.
        output: Of the first part.
        states: For each state the layout of every layer.
        n_directions: Of each layer.
    """
    (last,) = output
    axes: list[Axes] = []
    for layouts in states:
        if layouts.count(layouts[0]) == len(layouts):
            axes.append({last: layouts[0]})
        else:  # a row of states of different widths, whose parts alone are looked at
            row = tuple(segment for layout in layouts for segment in layout * n_directions)
            axes.append({0: fixed(1), last: row})
    discovery.parts[node] = [output, axes[0]]
    discovery.parts.update(dict.fromkeys(uses.pairs, axes))
    for number, state in uses.states:
        if 0 in axes[number]:
            discovery.parts[state] = [
                {last - 1: layout} for layout in states[number] for _ in range(n_directions)
            ]


def _read_first_state(discovery: Discovery, node: fx.Node, cells: _Cells) -> None:
    """Let the units of what a layer starts from be its own."""
    given: Any = argument(node, 1, "hx", None)
    if given is None:
        return
    where = f"{discovery.where(node)}, whose first state is given,"
    own = (cells.output, cells.hidden) if _has_pair(discovery, node) else (cells.output,)
    found = read_states(discovery, given)
    if len(found) != len(own):
        discovery.dims.freeze(cells.hidden, f"{where} does not show from what")
    for layout, (state, others) in zip(own, found, strict=False):
        discovery.dims.unify(layout, state, where)
        for other in others:
            discovery.dims.freeze(other, f"{where} has a place for each layer and sample")


def _has_pair(discovery: Discovery, node: fx.Node) -> bool:
    return isinstance(discovery.module(node), nn.LSTM)


def read_states(discovery: Discovery, given: Any) -> list[tuple[Layout, list[Layout]]]:
    """Return the layout of the last axis of each state, as far as it is known, and the others."""
    if isinstance(given, fx.Node) and given not in discovery.shapes:
        shapes, parts = discovery.part_shapes(given), discovery.parts.get(given, [])
        states = list(zip(shapes, parts, strict=False))
    else:
        nodes = given if isinstance(given, Sequence) else (given,)
        known = [n for n in nodes if isinstance(n, fx.Node) and n in discovery.shapes]
        states = [(discovery.shapes[n], discovery.axes(n)) for n in known]
    found = []
    for shape, axes in states:
        last = len(shape) - 1
        others = [layout for axis, layout in axes.items() if axis != last]
        found.append((axes.get(last) or fixed(shape[last]), others))
    return found


RECURRENT = LayerKind(
    name="recurrent",
    twins={nn.LSTM: ElasticLSTM, nn.GRU: ElasticGRU, nn.RNN: ElasticRNN},
    handler=recur,
    weight="weight_ih_l0",
    rebuilder=REBUILDER,
)
