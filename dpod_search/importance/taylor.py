"""Importance by the first-order Taylor term: by how much the loss would change without a unit.

What a unit adds to the net is set to zero where it leaves its layer. To first order that changes
the loss by the sum of output times gradient, and this is a sum over parameters alone: of
weight times gradient over the row of a layer and its bias, since its output is linear in them; of
scale times gradient and shift times gradient where norms alone read the layer, for there the
channel goes with the norm's output. Nothing of it needs the feature maps, and what a layer is
called more than once for is counted as one.

References:
    Molchanov et al.: Importance Estimation for Neural Network Pruning, 2019 (arXiv 1906.10771),
    equation 8 and section 3.2 (gates behind BatchNorm).
    Shen et al.: HALP, 2022 (arXiv 2210.06659), equation 2; Sun et al.: MDP, 2025
    (arXiv 2504.02168): scale and shift of the norm, layers of a residual group added.
    Ours: layers that a depthwise or grouped layer alone reads are not counted besides it, since
    both vanish with one cut; norms behind a concatenation are added up with their signs; of a
    batch the sum is taken before the absolute value, of batches after it.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from dpod_search.data.loader import Batch
from dpod_search.data.loader import Batches
from dpod_search.errors import DataError
from dpod_search.importance.flow import Flow
from dpod_search.importance.makers import Loss
from dpod_search.importance.makers import Maker
from dpod_search.importance.makers import UnitAxis
from dpod_search.importance.makers import add_units
from dpod_search.importance.makers import find_makers
from dpod_search.importance.makers import sum_along
from dpod_search.importance.units import LayerScores
from dpod_search.inputs import call_on
from dpod_search.onednn import find_skipping
from dpod_search.onednn import skipping_before
from dpod_search.placement import evaluating
from dpod_search.placement import placement_of
from dpod_search.supernet import LayerPlan
from dpod_search.supernet import Layout
from dpod_search.supernet import Supernet
from dpod_search.supernet import fixed
from dpod_search.supernet import groups_of
from dpod_search.supernet import kind_of
from dpod_search.tabulated import FloatArray
from dpod_search.tasks.batches import move_targets
from dpod_search.tasks.batches import read_batch


def score_taylor(supernet: Supernet, batches: Batches, loss: Loss) -> Sequence[LayerScores]:
    """Score units by the mean over batches of the loss that would be lost or won without them.

    Args:
        supernet: Run at full width, in evaluation mode. Left as it was, gradients, modes and
            buffers too.
        batches: Pictures and labels.
        loss: What is differentiated.

    Raises:
        DataError: If there is no batch.
    """
    makers = find_cuts(supernet)
    totals = {
        (maker, group): np.zeros(supernet.groups[group].full_width)
        for maker in makers
        for group in maker.groups
    }
    keys = {part.key for maker in makers for part in maker.parts}
    n_batches = 0
    with _undisturbed(supernet, {name for name, _ in keys}):
        for batch in batches:
            terms = _differentiate(supernet, batch, loss, keys)
            for (maker, group), total in totals.items():
                total += np.abs(add_units(maker, group, terms, len(total)))
            n_batches += 1
    if n_batches == 0:
        raise DataError("importance by taylor needs at least one batch of pictures, got none")
    return [
        LayerScores(maker.name, group, total / n_batches, maker.blocks)
        for (maker, group), total in totals.items()
    ]


def find_cuts(supernet: Supernet) -> tuple[Maker, ...]:
    """Return what makes units, with the parameters at which their output is cut off."""
    flow = Flow(supernet)
    plans = {plan.name: plan for plan in supernet.grouping.layers}
    cuts = []
    for maker in find_makers(supernet):
        plan = plans.get(maker.name)
        if plan is None or plan.matrices or _is_composite(supernet, plan):
            cuts.append(maker)
        elif not flow.is_carried(plan):
            parts = [
                UnitAxis(f"{norm.name}.{name}", 0, _keep_groups(norm.output, maker.groups))
                for norm in flow.norms_after(plan)
                for name in ("weight", "bias")
                if getattr(supernet.net.get_submodule(norm.name), name, None) is not None
            ]
            cuts.append(replace(maker, parts=tuple(parts)) if parts else maker)
    return tuple(cuts)


def _is_composite(supernet: Supernet, plan: LayerPlan) -> bool:
    return kind_of(supernet.net.get_submodule(plan.name)).is_composite


def _keep_groups(layout: Layout, groups: Sequence[int]) -> Layout:
    return tuple(
        segment if set(groups_of((segment,))) <= set(groups) else fixed(segment.size)[0]
        for segment in layout
    )


def _differentiate(
    supernet: Supernet, batch: Batch, loss: Loss, keys: Iterable[tuple[str, int]]
) -> dict[tuple[str, int], FloatArray]:
    """Return weight times gradient, summed over all but one axis of each parameter."""
    placement = placement_of(supernet)
    samples, targets = read_batch(batch)
    names = sorted({name for name, _ in keys})
    parameters = [supernet.net.get_parameter(name) for name in names]
    answers = call_on(supernet, placement.put(samples))
    value = loss(answers, move_targets(targets, placement.device))
    gradients: Sequence[Tensor | None] = torch.autograd.grad(value, parameters, allow_unused=True)
    products: dict[str, Tensor] = {
        name: torch.zeros_like(parameter) if gradient is None else parameter.detach() * gradient
        for name, parameter, gradient in zip(names, parameters, gradients, strict=True)
    }
    return {(name, axis): sum_along(products[name], axis) for name, axis in keys}


@contextmanager
def _undisturbed(supernet: Supernet, names: Iterable[str]) -> Iterator[None]:
    """Let the full net be differentiated inside the block, and leave no trace of it."""
    parameters = [supernet.net.get_parameter(name) for name in names]
    learns = [parameter.requires_grad for parameter in parameters]
    buffers = [(buffer, buffer.clone()) for buffer in supernet.buffers()]
    try:
        for parameter in parameters:
            parameter.requires_grad_(True)
        with (
            evaluating(supernet),
            supernet.active(supernet.space.full),
            skipping_before(find_skipping(supernet)),
            torch.enable_grad(),
        ):
            yield
    finally:
        for parameter, was_learning in zip(parameters, learns, strict=True):
            parameter.requires_grad_(was_learning)
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
