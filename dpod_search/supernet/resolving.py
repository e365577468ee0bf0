"""From what a walk found to plans: dimensions become groups, nodes become operations."""

from __future__ import annotations

import math
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import replace

from torch import fx
from torch import nn

from dpod_search.supernet.dimensions.walk import Discovery
from dpod_search.supernet.layers.elastic import kind_of
from dpod_search.supernet.layout import Layout
from dpod_search.supernet.layout import full_size
from dpod_search.supernet.layout import is_elastic
from dpod_search.supernet.plans import AttributePlan
from dpod_search.supernet.plans import BlockPlan
from dpod_search.supernet.plans import ChannelGroup
from dpod_search.supernet.plans import FrozenDimension
from dpod_search.supernet.plans import Grouping
from dpod_search.supernet.plans import GroupKind
from dpod_search.supernet.plans import Operation
from dpod_search.supernet.plans import OperationKind
from dpod_search.supernet.plans import Scratch
from dpod_search.supernet.tracing.trace import TracedModel
from dpod_search.supernet.tracing.tracer import name_of


FAILS = "running it narrower fails"


def make_groups(
    discovery: Discovery, kept: frozenset[str]
) -> tuple[list[ChannelGroup], list[FrozenDimension], dict[int, int]]:
    """Return the groups, the frozen dimensions, and the number of each dimension's group."""
    groups: list[ChannelGroup] = []
    frozen: list[FrozenDimension] = []
    numbers: dict[int, int] = {}
    for index, dim in discovery.dims.roots():
        reasons = [*dim.reasons, *([FAILS] if dim.name in kept else [])]
        if not dim.is_made:
            # The size of a parameter alone is no width, unless a layer reads what is made of it.
            if discovery.layers.keys().isdisjoint(dim.members):
                continue
            reasons.append(f"no layer makes it: it is the size of {dim.name}")
        if reasons or dim.n_units < 2:
            only_one = [] if reasons else ["it has one channel, or one whole group, only"]
            why, members = (*reasons, *only_one), tuple(dim.members)
            frozen.append(FrozenDimension(dim.name, dim.n_channels, why, members))
        else:
            numbers[index] = len(groups)
            unit = dim.n_channels // dim.n_units
            kind: GroupKind = "heads" if dim.has_heads else "channels"
            members, disorders = tuple(dim.members), tuple(dim.disorders)
            # Two axes of one matrix of the model's own may be groups, each with a name.
            n_alike = sum(group.name.partition("[")[0] == dim.name for group in groups)
            name = f"{dim.name}[{n_alike}]" if n_alike else dim.name
            groups.append(ChannelGroup(name, dim.n_units, members, unit, kind, disorders))
    return groups, frozen, numbers


def resolve_plans(
    discovery: Discovery,
    traced: TracedModel,
    *,
    groups: Sequence[ChannelGroup],
    frozen: Sequence[FrozenDimension],
    blocks: Sequence[BlockPlan],
    numbers: dict[int, int],
    uncounted: tuple[str, ...],
) -> Grouping:
    """Write what was found in terms of groups.

    Args:
        discovery: After its walk.
        traced: The graph.
        groups: The groups, blocks last.
        frozen: The dimensions that stay as they are.
        blocks: The removable blocks.
        numbers: The group of every dimension that can be narrowed.
        uncounted: Operations whose macs no closed form covers.

    Returns:
        The grouping, whose layouts refer to groups by number.
    """

    def resolve(layout: Layout) -> Layout:
        return discovery.dims.resolve(layout, numbers)

    def blocks_around(path: str) -> tuple[int, ...]:
        return tuple(block.group for block in blocks if path.startswith(f"{block.path}."))

    layers = tuple(
        replace(
            plan,
            output=resolve(plan.output),
            weight_input=resolve(plan.weight_input),
            matrices=tuple(
                replace(matrix, rows=resolve(matrix.rows), columns=resolve(matrix.columns))
                for matrix in plan.matrices
            ),
            blocks=blocks_around(plan.name),
        )
        for plan in discovery.layers.values()
    )
    parameters = tuple(
        replace(plan, axes=tuple(map(resolve, plan.axes)), blocks=blocks_around(plan.name))
        for plan in discovery.parameters.values()
    )
    around = _blocks_of_nodes(traced, blocks)
    products = tuple(
        replace(plan, factors=tuple(map(resolve, plan.factors)), blocks=around.get(plan.node, ()))
        for plan in discovery.products
    )
    attributes = tuple(
        AttributePlan(attribute.module, attribute.name, resolve(layout), attribute.index)
        for attribute, layout in discovery.sizes.attributes.items()
        if is_elastic(resolve(layout))
    )
    return Grouping(
        groups=tuple(groups),
        frozen=tuple(frozen),
        layers=layers,
        parameters=parameters,
        products=products,
        attributes=attributes,
        blocks=tuple(blocks),
        operations=_list_operations(discovery, traced, numbers, around),
        batch_size=traced.batch_size,
        uncounted=uncounted,
    )


