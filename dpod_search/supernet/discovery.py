"""Channel-group discovery: walk the graph once and find what must share one width.

Convolutions and linear layers make new dimensions, adds make dimensions equal, the handler
table says how every other operation passes them on, and what reaches the model's output or an
operation that is not understood is frozen, with the reason kept for the user.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable
from collections.abc import Sequence

from torch import fx
from torch import nn

from dpod_search.errors import GroupingError
from dpod_search.supernet.blocks import find_blocks
from dpod_search.supernet.dimensions.decisions import freeze_decided
from dpod_search.supernet.dimensions.walk import Axes
from dpod_search.supernet.dimensions.walk import Discovery
from dpod_search.supernet.dimensions.walk import Handler
from dpod_search.supernet.dimensions.walk import freeze_inputs
from dpod_search.supernet.dimensions.walk import pin_numbers
from dpod_search.supernet.layers.elastic import kind_run_as
from dpod_search.supernet.lookup import Handlers
from dpod_search.supernet.plans import BlockPlan
from dpod_search.supernet.plans import ChannelGroup
from dpod_search.supernet.plans import FrozenDimension
from dpod_search.supernet.plans import Grouping
from dpod_search.supernet.resolving import FAILS
from dpod_search.supernet.resolving import make_groups
from dpod_search.supernet.resolving import resolve_plans
from dpod_search.supernet.resolving import tie_weights
from dpod_search.supernet.table import AXIS_HANDLERS
from dpod_search.supernet.table import MULTIPLICATIONS
from dpod_search.supernet.table import READERS
from dpod_search.supernet.tracing.trace import TracedModel
from dpod_search.supernet.unplanned import find_unplanned
from dpod_search.supernet.unplanned import freeze_unplanned
from dpod_search.supernet.unplanned import list_uncounted


_logger = logging.getLogger(__name__)

# Reasons in the error of a model that cannot be narrowed.
_N_TOLD = 3


def discover_groups(
    traced: TracedModel,
    *,
    handlers: Handlers | None = None,
    removes_blocks: bool = True,
    keep: Iterable[str] = (),
) -> Grouping:
    """Find the channel groups and the removable blocks of a traced model.

    Args:
        traced: The model's graph.
        handlers: The handler table; with entries of the user's own, perhaps.
        removes_blocks: Look for blocks too.
        keep: Names of groups to leave at full width all the same.

    Returns:
        Groups, frozen dimensions and layer plans.

    Raises:
        GroupingError: If nothing at all can be narrowed; names the first reasons.
    """
    discovery = _walk(traced, handlers or Handlers())
    tie_weights(discovery, traced.graph)
    kept = frozenset(keep)
    groups, frozen, numbers = make_groups(discovery, kept)
    told = {name for group in groups for name in group.members}
    told.update(name for item in frozen for name in item.members)
    unplanned = find_unplanned(discovery, traced.graph, told)
    frozen = [*freeze_unplanned(discovery, traced.graph, unplanned), *frozen]
    uncounted = tuple(dict.fromkeys([*discovery.uncounted, *list_uncounted(discovery, unplanned)]))
    if uncounted:
        _logger.warning(
            "macs of %d operations are not counted, no closed form covers them: %s",
            len(uncounted),
            ", ".join(uncounted),
        )
    blocks: list[BlockPlan] = []
    for call in find_blocks(discovery, traced) if removes_blocks else ():
        if call.path in kept:
            frozen.append(FrozenDimension(call.path, 1, (FAILS,), (call.path,)))
            continue
        inside = [name for name in discovery.layers if name.startswith(f"{call.path}.")]
        blocks.append(BlockPlan(call.path, len(groups)))
        groups.append(ChannelGroup(call.path, 1, tuple(inside), kind="block"))
    if not groups:
        raise _explain_none(discovery, frozen)
    return resolve_plans(
        discovery,
        traced,
        groups=groups,
        frozen=frozen,
        blocks=blocks,
        numbers=numbers,
        uncounted=uncounted,
    )


def _walk(traced: TracedModel, handlers: Handlers) -> Discovery:
    """Visit every node in order."""
    discovery = Discovery(traced)
    for node in traced.graph.nodes:
        if node.op == "output":
            freeze_inputs(discovery, node, "of the model fixes it")
        elif node.op == "get_attr":
            discovery.set_axes(node, _read_parameter(discovery, node))
        elif node.op != "placeholder":
            handler = _choose_handler(discovery, handlers, node)
            discovery.set_axes(node, _follow(discovery, node, handler))
    freeze_decided(discovery, traced.deciding)
    return discovery


def _follow(discovery: Discovery, node: fx.Node, handler: Handler) -> Axes:
    """Let a handler say what an operation does; one called in a way that it cannot read freezes."""
    try:
        return handler(discovery, node)
    except GroupingError:  # what a handler of the user's does wrong
        raise
    except (IndexError, KeyError, TypeError, ValueError):
        _logger.debug("the handler of %s failed", discovery.where(node), exc_info=True)
        return freeze_inputs(discovery, node, "is called in a way that cannot be followed")


def _read_parameter(discovery: Discovery, node: fx.Node) -> Axes:
    # The weight of what is called as a whole is no free parameter.
    name = str(node.target)
    around = itertools.accumulate(name.split(".")[:-1], lambda path, part: f"{path}.{part}")
    is_of_call = not discovery.called.isdisjoint(around)
    is_of_root = "." not in name and kind_run_as(discovery.modules[""]) is not None
    return {} if is_of_call or is_of_root else discovery.read_parameter(node)


def _choose_handler(discovery: Discovery, handlers: Handlers, node: fx.Node) -> Handler:
    found = handlers.find(node, discovery.modules)
    if found in READERS:
        return found
    makes_tensors = node in discovery.shapes or bool(discovery.part_shapes(node))
    computed = any(
        source not in discovery.shapes and not discovery.part_shapes(source)
        for source in node.all_input_nodes
    )
    if found is None or not makes_tensors or (computed and found in AXIS_HANDLERS):
        return _not_understood
    has_hooks = node.op == "call_module" and _has_hooks(discovery.module(node))
    return _with_hooks if has_hooks else found


def _not_understood(discovery: Discovery, node: fx.Node) -> Axes:
    if node in discovery.shapes or discovery.part_shapes(node):
        pin_numbers(discovery, node)
    module = discovery.module(node) if node.op == "call_module" else None
    if module is None and discovery.tensor_inputs(node) and _may_multiply(node):
        discovery.uncounted.append(discovery.where(node))
    name = type(module).__name__ if module is not None else "this operation"
    return freeze_inputs(discovery, node, f"is not understood ({name})")


def _may_multiply(node: fx.Node) -> bool:
    """Say whether a function multiplies tensors, or is not PyTorch's and may do so."""
    if node.op == "call_method" or node.target in MULTIPLICATIONS:
        return node.target in MULTIPLICATIONS
    package = str(getattr(node.target, "__module__", "")).partition(".")[0]
    return package not in ("", "None", "torch", "_operator", "builtins", "math")


def _with_hooks(discovery: Discovery, node: fx.Node) -> Axes:
    # A hook may do anything to what goes in or comes out, and the graph does not show it.
    return freeze_inputs(discovery, node, "has hooks, which are not understood")


def _has_hooks(module: nn.Module) -> bool:
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
    )


def _explain_none(discovery: Discovery, frozen: Sequence[FrozenDimension]) -> GroupingError:
    why = "; ".join(f"{item.name}: {item.reasons[0]}" for item in frozen[:_N_TOLD])
    why += f"; and {len(frozen) - _N_TOLD} more" if len(frozen) > _N_TOLD else ""
    none = "its layers make no channels" if discovery.layers else "it has no layers"
    return GroupingError(
        f"no channel group of the model can be narrowed ({why or none}); "
        "dpod-search needs hidden convolutions or linear layers"
    )
