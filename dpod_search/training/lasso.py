"""Hierarchical group lasso: a penalty that lets whole suffixes of channels go to zero.

A rung of a channel group leaves a suffix of its channels out. For every weight that a group has
an axis of, as the output or as the input, and for every rung below the full width, the penalty
adds the Frobenius norm of the part of the weight that the rung leaves out. Suffixes are nested,
so the last channels are in most of them: they are pressed hardest, and groups of little use end
at few channels. A norm, unlike its square, presses as hard on what is small already.

References:
    Horvath et al.: Maestro, 2023 (arXiv 2308.14929): the hierarchical penalty on suffixes of the
    rank of a factorised layer, with the norms of its two factors, that which makes the rank and
    that which reads it, added.
    Ours: channel groups in place of ranks, so that each weight that makes the channels and each
    that reads them has a norm of its own; suffixes begin at the rungs, where alone a subnet can
    be cut; a norm of zero has the gradient zero. Plain gradient steps bring suffixes near zero,
    and not to it.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from dpod_search.supernet import Layout
from dpod_search.supernet import Supernet
from dpod_search.supernet import groups_of
from dpod_search.supernet import plan_weights
from dpod_search.widths import WidthSpace


class SuffixLasso:
    """The penalty on the suffixes that the rungs of a supernet leave out.

    Args:
        supernet: On its device, where it must stay.
        strength: What the sum of norms is multiplied by, > 0.
    """

    def __init__(self, supernet: Supernet, *, strength: float) -> None:
        """Find the suffixes once."""
        self._strength = strength
        self._terms = list(_find_terms(supernet))

    @torch.no_grad()
    def add_gradients(self) -> Tensor:
        """Add the penalty's gradient to that of every weight.

        Returns:
            The penalty, a number on the weights' device.
        """
        penalty = torch.zeros(())
        for weight, axis, suffixes in self._terms:
            # Squares summed along the other axes first: a suffix costs no more than its channels.
            others = [other for other in range(weight.dim()) if other != axis]
            squares = weight.square().sum(others)
            norms = (suffixes * squares).sum(1).sqrt()
            # The gradient of a norm is weight / norm; at zero it is taken to be zero.
            inverses = torch.where(norms > 0, 1 / norms, 0)
            shape = [-1 if other == axis else 1 for other in range(weight.dim())]
            slopes = (suffixes * inverses[:, None]).sum(0).view(shape)
            if weight.grad is None:  # no net of this step runs it
                weight.grad = torch.zeros_like(weight)
            weight.grad.addcmul_(weight, slopes, value=self._strength)
            penalty = penalty.to(norms.device) + norms.sum()
        return self._strength * penalty


def _find_terms(supernet: Supernet) -> Iterator[tuple[Tensor, int, Tensor]]:
    """Yield each weight with an axis of it, and the suffixes of that axis."""
    for plan in plan_weights(supernet):
        weight = supernet.net.get_parameter(plan.name)
        for axis, layout in enumerate(plan.axes):
            suffixes = _mark_suffixes(layout, supernet.space).to(weight.device)
            if len(suffixes) and weight.requires_grad:
                yield weight, axis, suffixes


def _mark_suffixes(layout: Layout, space: WidthSpace) -> Tensor:
    """Mark the elements of an axis that are in each suffix, shape (suffixes, elements)."""
    rows = [
        torch.cat(list(_mark_suffix(layout, group, width)))
        for group in groups_of(layout)
        for width in space.rungs[group][:-1]
    ]
    return torch.stack(rows) if rows else torch.zeros(0)


def _mark_suffix(layout: Layout, group: int, width: int) -> Iterator[Tensor]:
    for segment in layout:
        marks = torch.zeros(segment.size)
        if segment.group == group:
            marks[int(width * segment.repeat) :] = 1
        yield marks
