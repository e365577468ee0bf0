"""Which axes of which weight belong to which channel groups."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from torch import nn
from torch.nn.modules.conv import _ConvTransposeNd

from dpod_search.supernet.layout import Layout
from dpod_search.supernet.layout import fixed
from dpod_search.supernet.layout import scale
from dpod_search.supernet.plans import Grouping
from dpod_search.supernet.plans import LayerPlan
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
        module = net.get_submodule(plan.name)
        name = "in_proj_weight" if plan.kind == "attention" else "weight"
        weight = getattr(module, name)
        if plan.kind == "norm" or weight is None or weight.dim() < 2:
            continue
        rest = tuple(fixed(size) for size in weight.shape[2:])
        axes = (*_first_two(module, plan), *rest)
        yield ParameterPlan(f"{plan.name}.{name}", axes, plan.itemsize, plan.blocks)


def _first_two(module: nn.Module, plan: LayerPlan) -> tuple[Layout, Layout]:
    if not isinstance(module, _ConvTransposeNd):
        return plan.output, plan.weight_input
    # The weight of a transposed convolution is the other way round.
    if module.groups == 1:
        return plan.weight_input, plan.output
    inputs = scale(plan.output, Fraction(module.in_channels, module.out_channels))
    return inputs, fixed(module.out_channels // module.groups)
