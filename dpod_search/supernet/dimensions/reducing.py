"""Handlers of operations that reduce axes to one value, as sums and norms do.

A reduction over channels is one over the channels that are there: a narrow net takes it over its
own, in the supernet as when it is cut out, as a layer norm does.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import torch
from torch import fx

from dpod_search.supernet.dimensions.basic import combine
from dpod_search.supernet.dimensions.walk import Axes
from dpod_search.supernet.dimensions.walk import Discovery
from dpod_search.supernet.dimensions.walk import freeze_inputs
from dpod_search.supernet.dimensions.walk import pass_but
from dpod_search.supernet.tracing.tracer import argument


REDUCING_FUNCTIONS: tuple[Callable[..., Any], ...] = (
    torch.mean,
    torch.sum,
    torch.nansum,
    torch.amax,
    torch.amin,
    torch.std,
    torch.var,
    torch.logsumexp,
    torch.norm,
    torch.linalg.vector_norm,
)  # fmt: skip  (a table)
REDUCING_METHODS = ("mean", "sum", "nansum", "amax", "amin", "std", "var", "logsumexp", "norm")
# These take the order of the norm in front of the axes.
_NORMS = (torch.norm, torch.linalg.vector_norm, "norm")


def reduce_axes(discovery: Discovery, node: fx.Node) -> Axes:
    """Mean, sum, greatest value, deviation, norm: the axes that are not reduced pass."""
    source = discovery.first_input(node)
    n_axes = len(discovery.shapes[source])
    position = 2 if node.target in _NORMS else 1
    chosen = argument(node, position, "dim", node.kwargs.get("axis"))
    if chosen is None or isinstance(chosen, bool):  # std(x, False) is of all, without correction
        chosen = ()
    listed = chosen if isinstance(chosen, Sequence) else (chosen,)
    gone = {int(axis) % n_axes for axis in listed} or set(range(n_axes))
    made = discovery.shapes[node] if node in discovery.shapes else discovery.part_shapes(node)[0]
    keeps = len(made) == n_axes
    return {
        axis if keeps else axis - sum(other < axis for other in gone): layout
        for axis, layout in discovery.axes(source).items()
        if axis not in gone
    }


def compare(discovery: Discovery, node: fx.Node) -> Axes:
    """``cosine_similarity``: two tensors, one axis of which is summed over."""
    module = discovery.modules.get(str(node.target)) if node.op == "call_module" else None
    chosen = getattr(module, "dim", argument(node, 2, "dim", 1))
    if not isinstance(chosen, int):
        return freeze_inputs(discovery, node, "compares along an axis that is computed")
    first, second = discovery.tensor_inputs(node)[0], discovery.tensor_inputs(node)[-1]
    shapes = [discovery.shapes[tensor] for tensor in (first, second)]
    if len(shapes[0]) != len(shapes[1]):
        return freeze_inputs(discovery, node, "compares tensors of different axes")
    gone = chosen % len(shapes[0])
    axes: Axes = {}
    for axis, sizes in enumerate(zip(*shapes, strict=True)):
        one, other = (discovery.layout(tensor, axis) for tensor in (first, second))
        if sizes[0] == sizes[1]:
            discovery.dims.unify(one, other, discovery.where(node))
        else:
            broadcast = one if sizes[0] == 1 else other
            discovery.dims.freeze(broadcast, f"{discovery.where(node)} broadcasts it")
        if axis != gone:
            axes[axis - (axis > gone)] = other if sizes[0] == 1 else one
    return axes


def reduce_twice(discovery: Discovery, node: fx.Node) -> Axes:
    """``var_mean`` and ``std_mean``: two tensors, reduced alike."""
    axes = reduce_axes(discovery, node)
    discovery.parts[node] = [axes, axes]
    return {}


def find_extremes(discovery: Discovery, node: fx.Node) -> Axes:
    """``max`` and ``min`` along an axis: values, and places that are numbers of its elements."""
    source = discovery.first_input(node)
    chosen = argument(node, 1, "dim", node.kwargs.get("axis"))
    if node in discovery.shapes:  # of all elements, or of two tensors
        return combine(discovery, node) if len(discovery.tensor_inputs(node)) == 2 else {}
    if not isinstance(chosen, int):
        return freeze_inputs(discovery, node, "looks along an axis that is computed")
    axis = chosen % len(discovery.shapes[source])
    passing = pass_but(discovery, node, {axis}, "numbers its channels")
    keeps = len(discovery.part_shapes(node)[0]) == len(discovery.shapes[source])
    held = {
        other if keeps else other - (other > axis): layout for other, layout in passing.items()
    }
    discovery.parts[node] = [held, held]
    return {}
