"""Putting the units of groups in another order, without changing what the full net computes.

Ordered dropout keeps the first units of a group. A net that was trained without it has its
important units anywhere, so they are brought to the front: the rows that make a unit, the vectors
of norms, and the columns that read it move together.

Whether a group can be reordered is tried on a copy in double precision, in which a wrong
order shows far above rounding. The supernet itself is changed once, in the end.

Reference: Cai et al.: Once-for-All, 2019 (arXiv 1908.09791), section 3.3 (channels sorted by
importance before widths shrink).
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch import nn

from dpod_search.errors import ConfigError
from dpod_search.inputs import ModelCall
from dpod_search.placement import device_of
from dpod_search.placement import evaluating
from dpod_search.rng import torch_generator
from dpod_search.supernet.layers.elastic import kind_of
from dpod_search.supernet.layout import Layout
from dpod_search.supernet.layout import fixed
from dpod_search.supernet.layout import is_elastic
from dpod_search.supernet.plans import Grouping
from dpod_search.supernet.plans import ParameterPlan
from dpod_search.supernet.supernet import Supernet
from dpod_search.supernet.supernet import copy_supernet
from dpod_search.supernet.tracing.recording import tensors_of


IntArray = npt.NDArray[np.int64]

N_IMAGES = 2
# Of the largest output: what rounding stays below, in double precision and in a net's own.
_TOLERANCE = 1e-9
_TOLERANCE_SINGLE = 1e-4


@dataclass(frozen=True, eq=False)
class Reordering:
    """What was put in another order.

    Args:
        orders: For each group the former place of the unit at each place, shape (full width,);
            None for blocks, groups without scores and those left as they are.
        left: Why groups that had scores were left as they are, by name.
    """

    orders: tuple[IntArray | None, ...]
    left: Mapping[str, str]


def reorder_units(
    supernet: Supernet,
    scores: Sequence[npt.NDArray[np.float64] | None],
    *,
    inputs: tuple[Tensor, ...] | None = None,
) -> Reordering:
    """Bring the most important units of every group to the front, in place.

    The full net computes what it did, but for rounding. Subnets do not: what is known of them,
    such as evaluations and BatchNorm statistics of narrow widths, is void, and so is the state of an
    optimizer that trained the weights.

    Args:
        supernet: Its weights and statistics are changed.
        scores: For each group a score of each unit, shape (full width,); units of equal score keep
            their order. None for blocks, and for groups to leave.
        inputs: What the net takes, for trying; by default random pictures, or the example that
            the supernet was built with where it takes several tensors, or integers.

    Returns:
        The orders, and the groups that could not be reordered.

    Raises:
        ConfigError: If scores are of other groups or not numbers.
    """
    wanted = _find_orders(supernet, scores)
    with evaluating(supernet), torch.no_grad():
        trial = _Trial(supernet, ModelCall(inputs, {}) if inputs else _draw_call(supernet))
        good = trial.find_movable(wanted)
        orders = {group: wanted[group] for group in sorted(good)}
        _move_units(supernet, orders)
    reason = "the full net computes something else when its units are in another order"
    left = {supernet.groups[g].name: trial.reasons.get(g, reason) for g in wanted if g not in good}
    return Reordering(tuple(orders.get(g) for g in range(len(supernet.groups))), left)


def _find_orders(
    supernet: Supernet, scores: Sequence[npt.NDArray[np.float64] | None]
) -> dict[int, IntArray]:
    if len(scores) != len(supernet.groups):
        raise ConfigError(
            f"scores must be of all {len(supernet.groups)} groups, got {len(scores)}"
        )
    orders = {}
    for index, (group, values) in enumerate(zip(supernet.groups, scores, strict=True)):
        if values is None or group.kind == "block":
            continue
        array = np.asarray(values, dtype=np.float64)
        if array.shape != (group.full_width,) or np.any(np.isnan(array)):
            raise ConfigError(
                f"scores of {group.name} must be {group.full_width} numbers, one a unit, got "
                f"shape {array.shape}{' with NaN' if np.any(np.isnan(array)) else ''}"
            )
        orders[index] = np.argsort(-array, kind="stable")
    return orders


def _draw_call(supernet: Supernet) -> ModelCall:
    """Draw pictures for a net that takes one tensor of numbers; else take the example."""
    device, example = device_of(supernet), supernet.example
    first, *others = example.tensors
    if others or not first.is_floating_point():
        return example.map(lambda tensor: tensor.to(device))
    generator = torch_generator(0, "reorder")
    images = torch.randn(N_IMAGES, *supernet.example_shape, generator=generator)
    return example.map(lambda _: images.to(device))


class _Trial:
    """A copy of a supernet on which orders are tried.

    Args:
        supernet: In evaluation mode.
        call: What it is run on.
    """

    def __init__(self, supernet: Supernet, call: ModelCall) -> None:
        self._full = supernet.space.full
        self._copy = _copy_awake(supernet).double()
        self._call = call.map(lambda x: x.double() if x.is_floating_point() else x)
        self._tolerance = _TOLERANCE
        self.reasons: dict[int, str] = {}
        try:
            self._outputs = self._run()
        except Exception:  # noqa: BLE001  # user's code may take single precision alone
            self._copy = _copy_awake(supernet)
            self._call, self._tolerance = call, _TOLERANCE_SINGLE
            self._outputs = self._run()
        if not all(bool(x.isfinite().all()) for x in self._outputs):
            raise ConfigError(
                "units cannot be reordered while the full net gives numbers that are not finite; "
                "train it anew, or give pictures of its own as inputs=(...)"
            )

    def find_movable(self, orders: Mapping[int, IntArray]) -> set[int]:
        """Return the groups that can be reordered: all, or those found by halving."""
        if not orders:
            return set()
        try:
            _move_units(self._copy, orders)
            is_same = self._is_same(self._run())
        except Exception as error:  # noqa: BLE001  # whatever the user's code raises
            is_same = False
            self.reasons |= dict.fromkeys(orders, f"the full net fails: {error}")
        if is_same:
            return set(orders)
        _move_units(self._copy, {group: np.argsort(order) for group, order in orders.items()})
        if len(orders) == 1:
            return set()
        groups = list(orders)
        found: set[int] = set()
        for half in (groups[: len(groups) // 2], groups[len(groups) // 2 :]):
            found |= self.find_movable({group: orders[group] for group in half})
        return found

    def _run(self) -> list[Tensor]:
        with self._copy.active(self._full):
            return [x.double() for x in tensors_of(self._call.run(self._copy))]

    def _is_same(self, outputs: Sequence[Tensor]) -> bool:
        return len(outputs) == len(self._outputs) and all(
            new.shape == old.shape
            and bool((new - old).abs().max() <= self._tolerance * old.abs().max())
            for new, old in zip(outputs, self._outputs, strict=True)
        )


def _copy_awake(supernet: Supernet) -> Supernet:
    """Copy a supernet, with numbers for parameters that are zero throughout.

    A norm that begins with a scale of zero, or such a head, hides what is in front of it.
    """
    copied = copy_supernet(supernet)
    generator = torch_generator(0, "reorder", "awake")
    for parameter in copied.parameters():
        if parameter.is_floating_point() and not parameter.any():
            parameter.copy_(torch.rand(parameter.shape, generator=generator) + 0.5)
    return copied


def _move_units(supernet: Supernet, orders: Mapping[int, IntArray]) -> None:
    """Move the units of groups in every tensor that has them, each tensor once."""
    done: set[int] = set()
    for tensor, axes in _list_tensors(supernet):
        if id(tensor) in done:
            continue
        done.add(id(tensor))
        for axis, layout in enumerate(axes):
            if any(segment.group in orders for segment in layout):
                index = torch.from_numpy(_find_places(layout, orders)).to(tensor.device)
                tensor.copy_(tensor.index_select(axis, index))


def _list_tensors(supernet: Supernet) -> Iterator[tuple[Tensor, tuple[Layout, ...]]]:
    """Yield all that has an element per unit, with the layout of every axis."""
    net, grouping = supernet.net, supernet.grouping
    filters = (p for p in grouping.parameters if p.is_elastic and not p.is_learnt)
    for plan in (*plan_weights(supernet), *_own_vectors(supernet), *filters):
        yield supernet.find_tensor(plan.name), plan.axes
    for layer in grouping.layers:
        module = net.get_submodule(layer.name)
        for matrix in layer.matrices:
            if matrix.bias and is_elastic(matrix.rows):
                yield module.get_parameter(matrix.bias), (matrix.rows,)
        if is_elastic(layer.output) and (layer.n_vectors or not layer.matrices):
            for vector in _vectors_of(module):
                yield vector, (layer.output,)


def _own_vectors(supernet: Supernet) -> Iterable[ParameterPlan]:
    # Those with more axes are among the weights.
    return (
        p
        for p in supernet.grouping.parameters
        if p.is_elastic and p.is_learnt and len(p.axes) == 1
    )


def _vectors_of(module: nn.Module) -> Iterator[Tensor]:
    """Yield what has an element per output channel."""
    own = (*module.parameters(recurse=False), *module.buffers(recurse=False))
    yield from (tensor for tensor in own if tensor.dim() == 1)


def _find_places(layout: Layout, orders: Mapping[int, IntArray]) -> IntArray:
    """Return the former place of every element of an axis."""
    places, start = [], 0
    for segment in layout:
        run = np.arange(start, start + segment.size)
        order = None if segment.group is None else orders.get(segment.group)
        places.append(run if order is None else run.reshape(segment.full, -1)[order].reshape(-1))
        start += segment.size
    return np.concatenate(places)


def plan_weights(supernet: Supernet) -> tuple[ParameterPlan, ...]:
    """Say of every weight that can be narrowed which groups its axes belong to.

    Args:
        supernet: Whose weights.

    Returns:
        A plan for each parameter of two axes or more, of which one at least is elastic: kernels
        and matrices, not biases nor the vectors of norms. Names are those of ``supernet.net``.
    """
    learnt = (plan for plan in supernet.grouping.parameters if plan.is_learnt)
    plans = [*_plan_layers(supernet.net, supernet.grouping), *learnt]
    return tuple(plan for plan in plans if plan.is_elastic and len(plan.axes) > 1)


def _plan_layers(net: nn.Module, grouping: Grouping) -> Iterator[ParameterPlan]:
    for plan in grouping.layers:
        layer = net.get_submodule(plan.name)
        kind = kind_of(layer)
        for matrix in plan.matrices:
            axes = (matrix.rows, matrix.columns)
            yield ParameterPlan(f"{plan.name}.{matrix.name}", axes, plan.itemsize, plan.blocks)
        if not kind.makes_units or plan.matrices:
            continue
        rest = tuple(fixed(size) for size in getattr(layer, kind.weight).shape[2:])
        whole = (*kind.lay_out(layer, plan).first, *rest)
        yield ParameterPlan(f"{plan.name}.{kind.weight}", whole, plan.itemsize, plan.blocks)
