"""What handlers share of norms that the model's own code calls as functions, with tensors it holds itself.

A class of the user's own that is a norm and something more calls ``functional.layer_norm`` in its
forward. Its scale and shift are parameters that the model's own code reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import fx

from dpod_search.supernet.dimensions.sizes import reads_shape
from dpod_search.supernet.dimensions.walk import Discovery
from dpod_search.supernet.layout import Layout
from dpod_search.supernet.tracing.tracer import argument
from dpod_search.supernet.tracing.tracer import name_of


def list_vectors(node: fx.Node, position: int) -> list[Any]:
    """Return the scale and the shift, as far as they are given."""
    found = [argument(node, position, "weight", None)]
    if name_of(node) != "rms_norm":
        found.append(argument(node, position + 1, "bias", None))
    return [vector for vector in found if vector is not None]


def are_vectors(discovery: Discovery, vectors: Sequence[Any]) -> bool:
    """Say whether all have one axis."""
    return all(
        isinstance(vector, fx.Node) and len(discovery.shapes.get(vector, ())) == 1
        for vector in vectors
    )


def share_channels(discovery: Discovery, node: fx.Node, vector: fx.Node, channels: Layout) -> None:
    """Let a scale or shift be narrowed as the channels are."""
    is_only_here = all(user is node or reads_shape(user) for user in vector.users)
    if is_only_here and discovery.adopt_parameter(vector, channels):
        return
    discovery.dims.unify(channels, discovery.layout(vector, 0), discovery.where(node))
