"""Which axes of which weight belong to which channel groups."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from dpod_search.supernet.layers.elastic import kind_of
from dpod_search.supernet.layout import fixed
from dpod_search.supernet.plans import Grouping
from dpod_search.supernet.plans import ParameterPlan
from dpod_search.supernet.supernet import Supernet


def plan_weights(supernet: Supernet) -> tuple[ParameterPlan, ...]:
    """Say of every weight that can be narrowed which groups its axes belong to.

    Args:
        supernet: Whose weights.

    Returns:
        A plan for each parameter of two axes or more, of which one at least is elastic: kernels
        and matrices, not biases nor the vectors of norms. Names are those of ``supernet.net``.
    """
    plans = [*_plan_layers(supernet.net, supernet.grouping), *supernet.grouping.parameters]
    return tuple(plan for plan in plans if plan.is_elastic and len(plan.axes) > 1)


def _plan_layers(net: nn.Module, grouping: Grouping) -> Iterator[ParameterPlan]:
    for plan in grouping.layers:
        layer = net.get_submodule(plan.name)
        kind = kind_of(layer)
        if not kind.makes_units:
            continue
        rest = tuple(fixed(size) for size in getattr(layer, kind.weight).shape[2:])
        axes = (*kind.lay_out(layer, plan).first, *rest)
        yield ParameterPlan(f"{plan.name}.{kind.weight}", axes, plan.itemsize, plan.blocks)
