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
    of_rows, of_columns = _read_runs(rows, widths), _read_runs(columns, widths)
    if of_rows is not None and of_columns is not None:
        sizes = zip((of_rows, of_columns), weight.shape, strict=False)
        # What is whole is one run.
        runs = [(n, size) if n * size != whole else (1, whole) for (n, size), whole in sizes]
        cut = [n * size != whole for (n, size), whole in zip(runs, weight.shape, strict=False)]
        is_copied = any(n > 1 for n, _ in runs)
        if not any(cut):
            return weight
        if weight.dim() > 2 and is_copied:  # a kernel keeps its memory format
            return take(take(weight, 0, rows, widths), 1, columns, widths)
        if all(cut) or is_copied or (adds_in_place and any(cut)):
            corner: Tensor = _Corner.apply(weight, *runs, adds_in_place)  # type: ignore[no-untyped-call]
            return corner
    return take(take(weight, 0, rows, widths), 1, columns, widths)


_EqualRuns = tuple[int, int]  # how many, and how long each of them is


def _read_runs(layout: Layout, widths: Sequence[int]) -> _EqualRuns | None:
    """Return the active elements of a dimension as runs of the same units; None if they differ."""
    first = layout[0]
    same = layout.count(first) == len(layout)
    return (len(layout), first.active_size(widths)) if same else None


def _find_corner(matrix: Tensor, rows: _EqualRuns, columns: _EqualRuns) -> Tensor:
    """Return a view of the active elements: as it is, or with an axis more for each of its runs."""
    (n, n_rows), (m, n_columns) = rows, columns
    if n == m == 1:
        return matrix[:n_rows, :n_columns]
    by_run: Tensor = matrix.unflatten(1, (m, -1)).unflatten(0, (n, -1))  # type: ignore[no-untyped-call]
    return by_run[:, :n_rows, :, :n_columns]


class _Corner(torch.autograd.Function):
    """The first rows and columns of a tensor, or of each of its equal runs of them."""

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        weight: Tensor,
        rows: _EqualRuns,
        columns: _EqualRuns,
        adds_in_place: bool,
    ) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.settings = (rows, columns, adds_in_place)  # type: ignore[attr-defined]  # its own place for such
        corner = _find_corner(weight, rows, columns)
        return corner.flatten(2).flatten(0, 1) if rows[0] * columns[0] > 1 else corner

    @staticmethod
    def backward(
        ctx: torch.autograd.function.FunctionCtx, *gradients: Tensor
    ) -> tuple[Tensor | None, None, None, None]:
        (gradient,) = gradients
        (weight,) = ctx.saved_tensors  # type: ignore[attr-defined]  # not in its annotations
        rows, columns, adds_in_place = ctx.settings  # type: ignore[attr-defined]
        if adds_in_place and not _has_hooks(weight) and weight.is_leaf and weight.grad is not None:
            # A full gradient of zeros, filled and added, would move many times as much memory.
            corner = _find_corner(weight.grad, rows, columns)
            corner += gradient.reshape(corner.shape)
            return None, None, None, None
        full = torch.zeros_like(weight)  # in the memory format of the weight
        corner = _find_corner(full, rows, columns)
        corner.copy_(gradient.reshape(corner.shape))
        return full, None, None, None


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