def _multiplies_by(discovery: Discovery, name: str, parameter: nn.Parameter) -> bool:
    """Say whether a layer has a matrix for its weight."""
    layer = discovery.modules[name]
    kind = kind_of(layer)
    return (
        name in discovery.layers
        and kind.makes_units
        and not kind.is_composite
        and getattr(layer, kind.weight, None) is parameter
        and parameter.dim() == 2
    )


def _tie(discovery: Discovery, names: Sequence[str]) -> None:
    first, *others = (
        kind_of(discovery.modules[name]).lay_out(discovery.modules[name], discovery.layers[name])
        for name in names
    )
    for name, other in zip(names[1:], others, strict=True):
        for one, two in zip(first.first, other.first, strict=True):
            discovery.dims.unify(one, two, f"{name}, whose weight is that of {names[0]},")


def _blocks_of_nodes(
    traced: TracedModel, blocks: Sequence[BlockPlan]
) -> dict[str, tuple[int, ...]]:
    calls = {call.path: call for call in traced.calls}
    around: dict[str, tuple[int, ...]] = {}
    for block in blocks:
        for node in calls[block.path].nodes:
            around[node.name] = (*around.get(node.name, ()), block.group)
    return around


def _scratch_of(discovery: Discovery, traced: TracedModel, node: fx.Node) -> Sequence[Scratch]:
    """Return the memory that a node holds inside: as its handler said, or as it was seen.

    What was seen at full width is taken to keep its ratio to the result at other widths, as the
    indices of a max-pool do.
    """
    known = discovery.scratch.get(node)
    if known is not None or node not in traced.scratch_bytes:
        return known or ()
    axes = discovery.result_axes(node)
    ratio = traced.scratch_bytes[node] / max(1, math.prod(map(full_size, axes)))
    return (Scratch(((ratio, axes),), has_result=False),)


_KINDS: dict[str, OperationKind] = {
    "placeholder": "input",
    "get_attr": "parameter",
    "call_module": "module",
    "call_function": "function",
    "call_method": "method",
    "output": "output",
}


def _list_operations(
    discovery: Discovery,
    traced: TracedModel,
    numbers: dict[int, int],
    around: dict[str, tuple[int, ...]],
) -> tuple[Operation, ...]:
    positions = {node: i for i, node in enumerate(traced.graph.nodes)}

    def describe(node: fx.Node) -> Operation:
        def resolve(layout: Layout) -> Layout:
            return discovery.dims.resolve(layout, numbers)

        reused = traced.reuses.get(node)
        is_function = node.op == "call_function"
        return Operation(
            name=node.name,
            what=name_of(node) if is_function else str(node.target),
            kind=_KINDS[node.op],
            inputs=tuple(positions[source] for source in node.all_input_nodes),
            axes=tuple(map(resolve, discovery.result_axes(node))),
            line=traced.lines.get(node, ""),
            itemsize=traced.itemsizes.get(node, 0),
            reuses=None if reused is None else positions[reused],
            scratch=tuple(
                replace(
                    moment,
                    terms=tuple((c, tuple(map(resolve, layouts))) for c, layouts in moment.terms),
                    if_equal=moment.if_equal
                    and (resolve(moment.if_equal[0]), resolve(moment.if_equal[1])),
                )
                for moment in _scratch_of(discovery, traced, node)
            ),
            blocks=around.get(node.name, ()),
        )

    return tuple(describe(node) for node in traced.graph.nodes)


def tie_weights(discovery: Discovery, graph: fx.Graph) -> None:
    """Let layers of one matrix share its widths, such as an embedding and the head tied to it.

    Frozen is every layer whose weight is shared otherwise, or read by the model's own code.
    """
    for parameter, names in _find_shared(discovery, graph):
        if all(_multiplies_by(discovery, name, parameter) for name in names):
            _tie(discovery, names)
            continue
        for name in discovery.layers.keys() & names:
            other = next(other for other in names if other != name) or "the model itself"
            discovery.freeze_layer(name, f"the weight of {name} is shared with {other}")
        plan = discovery.parameters.get(discovery.path_of_parameter(parameter))
        if plan is not None and discovery.layers.keys() & names:
            for layout in plan.axes:
                discovery.dims.freeze(layout, f"{plan.name} is shared with a layer")
    for node in graph.nodes:
        owner = str(node.target).rpartition(".")[0]
        if node.op != "get_attr" or owner not in discovery.layers:
            continue
        if not discovery.nodes_inside(owner).issuperset(node.users):
            reason = f"{discovery.where(node)} is read outside its layer"
            discovery.freeze_layer(owner, reason)


def _find_shared(
    discovery: Discovery, graph: fx.Graph
) -> Iterator[tuple[nn.Parameter, list[str]]]:
    """Yield the parameters that several modules hold, with the paths of those that are run.

    A module that is never run holds whatever the others do.
    """
    holders: dict[int, tuple[nn.Parameter, list[str]]] = {}
    run = {
        str(node.target) if node.op == "call_module" else str(node.target).rpartition(".")[0]
        for node in graph.nodes
        if node.op in ("call_module", "get_attr")
    }
    for name, module in discovery.modules.items():
        for parameter in module.parameters(recurse=False):
            if name in run or name in discovery.layers:
                holders.setdefault(id(parameter), (parameter, []))[1].append(name)
    yield from (pair for pair in holders.values() if len(pair[1]) > 1)
