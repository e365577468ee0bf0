"""Handlers of products of two tensors: matmul, einsum, attention.

They have no weights; their multiply-adds are counted from the sizes of the axes they run over.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import fx

from dpod_search.supernet.dimensions.walk import Axes
from dpod_search.supernet.dimensions.walk import Discovery
from dpod_search.supernet.dimensions.walk import freeze_inputs
from dpod_search.supernet.layout import Layout
from dpod_search.supernet.layout import fixed
from dpod_search.supernet.layout import full_size
from dpod_search.supernet.layout import is_elastic
from dpod_search.supernet.plans import ProductPlan
from dpod_search.supernet.tracing.computed import holder_of
from dpod_search.supernet.tracing.tracer import argument


def multiply_matrices(discovery: Discovery, node: fx.Node) -> Axes:
    """Matmul: (..., M, K) times (..., K, N); batch axes broadcast."""
    sources = [item for item in node.args[:2] if isinstance(item, fx.Node)]
    shapes = [discovery.shapes.get(source, ()) for source in sources]
    if len(shapes) != 2 or min(map(len, shapes)) < 2:
        discovery.uncounted.append(discovery.where(node))
        return freeze_inputs(discovery, node, "is a product with a vector")
    n_batch = max(map(len, shapes)) - 2
    letters = [str(i) for i in range(n_batch)]
    terms = [
        [*letters[n_batch - (len(shape) - 2) :], *last]
        for shape, last in zip(shapes, (("m", "k"), ("k", "n")), strict=True)
    ]
    return contract(discovery, node, sources, terms, [*letters, "m", "n"])


def add_product(discovery: Discovery, node: fx.Node) -> Axes:
    """``addmm`` and ``baddbmm``: a product of matrices, added to what broadcasts against it."""
    added = argument(node, 0, "input", None)
    first = argument(node, 1, "batch1", node.kwargs.get("mat1"))
    second = argument(node, 2, "batch2", node.kwargs.get("mat2"))
    sources = [item for item in (first, second) if isinstance(item, fx.Node)]
    batch = ["b"] * (len(discovery.shapes[node]) - 2)
    axes = contract(
        discovery, node, sources, [[*batch, "m", "k"], [*batch, "k", "n"]], [*batch, "m", "n"]
    )
    shape, where = discovery.shapes[node], discovery.where(node)
    for axis, size in enumerate(discovery.shapes.get(added, ())):
        place = axis + len(shape) - len(discovery.shapes[added])
        layout = discovery.layout(added, axis)
        if size == 1 != shape[place]:
            discovery.dims.freeze(layout, f"{where} broadcasts it")
        else:
            discovery.dims.unify(axes.get(place, fixed(shape[place])), layout, where)
    return axes


def sum_products(discovery: Discovery, node: fx.Node) -> Axes:
    """Einsum of one or two tensors, every axis named."""
    equation = node.args[0]
    sources: Sequence[Any] = node.args[1:]
    if len(sources) == 1 and isinstance(sources[0], Sequence):
        sources = sources[0]
    text = equation.replace(" ", "") if isinstance(equation, str) else ""
    left, arrow, result = text.partition("->")
    terms, right = [list(term) for term in left.split(",")], list(result)
    if "..." in text and all(isinstance(source, fx.Node) for source in sources):
        terms, right = _name_others(discovery, sources, terms, result)
    is_known = (
        arrow
        and len(sources) == len(terms) <= 2
        and all(isinstance(source, fx.Node) for source in sources)
        and all(len(set(term)) == len(term) for term in terms)
    )
    if not is_known:
        discovery.uncounted.append(discovery.where(node))
        return freeze_inputs(discovery, node, "is a product that cannot be followed")
    return contract(discovery, node, list(sources), terms, right)


def _name_others(
    discovery: Discovery, sources: Sequence[fx.Node], terms: Sequence[list[str]], right: str
) -> tuple[list[list[str]], list[str]]:
    """Give the axes that ``...`` stands for names of their own, counted from the last one."""
    named: list[list[str]] = []
    most = 0
    for source, term in zip(sources, terms, strict=False):
        n_named = sum(letter != "." for letter in term)
        n_others = len(discovery.shapes.get(source, ())) - n_named if "." in term else 0
        most = max(most, n_others)
        others = [str(i) for i in reversed(range(n_others))]
        text = "".join(term)
        before, _, after = text.partition("...")
        named.append([*before, *others, *after])
    before, dots, after = right.partition("...")
    others = [str(i) for i in reversed(range(most))] if dots else []
    return named, [*before, *others, *after]


def attend(discovery: Discovery, node: fx.Node) -> Axes:
    """Attention on heads: queries (..., L, E), keys (..., S, E) and values (..., S, V)."""
    names = ("query", "key", "value")
    tensors: list[Any] = [argument(node, i, name, None) for i, name in enumerate(names)]
    mask = argument(node, 3, "attn_mask", None)
    known = [isinstance(t, fx.Node) and len(discovery.shapes[t]) >= 3 for t in tensors]
    if not all(known) or node.kwargs.get("enable_gqa"):
        discovery.uncounted.append(discovery.where(node))
        return freeze_inputs(discovery, node, "is an attention that cannot be followed")
    query, key, value = tensors
    heads = [str(i) for i in range(len(discovery.shapes[query]) - 2)]
    scores = contract(
        discovery, node, [query, key], [[*heads, "l", "e"], [*heads, "s", "e"]], [*heads, "l", "s"]
    )
    if isinstance(mask, fx.Node) and mask in discovery.shapes:
        shift = len(heads) + 2 - len(discovery.shapes[mask])
        for axis, size in enumerate(discovery.shapes[mask]):
            if size > 1 and axis + shift in scores:
                layout = discovery.layout(mask, axis)
                discovery.dims.unify(scores[axis + shift], layout, discovery.where(node))
    # The scores are no node of the graph: unify the values' axes with those of query and key.
    where = discovery.where(node)
    for axis in range(len(heads)):
        discovery.dims.unify(discovery.layout(value, axis), discovery.layout(query, axis), where)
    places = len(heads)
    discovery.dims.unify(discovery.layout(value, places), discovery.layout(key, places), where)
    layouts = [
        *(discovery.layout(query, axis) for axis in range(places + 1)),
        discovery.layout(value, places + 1),
    ]
    plan_product(discovery, node, [*layouts, discovery.layout(key, places)])
    return {axis: layout for axis, layout in enumerate(layouts) if is_elastic(layout)}


def contract(
    discovery: Discovery,
    node: fx.Node,
    sources: Sequence[fx.Node],
    terms: Sequence[Sequence[str]],
    result: Sequence[str],
) -> Axes:
    """Multiply tensors and sum over the axes that the result does not name.

    Args:
        discovery: The walk.
        node: The operation.
        sources: The tensors, one or two.
        terms: A letter for each axis of each tensor; the same letter shares its width.
        result: Letters of the result's axes.

    Returns:
        Layouts of the result's axes.
    """
    where = discovery.where(node)
    layouts: dict[str, Layout] = {}
    for source, term in zip(sources, terms, strict=True):
        for axis, letter in enumerate(term):
            layout = discovery.layout(source, axis)
            known = layouts.get(letter)
            if known is None or (full_size(known) == 1 and not is_elastic(known)):
                layouts[letter] = layout
            elif full_size(layout) == 1 < full_size(known):
                discovery.dims.freeze(layout, f"{where} broadcasts it")
            else:
                discovery.dims.unify(known, layout, where)
    if len(sources) > 1:
        plan_product(discovery, node, list(layouts.values()))
    if discovery.sees_inputs(node):  # by a matrix of the model's own it makes units
        for letter in result:
            discovery.dims.make(layouts[letter], holder_of)
    return {
        axis: discovery.dims.expand(layouts[letter])
        for axis, letter in enumerate(result)
        if is_elastic(layouts[letter])
    }


def plan_product(discovery: Discovery, node: fx.Node, layouts: Sequence[Layout]) -> None:
    """Note a product's multiply-adds: as many as its axes, summed ones too, have places.

    Args:
        discovery: The walk.
        node: The operation.
        layouts: Of all the axes that it runs over, the batch too.
    """
    constant = math.prod(full_size(layout) for layout in layouts if not is_elastic(layout))
    factors = tuple(layout for layout in layouts if is_elastic(layout))
    discovery.products.append(
        ProductPlan(
            discovery.where(node), str(node.name), constant, discovery.n_samples(node), factors
        )
    )
