"""Functions that multiply by a weight that is no layer's own: computed, borrowed, or fixed.

A standardised convolution, weight normalisation, a sum with a product of low rank, the fixed filter
of a blur: whatever the weight is made of, its axes are known as those of any tensor, and the
parameters it comes from are cut where they are read. The function joins the axes: that of the
inputs with what it is given, that of the outputs with what it makes.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from torch import fx

from dpod_search.supernet.dimensions.products import plan_product
from dpod_search.supernet.dimensions.spatial import freeze_sizes
from dpod_search.supernet.dimensions.walk import Axes
from dpod_search.supernet.dimensions.walk import Discovery
from dpod_search.supernet.dimensions.walk import freeze_inputs
from dpod_search.supernet.dimensions.walk import keep_groups_whole
from dpod_search.supernet.dimensions.walk import pin_numbers
from dpod_search.supernet.layout import Layout
from dpod_search.supernet.layout import fixed
from dpod_search.supernet.layout import full_size
from dpod_search.supernet.layout import is_elastic
from dpod_search.supernet.layout import scale
from dpod_search.supernet.tracing.computed import holder_of
from dpod_search.supernet.tracing.tracer import argument


# Where the functions take the number of their groups.
_GROUPS = 6


def multiply_by(discovery: Discovery, node: fx.Node) -> Axes:
    """``functional.linear`` with any weight: new channels on the last axis."""
    source, weight = _find_tensors(discovery, node)
    if source is None or weight is None or len(discovery.shapes[weight]) != 2:
        return _refuse(discovery, node)
    pin_numbers(discovery, node)
    where = discovery.where(node)
    last = len(discovery.shapes[source]) - 1
    discovery.dims.unify(discovery.layout(source, last), discovery.layout(weight, 1), where)
    output = _make(discovery, node, discovery.layout(weight, 0))
    axes = {axis: held for axis, held in discovery.axes(source).items() if axis < last}
    places = [discovery.layout(source, axis) for axis in range(last)]
    plan_product(discovery, node, [*places, output, discovery.layout(weight, 1)])
    return axes | {last: output}


def convolve_by(discovery: Discovery, node: fx.Node) -> Axes:
    """``functional.conv2d`` and its like with any weight, outputs first."""
    return _convolve(discovery, node, outputs=0)


def convolve_transposed_by(discovery: Discovery, node: fx.Node) -> Axes:
    """``functional.conv_transpose2d`` and its like with any weight, inputs first."""
    return _convolve(discovery, node, outputs=1)


def _convolve(discovery: Discovery, node: fx.Node, *, outputs: int) -> Axes:
    source, weight = _find_tensors(discovery, node)
    groups = argument(node, _GROUPS, "groups", 1)
    n_groups = _read_number(discovery, groups)
    is_known = (
        source is not None
        and weight is not None
        and n_groups is not None
        and len(discovery.shapes[source]) == len(discovery.shapes[weight]) >= 3
    )
    if source is None or weight is None or n_groups is None or not is_known:
        return _refuse(discovery, node)
    where, shape = discovery.where(node), discovery.shapes[weight]
    freeze_sizes(discovery, node, len(shape) - 2, but=(groups,))
    discovery.freeze_axes(source, f"{where} slides over it", but=1)
    for axis in range(2, len(shape)):
        discovery.dims.freeze(discovery.layout(weight, axis), f"{where} slides it")
    if n_groups == 1:
        discovery.sizes.bind(groups, fixed(1), where)
        given, read = discovery.layout(source, 1), discovery.layout(weight, 1 - outputs)
        discovery.dims.unify(given, read, where)
        output = discovery.layout(weight, outputs)
    else:
        output = _join_groups(discovery, node, groups, n_groups)
    output = _make(discovery, node, output)
    # A transposed one multiplies at the places of its input.
    over, channels = (source, discovery.layout(source, 1)) if outputs else (node, output)
    per_place = discovery.layout(weight, 1)
    places = [fixed(size) for size in (*discovery.shapes[over][2:], *shape[2:])]
    plan_product(discovery, node, [discovery.layout(source, 0), channels, per_place, *places])
    return {1: output}


def _join_groups(discovery: Discovery, node: fx.Node, groups: Any, n_groups: int) -> Layout:
    """Return the layout of the outputs of a grouped one, whose weight agrees with its inputs."""
    source, weight = _find_tensors(discovery, node)
    assert source is not None
    assert weight is not None
    where, dims = discovery.where(node), discovery.dims
    dims.freeze(discovery.layout(weight, 1), f"{where} takes it whole in each of its groups")
    inputs = discovery.layout(source, 1)
    n_inputs, n_rows = full_size(inputs), discovery.shapes[weight][0]
    per_group = n_inputs // n_groups
    if not is_elastic(inputs):
        discovery.sizes.bind(groups, fixed(n_groups), where)
    elif keep_groups_whole(discovery, node, inputs, per_group) and not discovery.sizes.bind(
        groups, scale(inputs, Fraction(1, per_group)), where
    ):
        dims.freeze(inputs, f"{where} has a number of groups that does not follow the widths")
    # The rows stand in the order of the groups: those of the outputs, or of the inputs.
    rows = scale(inputs, Fraction(n_rows, n_inputs))
    is_one_each = discovery.shapes[weight][1] == 1
    own = (
        discovery.adopt_filter(weight, node, rows) if is_one_each else discovery.layout(weight, 0)
    )
    dims.unify(rows, own, where)
    return scale(discovery.layout(source, 1), Fraction(discovery.shapes[node][1], n_inputs))


def _make(discovery: Discovery, node: fx.Node, output: Layout) -> Layout:
    """Note that units are made here, and that a bias is as wide."""
    discovery.dims.make(output, holder_of)
    bias = argument(node, 2, "bias", None)
    if isinstance(bias, fx.Node) and bias in discovery.shapes:
        discovery.dims.unify(output, discovery.layout(bias, 0), discovery.where(node))
    return discovery.dims.expand(output)


def _find_tensors(discovery: Discovery, node: fx.Node) -> tuple[fx.Node | None, fx.Node | None]:
    given = (argument(node, 0, "input", None), argument(node, 1, "weight", None))
    source, weight = (
        tensor if isinstance(tensor, fx.Node) and tensor in discovery.shapes else None
        for tensor in given
    )
    return source, weight


def _read_number(discovery: Discovery, number: Any) -> int | None:
    """Return what a number is on the example, None if that is not known."""
    if isinstance(number, int):
        return int(number)
    meaning = discovery.sizes.read(number)
    return full_size(meaning) if isinstance(meaning, tuple) else None


def _refuse(discovery: Discovery, node: fx.Node) -> Axes:
    pin_numbers(discovery, node)
    discovery.uncounted.append(discovery.where(node))
    return freeze_inputs(discovery, node, "multiplies in a way that cannot be followed")
