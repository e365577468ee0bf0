"""Windowed attention of torchvision's Swin transformers, narrowed by whole heads.

torchvision keeps ``shifted_window_attention`` and two smaller functions whole when it is traced
(Liu et al., 2021, arXiv 2103.14030; version 2 in arXiv 2111.09883). The first computes the size
of a head as C // num_heads, so a stage's embedding and its heads keep the same share of their
units. It reads the weights of linear layers that nobody calls: they are cut as parameters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from torch import fx
from torch import nn

from dpod_search.supernet.dimensions.products import plan_product
from dpod_search.supernet.dimensions.walk import Axes
from dpod_search.supernet.dimensions.walk import Discovery
from dpod_search.supernet.dimensions.walk import freeze_inputs
from dpod_search.supernet.dimensions.walk import keep_groups_whole
from dpod_search.supernet.layout import Layout
from dpod_search.supernet.layout import fixed
from dpod_search.supernet.layout import full_size
from dpod_search.supernet.layout import scale
from dpod_search.supernet.tracing.tracer import argument


# Arguments of shifted_window_attention that are cut, by name, with their places.
_WEIGHTS = {"qkv_weight": 1, "proj_weight": 2, "qkv_bias": 9, "proj_bias": 10}


def merge_patches(discovery: Discovery, node: fx.Node) -> Axes:
    """Patch merging: (..., H, W, C) becomes (..., H / 2, W / 2, 4 C), the channels in four runs."""
    source = discovery.first_input(node)
    last = len(discovery.shapes[source]) - 1
    discovery.freeze_axes(source, f"{discovery.where(node)} merges patches along it", but=last)
    return {last: discovery.layout(source, last) * 4}


def spread_bias(discovery: Discovery, node: fx.Node) -> Axes:
    """Relative position bias: a table of shape (places, heads) becomes (1, heads, T, T)."""
    table: Any = argument(node, 0, "relative_position_bias_table", None)
    shape = discovery.shapes.get(table, ())
    if len(shape) != 2 or discovery.shapes[node][1] != shape[1]:
        return freeze_inputs(discovery, node, "makes a bias that cannot be followed")
    for source in discovery.tensor_inputs(node):
        but = 1 if source is table else None
        discovery.freeze_axes(
            source, f"{discovery.where(node)} takes rows by their number", but=but
        )
    return {1: discovery.layout(table, 1)}


def attend_in_windows(discovery: Discovery, node: fx.Node) -> Axes:
    """Attention in windows of tokens (N, H, W, C): heads and embedding share one width."""
    source: Any = argument(node, 0, "input", None)
    window: Any = argument(node, 4, "window_size", None)
    if len(discovery.shapes.get(source, ())) != 4 or not _are_numbers(window):
        discovery.uncounted.append(discovery.where(node))
        return freeze_inputs(discovery, node, "is an attention that cannot be followed")
    where = discovery.where(node)
    discovery.freeze_axes(source, f"{where} cuts windows along it", but=3)
    inputs = discovery.layout(source, 3)
    n_heads: Any = argument(node, 5, "num_heads", None)
    why = _why_not_followed(discovery, node)
    if why:
        freeze_inputs(discovery, node, why)
        if isinstance(n_heads, int):  # the attribute must not follow what else it may count
            discovery.sizes.bind(n_heads, fixed(int(n_heads)), where)
    else:
        _narrow_heads(discovery, node, inputs, n_heads)
    _plan_products(discovery, node, inputs, window)
    return {3: inputs}


def _are_numbers(window: Any) -> bool:
    return isinstance(window, Sequence) and all(isinstance(size, int) for size in window)


def _why_not_followed(discovery: Discovery, node: fx.Node) -> str | None:
    if not isinstance(argument(node, 5, "num_heads", None), int):
        return "has a number of heads that is computed"
    called = {
        id(parameter)
        for other in node.graph.nodes
        if other.op == "call_module"
        for parameter in discovery.module(other).parameters()
    }
    for weight in _weights_of(node).values():
        owner, _, name = str(weight.target).rpartition(".")
        held = getattr(discovery.modules.get(owner), name, None)
        if weight.op != "get_attr" or not isinstance(held, nn.Parameter):
            return "has weights that are computed"
        # Other readers of a parameter of the model's own are followed; those of a layer's are not.
        reads = [n for n in node.graph.nodes if n.op == "get_attr" and n.target == weight.target]
        is_read_again = not discovery.axes(weight) and sum(len(n.users) for n in reads) > 1
        if id(held) in called or is_read_again:
            return f"shares {weight.target} with another operation"
    return None


def _weights_of(node: fx.Node) -> dict[str, fx.Node]:
    given = {name: argument(node, place, name, None) for name, place in _WEIGHTS.items()}
    return {name: weight for name, weight in given.items() if weight is not None}


def _narrow_heads(discovery: Discovery, node: fx.Node, inputs: Layout, n_heads: int) -> None:
    """Cut the weights as the embedding is cut, and tie the heads to it."""
    where = discovery.where(node)
    head_dim = full_size(inputs) // int(n_heads)
    if not keep_groups_whole(discovery, node, inputs, head_dim):
        heads = fixed(int(n_heads))
    else:
        discovery.dims.mark_heads(inputs)
        heads = scale(inputs, Fraction(1, head_dim))
    if not discovery.sizes.bind(n_heads, heads, where):
        discovery.dims.freeze(inputs, f"{where} has a number of heads of the code's own")
    axes: dict[str, Axes] = {
        "qkv_weight": {0: inputs * 3, 1: inputs},  # queries, keys, values
        "proj_weight": {0: inputs, 1: inputs},
        "qkv_bias": {0: inputs * 3},
        "proj_bias": {0: inputs},
    }
    for name, weight in _weights_of(node).items():
        discovery.keep_parameter(str(weight.target), axes[name])
    for place, name in ((3, "relative_position_bias"), (11, "logit_scale")):
        _tie_heads(discovery, node, argument(node, place, name, None), heads)


def _tie_heads(discovery: Discovery, node: fx.Node, added: Any, heads: Layout) -> None:
    """Let a tensor that meets the scores, of shape (N, heads, T, T), have as many heads."""
    if added is None:
        return
    where = discovery.where(node)
    axis = len(discovery.shapes[added]) - 3
    discovery.freeze_axes(added, f"{where} combines it with scores", but=axis)
    if axis < 0:
        return
    layout = discovery.layout(added, axis)
    if full_size(layout) == 1 < full_size(heads):
        discovery.dims.freeze(layout, f"{where} broadcasts it")
    else:
        discovery.dims.unify(heads, layout, where)


def _plan_products(
    discovery: Discovery, node: fx.Node, inputs: Layout, window: Sequence[int]
) -> None:
    """Note the multiply-adds of both linear maps, of the scores and of the weighted values."""
    n_samples, *sizes, _ = discovery.shapes[node]
    # The picture is padded to whole windows.
    padded = [-(-size // side) * side for size, side in zip(sizes, window, strict=True)]
    tokens = fixed(n_samples * math.prod(padded))
    per_window = fixed(math.prod(window))
    for factors in ((inputs * 3, inputs), (inputs, inputs), *((per_window, inputs),) * 2):
        plan_product(discovery, node, [tokens, *factors])
