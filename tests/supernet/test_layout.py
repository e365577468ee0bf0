"""Cutting one dimension: prefixes of segments, and writing them back."""

from __future__ import annotations

import math

import torch
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from dpod_search.supernet.layout import Layout
from dpod_search.supernet.layout import Segment
from dpod_search.supernet.layout import active_size
from dpod_search.supernet.layout import fixed
from dpod_search.supernet.layout import full_size
from dpod_search.supernet.layout import is_elastic
from dpod_search.supernet.layout import put
from dpod_search.supernet.layout import take
from dpod_search.supernet.layout import take_matrix
from dpod_search.supernet.layout import take_parts


FULL = (3, 5, 2)  # full widths of three groups


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    groups = draw(st.lists(st.sampled_from([None, 0, 1, 2]), min_size=1, max_size=5))
    return tuple(
        Segment(group, 4 if group is None else FULL[group], draw(st.integers(1, 3)))
        for group in groups
    )


def kept_indices(layout: Layout, widths: tuple[int, ...]) -> list[int]:
    kept, start = [], 0
    for segment in layout:
        units = segment.full if segment.group is None else widths[segment.group]
        kept += range(start, start + units * segment.repeat)
        start += segment.full * segment.repeat
    return kept


@settings(max_examples=60)
@given(layouts(), st.tuples(*(st.integers(1, full) for full in FULL)), st.sampled_from([0, 1]))
def test_take_keeps_the_first_units_of_every_segment(
    layout: Layout, widths: tuple[int, ...], dim: int
) -> None:
    size = full_size(layout)
    tensor = torch.arange(2.0 * size).reshape(2, size)
    tensor = tensor.T if dim == 0 else tensor

    part = take(tensor, dim, layout, widths)

    assert torch.equal(part, tensor.index_select(dim, torch.tensor(kept_indices(layout, widths))))
    assert part.shape[dim] == active_size(layout, widths)
    if len(layout) == 1:
        assert part.untyped_storage().data_ptr() == tensor.untyped_storage().data_ptr()


@settings(max_examples=60)
@given(layouts(), st.tuples(*(st.integers(1, full) for full in FULL)))
def test_put_is_the_inverse_of_take(layout: Layout, widths: tuple[int, ...]) -> None:
    before = torch.arange(float(full_size(layout)))
    tensor = before.clone()
    put(tensor, take(tensor, 0, layout, widths) + 100, layout, widths)

    changed = torch.zeros(len(tensor), dtype=torch.bool)
    changed[kept_indices(layout, widths)] = True
    assert torch.equal(tensor, before + 100 * changed)


def test_fixed_dimensions() -> None:
    assert full_size(fixed(7)) == active_size(fixed(7), ()) == 7
    assert not is_elastic(fixed(7))
    assert is_elastic((*fixed(7), Segment(0, 3)))


@settings(max_examples=60)
@given(
    st.tuples(*(st.integers(1, full) for full in FULL)),
    st.tuples(st.sampled_from([0, 1, 2]), st.integers(1, 4)),
    st.tuples(st.sampled_from([0, 1, 2]), st.integers(1, 3)),
    st.booleans(),
    st.sampled_from([(), (2,), (3, 2)]),
)
def test_a_matrix_of_equal_runs_is_cut_as_its_axes_are_one_by_one(
    widths: tuple[int, ...],
    of_rows: tuple[int, int],
    of_columns: tuple[int, int],
    adds_in_place: bool,
    kernel: tuple[int, ...],
) -> None:
    """As the gates of an LSTM are, and what its two directions give; in value and gradient."""
    rows, columns = ((Segment(g, FULL[g]),) * n for g, n in (of_rows, of_columns))
    shape = (full_size(rows), full_size(columns), *kernel)
    weight = torch.arange(1.0, 1 + math.prod(shape)).reshape(shape).requires_grad_()
    weight.grad = torch.ones(shape)
    taken = take_matrix(weight, rows, columns, widths, adds_in_place=adds_in_place)
    expected = take(take(weight, 0, rows, widths), 1, columns, widths)
    assert torch.equal(taken, expected)
    (gradient,) = torch.autograd.grad((expected**2).sum(), weight)
    (taken**2).sum().backward()
    assert torch.equal(weight.grad, 1 + gradient)


def test_a_matrix_that_is_whole_is_no_copy() -> None:
    weight = torch.ones(6, 4)
    rows, columns = (Segment(0, 3),) * 2, (Segment(1, 4),)
    assert take_matrix(weight, rows, columns, (3, 4)) is weight


def test_a_kernel_whose_rows_are_whole_runs_keeps_its_axes() -> None:
    rows, columns = (Segment(0, 3),) * 2, (Segment(1, 4),)
    weight = torch.randn(6, 4, 3, 3, requires_grad=True)
    taken = take_matrix(weight, rows, columns, (3, 2), adds_in_place=True)
    assert torch.equal(taken, weight[:, :2])


@settings(max_examples=60)
@given(
    st.tuples(*(st.integers(1, full) for full in FULL)),
    st.lists(st.tuples(layouts(), layouts()), min_size=1, max_size=3),
    st.tuples(st.sampled_from([0, 1, 2]), st.integers(1, 4)),
    st.booleans(),
)
def test_many_tensors_are_cut_as_each_of_them_alone(
    widths: tuple[int, ...],
    uneven: list[tuple[Layout, Layout]],
    gates: tuple[int, int],
    adds_in_place: bool,
) -> None:
    """Matrices and vectors, of equal runs and others, in value and gradient."""
    rows = (Segment(gates[0], FULL[gates[0]]),) * gates[1]
    axes = [(rows, rows), (rows,), *uneven, *((first,) for first, _ in uneven)]
    tensors = [torch.randn([full_size(layout) for layout in own]) for own in axes]
    for tensor in tensors:
        tensor.requires_grad_().grad = torch.ones_like(tensor)
    parts = list(zip(tensors, axes, strict=True))
    taken = take_parts(parts, widths, adds_in_place=adds_in_place)
    expected = []
    for tensor, own in parts:
        part = tensor
        for dim, layout in enumerate(own):
            part = take(part, dim, layout, widths)
        expected.append(part)
    gradients = torch.autograd.grad(sum((part**2).sum() for part in expected), tensors)
    sum((part**2).sum() for part in taken).backward()
    for part, alone in zip(taken, expected, strict=True):
        assert torch.equal(part, alone)
    for tensor, gradient in zip(tensors, gradients, strict=True):
        assert torch.equal(tensor.grad, 1 + gradient)


def test_what_is_not_used_of_many_has_no_gradient() -> None:
    rows = (Segment(0, 3),) * 2
    first, second = (torch.randn(6, requires_grad=True) for _ in range(2))
    taken, _ = take_parts([(first, (rows,)), (second, (rows,))], (2,))
    taken.sum().backward()
    assert first.grad is not None
    assert second.grad is None
