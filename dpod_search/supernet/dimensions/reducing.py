"""Handler of operations that reduce axes to one value, as sums and norms do."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import torch
from torch import fx

from dpod_search.supernet.dimensions.walk import Axes
from dpod_search.supernet.dimensions.walk import Discovery
from dpod_search.supernet.tracing.tracer import argument


REDUCING_FUNCTIONS: tuple[Callable[..., Any], ...] = (
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
REDUCING_METHODS = ("sum", "nansum", "amax", "amin", "std", "var", "logsumexp", "norm")
# These take the order of the norm in front of the axes.
_NORMS = (torch.norm, torch.linalg.vector_norm, "norm")


def reduce_axes(discovery: Discovery, node: fx.Node) -> Axes:
    """Sum, greatest value, standard deviation, norm: the axes that are not reduced pass."""
    source = discovery.first_input(node)
    n_axes = len(discovery.shapes[source])
    position = 2 if node.target in _NORMS else 1
    chosen = argument(node, position, "dim", node.kwargs.get("axis"))
    if chosen is None or isinstance(chosen, bool):  # std(x, False) is of all, without correction
        chosen = ()
    listed = chosen if isinstance(chosen, Sequence) else (chosen,)
    gone = {int(axis) % n_axes for axis in listed} or set(range(n_axes))
    keeps = len(discovery.shapes[node]) == n_axes
    axes: Axes = {}
    for axis, layout in discovery.axes(source).items():
        if axis in gone:
            discovery.dims.freeze(layout, f"{discovery.where(node)} reduces it")
        else:
            axes[axis if keeps else axis - sum(other < axis for other in gone)] = layout
    return axes
