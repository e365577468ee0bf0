"""Functions that a subclass of PyTorch's layers calls with its own tensors.

A class that is a BatchNorm and an activation says ``functional.batch_norm(x, self.running_mean,
...)`` in its forward. The layer is then its module, as if it were PyTorch's own: it is narrowed,
counted and calibrated as that is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import fx

from dpod_search.supernet.dimensions.sizes import reads_shape
from dpod_search.supernet.dimensions.walk import Axes
from dpod_search.supernet.dimensions.walk import Discovery
from dpod_search.supernet.dimensions.walk import Handler
from dpod_search.supernet.dimensions.walk import freeze_inputs
from dpod_search.supernet.layers.kind import LayerKind
from dpod_search.supernet.layers.kind import holds_layer_tensors
from dpod_search.supernet.tracing.tracer import argument
from dpod_search.supernet.tracing.tracer import name_of


Plan = Callable[[Discovery, fx.Node, str, Any], Axes | None]

NOT_OWN = "is given tensors that are not those of one layer alone"


def plan_own(
    discovery: Discovery,
    node: fx.Node,
    kind: LayerKind,
    held: tuple[str, ...],
    plan: Plan,
    *,
    otherwise: Handler | None = None,
) -> Axes:
    """Record the layer whose own function an operation is, or follow it with any tensors.

    Args:
        discovery: The walk.
        node: The operation; the tensors follow its first argument.
        kind: Whose function it is.
        held: Names of the tensors, in the module and of the arguments.
        plan: Records the layer, given the walk, the operation, the layer's path and the layer; None
            if the operation is given other numbers than the layer's.
        otherwise: The handler of the function with tensors that are no layer's own; by default what
            they belong to is frozen.
    """
    name = _find_owner(discovery, node, kind, held)
    if name is not None:
        axes = plan(discovery, node, name, discovery.modules[name])
        if axes is not None:
            for tensor in ("weight", "bias"):
                discovery.parameters.pop(f"{name}.{tensor}", None)
            return axes
    if otherwise is not None:
        return otherwise(discovery, node)
    return freeze_inputs(discovery, node, NOT_OWN)


def _find_owner(
    discovery: Discovery, node: fx.Node, kind: LayerKind, held: tuple[str, ...]
) -> str | None:
    """Return the path of the layer that an operation is inside of, and whose tensors it reads.

    Args:
        discovery: The walk.
        node: The operation; the tensors follow its first argument.
        kind: What the layer must be.
        held: Names of the tensors, in the module and of the arguments.

    Returns:
        None if it is another, or they are read elsewhere too.
    """
    given = {own: argument(node, i + 1, own, None) for i, own in enumerate(held)}
    tensors = [tensor for tensor in given.values() if tensor is not None]
    if not tensors or not all(isinstance(t, fx.Node) and t.op == "get_attr" for t in tensors):
        return None
    name = str(tensors[0].target).rpartition(".")[0]
    module = discovery.modules.get(name)
    is_of_kind = any(base in kind.twins for base in type(module).__mro__)
    if not name or module is None or not is_of_kind or not holds_layer_tensors(module):
        return None
    wanted = {own: getattr(module, own) is not None for own in held}
    for own, tensor in given.items():
        if wanted[own] != (tensor is not None) or (tensor and tensor.target != f"{name}.{own}"):
            return None
    inside = discovery.nodes_inside(name)
    is_apart = all(
        user in inside and (reads_shape(user) or _calls_same(user, node))
        for tensor in tensors
        for user in tensor.users
    )
    return name if node in inside and is_apart else None


def _calls_same(user: fx.Node, node: fx.Node) -> bool:
    return user.op == node.op and name_of(user) == name_of(node)
