"""Handlers of norms that the model's own code calls as functions, with tensors it holds itself.

A class of the user's own that is a norm and something more calls ``functional.layer_norm`` in its
forward. Its scale and shift are parameters that the model's own code reads.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import torch
from torch import fx
from torch.nn import functional

from dpod_search.supernet.dimensions.sizes import name_of
from dpod_search.supernet.dimensions.sizes import reads_shape
from dpod_search.supernet.dimensions.walk import Axes
from dpod_search.supernet.dimensions.walk import Discovery
from dpod_search.supernet.dimensions.walk import Handler
from dpod_search.supernet.dimensions.walk import freeze_inputs
from dpod_search.supernet.dimensions.walk import keep_groups_whole
from dpod_search.supernet.layout import Layout
from dpod_search.supernet.layout import fixed
from dpod_search.supernet.layout import scale
from dpod_search.supernet.plans import Scratch
from dpod_search.supernet.tracing.tracer import argument


_MANY_AXES = "normalises several axes at once"
_OWN_NUMBER = "normalises a number of channels that is written in the code"


def normalize_last(discovery: Discovery, node: fx.Node) -> Axes:
    """LayerNorm or RMSNorm as a function, over the last axis: carries all axes."""
    source = argument(node, 0, "input", None)
    n_axes = len(discovery.shapes[source])
    shape = argument(node, 1, "normalized_shape", None)
    vectors = _vectors(node, 2)
    if _single_size(discovery, shape) is None or not _are_vectors(discovery, vectors):
        return freeze_inputs(discovery, node, _MANY_AXES)
    channels = discovery.layout(source, n_axes - 1)
    for vector in vectors:
        _share(discovery, node, vector, channels)
    size = _single_size(discovery, shape)  # it may be that of the scale
    if not discovery.sizes.bind(size, channels, discovery.where(node)):
        discovery.dims.freeze(channels, f"{discovery.where(node)} {_OWN_NUMBER}")
    if name_of(node) == "layer_norm":
        rows = tuple(discovery.layout(source, i) for i in range(n_axes - 1))
        # A mean and a deviation for each row, which go at once.
        discovery.scratch[node] = (Scratch(((8.0, rows),), has_result=True),)
    return {**discovery.axes(source), n_axes - 1: channels}


def normalize_grouped(discovery: Discovery, node: fx.Node) -> Axes:
    """GroupNorm as a function: by whole groups, or freely if there is only one."""
    source = argument(node, 0, "input", None)
    n_groups = argument(node, 1, "num_groups", None)
    vectors = _vectors(node, 2)
    if not isinstance(n_groups, int) or not _are_vectors(discovery, vectors):
        return freeze_inputs(discovery, node, "makes groups of a number that is computed")
    n_channels = discovery.shapes[source][1]
    channels = discovery.layout(source, 1)
    where, per_group = discovery.where(node), n_channels // n_groups
    groups = fixed(1)
    if n_groups > 1:
        if not keep_groups_whole(discovery, node, channels, per_group):
            channels = fixed(n_channels)
        groups = scale(channels, Fraction(1, per_group))
    for vector in vectors:
        _share(discovery, node, vector, channels)
    if not discovery.sizes.bind(n_groups, groups, where):
        discovery.dims.freeze(channels, f"{where} makes a number of groups written in the code")
    discovery.freeze_axes(source, f"{where} averages over it", but=1)
    statistics = (8.0, (discovery.layout(source, 0), groups))
    discovery.scratch[node] = (Scratch((statistics,), has_result=True),)
    return {1: channels}


def _single_size(discovery: Discovery, given: Any) -> Any:
    """Return the one size in a shape, None if it has several or is not known."""
    if isinstance(given, Sequence) and len(given) == 1:
        return given[0]
    if not isinstance(given, fx.Node):
        return None
    whole, begin = given, 0
    if name_of(given) == "getitem" and isinstance(given.args[1], slice):
        # The last size of a shape: shape[-1:], of whatever has one.
        is_last = given.args[1] == slice(-1, None, None)
        if not is_last or not isinstance(given.args[0], fx.Node):
            return None
        whole, begin = given.args[0], -1
    if not reads_shape(whole) or not isinstance(whole.args[0], fx.Node):
        return None
    tensor = whole.args[0]
    n_axes = len(discovery.shapes.get(tensor, ()))
    is_one = n_axes == 1 or (n_axes > 1 and begin == -1)
    return discovery.layout(tensor, n_axes - 1) if is_one else None


def _vectors(node: fx.Node, position: int) -> list[Any]:
    """Return the scale and the shift, as far as they are given."""
    found = [argument(node, position, "weight", None)]
    if name_of(node) != "rms_norm":
        found.append(argument(node, position + 1, "bias", None))
    return [vector for vector in found if vector is not None]


def _are_vectors(discovery: Discovery, vectors: Sequence[Any]) -> bool:
    return all(
        isinstance(vector, fx.Node) and len(discovery.shapes.get(vector, ())) == 1
        for vector in vectors
    )


def _share(discovery: Discovery, node: fx.Node, vector: fx.Node, channels: Layout) -> None:
    """Let a scale or shift be narrowed as the channels are."""
    is_only_here = all(user is node or reads_shape(user) for user in vector.users)
    if is_only_here and discovery.adopt_parameter(vector, channels):
        return
    discovery.dims.unify(channels, discovery.layout(vector, 0), discovery.where(node))


NORM_FUNCTIONS: dict[Callable[..., Any], Handler] = {
    functional.layer_norm: normalize_last,
    torch.layer_norm: normalize_last,
    functional.rms_norm: normalize_last,
    torch.rms_norm: normalize_last,
    functional.group_norm: normalize_grouped,
    torch.group_norm: normalize_grouped,
}
