"""How the elements of one tensor dimension belong to channel groups.

A dimension is a row of *segments*. A segment is a prefix-narrowable run of units of one group,
each unit ``repeat`` elements wide: after a convolution there is one segment of ``C`` units; a
flatten of ``C x H x W`` repeats every unit ``H * W`` times; a concat puts segments in a row.

While a graph is walked, a unit is a channel, and ``repeat`` may be a fraction: a grouped
convolution from 128 to 64 channels makes half an element of each. What is found is resolved to
units large enough for every layer, with whole numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor


@dataclass(frozen=True)
class Segment:
    """A run of elements that is narrowed by keeping its first units.

    Args:
        group: Index of the channel group, or None if the run has a fixed size.
        full: Number of units at full width.
        repeat: Elements per unit.
    """

    group: int | None
    full: int
    repeat: int | Fraction = 1

    @property
    def size(self) -> int:
        """Number of elements at full width."""
        return int(self.full * self.repeat)

    def active_size(self, widths: Sequence[int]) -> int:
        """Return the number of elements at the given widths (one per group)."""
        return int((self.full if self.group is None else widths[self.group]) * self.repeat)


Layout = tuple[Segment, ...]


def fixed(size: int) -> Layout:
    """Return the layout of a dimension that never changes its size."""
    return (Segment(None, size),)


def full_size(layout: Layout) -> int:
    """Return the number of elements at full width."""
    return sum(segment.size for segment in layout)


def active_size(layout: Layout, widths: Sequence[int]) -> int:
    """Return the number of elements at the given widths (one per group)."""
    return sum(segment.active_size(widths) for segment in layout)


def is_elastic(layout: Layout) -> bool:
    """Say whether any part of the dimension can be narrowed."""
    return any(segment.group is not None for segment in layout)


def groups_of(layout: Layout) -> tuple[int, ...]:
    """Return the groups of a layout, each once, ascending."""
    return tuple(sorted({segment.group for segment in layout if segment.group is not None}))


def scale(layout: Layout, factor: Fraction) -> Layout:
    """Give every unit of a layout ``factor`` times as many elements."""
    return tuple(
        Segment(segment.group, segment.full, segment.repeat * factor)
        if segment.group is not None
        else Segment(None, int(segment.size * factor))
        for segment in layout
    )


def take(tensor: Tensor, dim: int, layout: Layout, widths: Sequence[int]) -> Tensor:
    """Keep the active elements of one dimension.

    Args:
        tensor: A full tensor whose dimension ``dim`` has ``full_size(layout)`` elements.
        dim: The dimension to narrow.
        layout: How that dimension belongs to the groups.
        widths: Active width of every group.

    Returns:
        A view where one prefix is kept (the common case), else a concatenation of prefixes.
    """
    if len(layout) == 1:
        size = layout[0].active_size(widths)
        return tensor if size == tensor.shape[dim] else tensor.narrow(dim, 0, size)
    return torch.cat([tensor.narrow(dim, *run) for run in _runs(layout, widths)], dim)


def take_matrix(
    weight: Tensor,
    rows: Layout,
    columns: Layout,
    widths: Sequence[int],
    *,
    adds_in_place: bool = False,
) -> Tensor:
    """Keep the active elements of the first two dimensions, as :func:`take` twice would.

    Args:
        weight: Shape (``full_size(rows)``, ``full_size(columns)``, ...).
        rows: Layout of dimension 0.
        columns: Layout of dimension 1.
        widths: Active width of every group.
        adds_in_place: Add the gradient to the part of ``weight.grad`` it is of, past autograd:
            ``torch.autograd.grad`` does not see it. A weight with hooks of its own is left out.

    Returns:
        A view where prefixes are kept; one copy where they are those of equal runs, as gates are.
        Its gradient is written into the full one once: two narrowings in a row would fill two of
        them with zeros.
    """
    layouts = (rows, columns)
    runs = _find_runs(weight, layouts, widths, adds_in_place=adds_in_place)
    if not runs:
        return _take_along(weight, layouts, widths)
    (corner,) = _Corners.apply((runs,), adds_in_place, weight)  # type: ignore[no-untyped-call]
    taken: Tensor = corner
    return taken


def take_parts(
    tensors: Sequence[tuple[Tensor, Sequence[Layout]]],
    widths: Sequence[int],
    *,
    adds_in_place: bool = False,
) -> list[Tensor]:
    """Keep the active elements of several tensors, as :func:`take` along each axis would.

    Cut one by one, the many small weights of a layer with gates cost as much as its kernel does:
    here they are one step of autograd's.

    Args:
        tensors: Each with the layouts of its first axes, one or two.
        widths: Active width of every group.
        adds_in_place: As of :func:`take_matrix`.

    Returns:
        For each tensor what :func:`take_matrix` returns of a weight.
    """
    found = [
        _find_runs(tensor, layouts, widths, adds_in_place=adds_in_place)
        for tensor, layouts in tensors
    ]
    cut = [tensor for (tensor, _), runs in zip(tensors, found, strict=True) if runs]
    at_once = tuple(runs for runs in found if runs)
    corners = iter(_Corners.apply(at_once, adds_in_place, *cut) if cut else ())  # type: ignore[no-untyped-call]
    return [
        next(corners) if runs else _take_along(tensor, layouts, widths)
        for (tensor, layouts), runs in zip(tensors, found, strict=True)
    ]


def _take_along(tensor: Tensor, layouts: Sequence[Layout], widths: Sequence[int]) -> Tensor:
    for dim, layout in enumerate(layouts):
        if active_size(layout, widths) != tensor.shape[dim]:
            tensor = take(tensor, dim, layout, widths)
    return tensor


_EqualRuns = tuple[int, int]  # how many, and how long each of them is
_Runs = tuple[_EqualRuns, ...]  # of each of the first axes


def _find_runs(
    tensor: Tensor, layouts: Sequence[Layout], widths: Sequence[int], *, adds_in_place: bool
) -> _Runs:
    """Return the active elements of each axis as runs of the same units.

    Empty where they differ, and where a gradient for each axis and run costs no more than one of
    its own.
    """
    found, n_cut, is_row = list[_EqualRuns](), 0, False
    for layout, whole in zip(layouts, tensor.shape, strict=False):
        n, first = len(layout), layout[0]
        if n > 1 and layout.count(first) != n:
            return ()
        size = first.active_size(widths)
        if n * size == whole:
            found.append((1, whole))  # what is whole is one run
            continue
        found.append((n, size))
        n_cut += 1
        is_row |= n > 1
    # A kernel of such rows keeps its memory format.
    is_worth_it = tensor.dim() <= 2 if is_row else n_cut == 2 or (adds_in_place and n_cut > 0)
    return tuple(found) if is_worth_it else ()


def _is_row_of_runs(runs: _Runs) -> bool:
    return runs[0][0] > 1 or runs[-1][0] > 1


def _find_corner(tensor: Tensor, runs: _Runs) -> Tensor:
    """Return a view of the active elements: as it is, or with an axis more for each of its runs."""
    if not _is_row_of_runs(runs):
        return tensor[tuple([slice(size) for _, size in runs])]
    sizes, strides = list[int](), list[int]()
    for (n, size), whole, stride in zip(runs, tensor.shape, tensor.stride(), strict=True):
        sizes += [n, size]
        strides += [whole // n * stride, stride]
    return tensor.as_strided(sizes, strides)  # one call, where slices of views are three


class _Corners(torch.autograd.Function):
    """The first rows and columns of tensors, or of each of their equal runs of them."""

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        runs: Sequence[_Runs],
        adds_in_place: bool,
        *tensors: Tensor,
    ) -> tuple[Tensor, ...]:
        ctx.save_for_backward(*tensors)
        ctx.set_materialize_grads(False)
        ctx.settings = (runs, adds_in_place)  # type: ignore[attr-defined]  # its own place for such
        corners = []
        for tensor, own in zip(tensors, runs, strict=True):
            corner = _find_corner(tensor, own)
            if _is_row_of_runs(own):
                corner = corner.reshape([n * size for n, size in own])
            corners.append(corner)
        return tuple(corners)

    @staticmethod
    def backward(
        ctx: torch.autograd.function.FunctionCtx, *gradients: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        runs, adds_in_place = ctx.settings  # type: ignore[attr-defined]  # not in its annotations
        tensors = ctx.saved_tensors  # type: ignore[attr-defined]
        parts = zip(tensors, runs, gradients, strict=True)
        full = [_fill_up(*part, adds_in_place=adds_in_place) for part in parts]
        return None, None, *full


def _fill_up(
    tensor: Tensor, runs: _Runs, gradient: Tensor | None, *, adds_in_place: bool
) -> Tensor | None:
    """Return the gradient of a whole tensor, None if there is none or it is added already."""
    if gradient is None:
        return None
    if adds_in_place and not _has_hooks(tensor) and tensor.is_leaf and tensor.grad is not None:
        # A full gradient of zeros, filled and added, would move many times as much memory.
        corner = _find_corner(tensor.grad, runs)
        corner += gradient.reshape(corner.shape)
        return None
    full = torch.zeros_like(tensor)  # in the memory format of the weight
    corner = _find_corner(full, runs)
    corner.copy_(gradient.reshape(corner.shape))
    return full


def _has_hooks(weight: Tensor) -> bool:
    # A hook on the weight would get None in place of a gradient that went past autograd.
    return bool(weight._backward_hooks or weight._post_accumulate_grad_hooks)


def list_places(layout: Layout, widths: Sequence[int]) -> Tensor:
    """Return the places of the active elements of a dimension, ascending, int64."""
    runs = [torch.arange(start, start + size) for start, size in _runs(layout, widths)]
    return torch.cat(runs)


def put(tensor: Tensor, part: Tensor, layout: Layout, widths: Sequence[int]) -> None:
    """Write what :func:`take` copied out of a one-dimensional tensor back in place."""
    runs = list(_runs(layout, widths))
    pieces = torch.split(part, [size for _, size in runs])
    for (start, size), piece in zip(runs, pieces, strict=True):
        tensor.narrow(0, start, size).copy_(piece)


def _runs(layout: Layout, widths: Sequence[int]) -> list[tuple[int, int]]:
    runs = []
    start = 0
    for segment in layout:
        runs.append((start, segment.active_size(widths)))
        start += segment.size
    return runs
