"""Which weights make the units of each group.

A layer makes the units of the groups that its output is laid out by: a convolution one for each
row of its weight. A depthwise or grouped convolution makes the units that it reads anew, and the
layers of a residual group make the same units one after the other, each a part of their sum. Of
a recurrent layer the rows of all gates of a unit count: where they are zero, it gives zero. Of an
attention the rows of its values count: without them a head adds nothing, whatever its queries and
keys are. Parameters that the model's own code reads make those of their first elastic axis,
unless they only scale what layers make.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dpod_search.supernet import Grouping
from dpod_search.supernet import LayerPlan
from dpod_search.supernet import Layout
from dpod_search.supernet import ParameterPlan
from dpod_search.supernet import Supernet
from dpod_search.supernet import groups_of
from dpod_search.supernet import is_elastic
from dpod_search.supernet import kind_of
from dpod_search.supernet import plan_weights
from dpod_search.tabulated import FloatArray


# From what the net returns and the labels to a number.
Loss = Callable[[Any, Tensor], Tensor]


@dataclass(frozen=True)
class UnitAxis:
    """An axis of a parameter whose elements belong to units.

    Args:
        parameter: Its path in ``supernet.net``.
        axis: The axis.
        layout: How its elements belong to groups.
    """

    parameter: str
    axis: int
    layout: Layout

    @property
    def key(self) -> tuple[str, int]:
        """What the numbers of its elements are kept by."""
        return self.parameter, self.axis


@dataclass(frozen=True)
class Maker:
    """A layer, or a parameter, that makes units.

    Args:
        name: Its path.
        blocks: Groups of the removable blocks that it is in.
        groups: The groups whose units it makes.
        parts: What of it belongs to each of them: its weight and its bias.
    """

    name: str
    blocks: tuple[int, ...]
    groups: tuple[int, ...]
    parts: tuple[UnitAxis, ...]


def find_makers(supernet: Supernet) -> tuple[Maker, ...]:
    """Return all that makes units, with the weights and biases that do so."""
    grouping = supernet.grouping
    weights = {plan.name: plan for plan in plan_weights(supernet)}
    makers = [
        Maker(plan.name, plan.blocks, groups, tuple(_own_parts(supernet, plan, weights)))
        for plan in grouping.layers
        if plan.kind != "norm" and (groups := _groups_made(plan))
    ]
    return (*makers, *_find_own_makers(grouping))


def _find_own_makers(grouping: Grouping) -> Iterator[Maker]:
    """Yield the parameters that the model's own code reads, those of one module together."""
    by_owner: dict[str, list[ParameterPlan]] = {}
    for plan in grouping.parameters:
        if plan.is_elastic and plan.is_learnt and not _only_scales(grouping, plan.name):
            by_owner.setdefault(plan.name.rpartition(".")[0], []).append(plan)
    for owner, plans in by_owner.items():
        parts = []
        for plan in plans:
            axis = next(i for i, layout in enumerate(plan.axes) if is_elastic(layout))
            parts.append(UnitAxis(plan.name, axis, plan.axes[axis]))
        groups = sorted({group for part in parts for group in groups_of(part.layout)})
        name = owner or plans[0].name
        yield Maker(name, plans[0].blocks, tuple(groups), tuple(parts))


def _only_scales(grouping: Grouping, name: str) -> bool:
    reads = {
        i for i, op in enumerate(grouping.operations) if (op.kind, op.what) == ("parameter", name)
    }
    users = [op.what for op in grouping.operations if not reads.isdisjoint(op.inputs)]
    return bool(users) and set(users) <= {"mul", "mul_", "multiply", "imul"}


def add_units(
    maker: Maker, group: int, vectors: Mapping[tuple[str, int], FloatArray], n_units: int
) -> FloatArray:
    """Add up the numbers of all elements that belong to each unit.

    Args:
        maker: Whose elements.
        group: Whose units.
        vectors: By the key of a part, a number for each element of its axis.
        n_units: Full width of the group.

    Returns:
        Shape (n_units,).
    """
    total = np.zeros(n_units)
    for part in maker.parts:
        vector, start = vectors[part.key], 0
        for segment in part.layout:
            if segment.group == group:
                run = vector[start : start + segment.size]
                total += run.reshape(n_units, -1).sum(axis=1)
            start += segment.size
    return total


def sum_along(tensor: Tensor, axis: int) -> FloatArray:
    """Sum a tensor over all axes but one, in double precision, shape (size of that axis,)."""
    others = [i for i in range(tensor.dim()) if i != axis]
    whole = tensor.detach()
    summed = whole.sum(others, dtype=torch.float64) if others else whole.double()
    return np.asarray(summed.cpu().numpy(), dtype=np.float64)


def _groups_made(plan: LayerPlan) -> tuple[int, ...]:
    made = [matrix.rows for matrix in plan.matrices] or [plan.output]
    return groups_of(tuple(segment for layout in made for segment in layout))


def _own_parts(
    supernet: Supernet, plan: LayerPlan, weights: Mapping[str, ParameterPlan]
) -> Iterator[UnitAxis]:
    layer = supernet.net.get_submodule(plan.name)
    kind = kind_of(layer)
    bias = kind.weight.replace("weight", "bias")
    for matrix in plan.matrices:
        if not kind.makes or matrix.name in kind.makes:
            for name in filter(None, (matrix.name, matrix.bias)):
                yield UnitAxis(f"{plan.name}.{name}", 0, matrix.rows)
    if plan.matrices:
        if plan.n_vectors:  # one for all of them
            yield UnitAxis(f"{plan.name}.{bias}", 0, kind.made(plan.output))
        return
    axis = kind.lay_out(layer, plan).maker
    weight = weights[f"{plan.name}.{kind.weight}"]
    yield UnitAxis(weight.name, axis, kind.made(weight.axes[axis]))
    if getattr(layer, bias, None) is not None:
        yield UnitAxis(f"{plan.name}.{bias}", 0, kind.made(plan.output))
