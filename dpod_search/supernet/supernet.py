"""The supernet: a copy of the user's model whose every channel group can run narrower."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch import nn

from dpod_search.errors import GroupingError
from dpod_search.errors import check_range
from dpod_search.placement import Placement
from dpod_search.placement import placement_of
from dpod_search.supernet.groups import discover_groups
from dpod_search.supernet.layers import ElasticLayer
from dpod_search.supernet.layers import make_elastic
from dpod_search.supernet.layout import is_elastic
from dpod_search.supernet.layout import take
from dpod_search.supernet.modes import evaluating
from dpod_search.supernet.plans import ChannelGroup
from dpod_search.supernet.plans import Grouping
from dpod_search.supernet.plans import LayerPlan
from dpod_search.supernet.state import WidthState
from dpod_search.supernet.trace import trace_model
from dpod_search.widths import DEFAULT_RATIOS
from dpod_search.widths import Widths
from dpod_search.widths import WidthSpace


_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SupernetSettings:
    """Which widths the supernet offers.

    Args:
        ratios: Width ratios in (0, 1], the same ladder for every group; 1 is always added.
        multiple: Widths are rounded up to a multiple of this (8 suits many devices).
    """

    ratios: tuple[float, ...] = DEFAULT_RATIOS
    multiple: int = 1

    def __post_init__(self) -> None:
        """Check the ranges."""
        for ratio in self.ratios:
            check_range("supernet.ratios", ratio, low=1e-6, high=1)
        check_range("supernet.multiple", self.multiple, low=1)


class Supernet(nn.Module):
    """A weight-sharing parent of all the subnets of a width space.

    Build one with :func:`build_supernet`. Forward runs the subnet of the active widths.

    Args:
        net: The user's model with elastic layers in place of plain ones.
        grouping: What discovery found in it.
        space: The widths it offers.
        state: The active widths, shared with the elastic layers of ``net``.
        example_shape: Shape (C, ...) of one sample.
    """

    def __init__(
        self,
        net: nn.Module,
        grouping: Grouping,
        space: WidthSpace,
        state: WidthState,
        example_shape: tuple[int, ...],
    ) -> None:
        """Join the parts that :func:`build_supernet` made."""
        super().__init__()
        self.training = net.training
        self.net = net
        self.grouping = grouping
        self.space = space
        self.example_shape = example_shape
        self.calibration_images: Tensor | None = None
        self._state = state
        # Parameters that the user's own code reads: no layer slices them, so forward does.
        self._sliced = tuple(
            plan
            for plan in grouping.layers
            if plan.kind == "parameter" and is_elastic(plan.output)
        )

    @property
    def groups(self) -> tuple[ChannelGroup, ...]:
        """The elastic channel groups, in the order of the space."""
        return self.grouping.groups

    @property
    def widths(self) -> Widths:
        """The widths that are active now."""
        return Widths(self.space.names, self._state.widths)

    @contextmanager
    def active(self, widths: Mapping[str, int]) -> Iterator[None]:
        """Run the supernet at the given widths inside the block.

        Args:
            widths: An active width for every group; must belong to ``space``.

        Raises:
            ConfigError: If the widths are not of this space.
        """
        chosen = widths if isinstance(widths, Widths) else self.space.make(widths)
        self.space.check(chosen)
        before = self._state.widths
        self._state.widths = chosen.active
        try:
            yield
        finally:
            self._state.widths = before

    def forward(self, images: Tensor) -> Tensor:
        """Run the subnet of the active widths.

        Args:
            images: Shape (N, *example_shape).

        Returns:
            What the user's model returns, (N, n_classes) for a classifier.
        """
        if self._sliced:
            parts = {
                plan.name: take(parameter, plan.axis, plan.output, self._state.widths)
                for plan, parameter in self._own_parameters()
            }
            sliced: Tensor = torch.func.functional_call(self.net, parts, (images,))
            return sliced
        result: Tensor = self.net(images)
        return result

    def _own_parameters(self) -> Iterator[tuple[LayerPlan, nn.Parameter]]:
        for plan in self._sliced:
            yield plan, self.net.get_parameter(plan.name)


@dataclass(frozen=True)
class Subnet:
    """One choice of widths inside a supernet; what a custom objective receives.

    Args:
        supernet: The weight-sharing parent.
        widths: The active width of every group.
    """

    supernet: Supernet
    widths: Widths

    def __call__(self, images: Tensor) -> Tensor:
        """Run the subnet on a batch; shapes as :meth:`Supernet.forward`."""
        with self.supernet.active(self.widths):
            result: Tensor = self.supernet(images)
        return result

    @property
    def placement(self) -> Placement:
        """Where its pictures must be."""
        return placement_of(self.supernet)

    @property
    def device(self) -> torch.device:
        """Where the supernet is."""
        return self.placement.device

    def extract(self) -> nn.Module:
        """Return the subnet as a plain module; see :func:`extract_subnet`."""
        return extract_subnet(self.supernet, self.widths)


def build_supernet(
    model: nn.Module,
    example_input: Tensor,
    *,
    ratios: Sequence[float] = DEFAULT_RATIOS,
    multiple: int = 1,
) -> Supernet:
    """Turn a model into a supernet.

    Args:
        model: Any module that takes one tensor and that ``torch.fx`` can trace. It is copied.
        example_input: Shape (N, C, ...), N >= 1: what the model is given.
        ratios: Width ratios in (0, 1] that every channel group may take.
        multiple: Round widths up to a multiple of this.

    Returns:
        The supernet, at full width; its ``groups`` can be narrowed, its ``grouping.frozen``
        cannot, each with the reason.

    Raises:
        GroupingError: If the model cannot be traced or nothing in it can be narrowed.
        ConfigError: If ratios or multiple are out of range.
    """
    traced = trace_model(model, example_input)
    grouping = discover_groups(traced)
    supernet = _assemble(model, grouping, example_input, ratios, multiple)
    if _runs_narrow(supernet, example_input):
        return supernet
    failing = _find_failing_groups(supernet, example_input)
    if failing:
        _logger.warning("kept at full width because narrower runs fail: %s", sorted(failing))
        grouping = discover_groups(traced, keep=failing)
        supernet = _assemble(model, grouping, example_input, ratios, multiple)
    if not _runs_narrow(supernet, example_input):
        last = next(reversed(traced.graph.nodes)).all_input_nodes
        raise GroupingError(
            "the model does not run with several of its groups narrowed at once "
            f"(output made by {traced.where(last[0]) if last else 'nothing'}); "
            "it probably has sizes written into its code"
        )
    return supernet


def extract_subnet(supernet: Supernet, widths: Mapping[str, int]) -> nn.Module:
    """Cut a subnet out of a supernet as a plain module.

    Args:
        supernet: The weight-sharing parent.
        widths: An active width for every group.

    Returns:
        A copy of the user's model, of the user's own classes, with plain layers of the active
        sizes. Its BatchNorm statistics are those the supernet holds: calibrate first.

    Raises:
        ConfigError: If the widths are not of the supernet's space.
    """
    with supernet.active(widths):
        layers = [m for m in supernet.net.modules() if isinstance(m, ElasticLayer)]
        # deepcopy takes what its memo already holds for a copy: plain layers for elastic ones.
        memo: dict[int, object] = {id(layer): layer.extract() for layer in layers}
        for plan, parameter in supernet._own_parameters():
            part = take(parameter.detach(), plan.axis, plan.output, supernet.widths.active)
            memo[id(parameter)] = nn.Parameter(part.clone(), parameter.requires_grad)
        return copy.deepcopy(supernet.net, memo)


def _assemble(
    model: nn.Module,
    grouping: Grouping,
    example_input: Tensor,
    ratios: Sequence[float],
    multiple: int,
) -> Supernet:
    full_widths = {group.name: group.full_width for group in grouping.groups}
    space = WidthSpace.from_ratios(full_widths, ratios, multiple)
    state = WidthState(space.full.active)
    net = copy.deepcopy(model)
    modules = dict(net.named_modules())
    memo = {
        id(modules[plan.name]): make_elastic(modules[plan.name], plan, state)
        for plan in grouping.layers
        if plan.kind != "parameter" and (is_elastic(plan.output) or is_elastic(plan.weight_input))
    }
    # A second deepcopy with a filled memo puts the elastic layers wherever the plain ones were.
    tensors = {id(t): t for t in (*net.parameters(), *net.buffers())}
    net = copy.deepcopy(net, {**memo, **tensors})
    return Supernet(net, grouping, space, state, tuple(example_input.shape[1:]))


def _runs_at(supernet: Supernet, widths: Widths, example_input: Tensor) -> bool:
    """Say whether a subnet runs, agrees with its extracted twin, and keeps the output shape."""
    try:
        with evaluating(supernet), torch.no_grad():
            full = supernet(example_input)
            with supernet.active(widths):
                narrow = supernet(example_input)
                plain = extract_subnet(supernet, widths)(example_input)
        return narrow.shape == full.shape and torch.allclose(narrow, plain, rtol=1e-3, atol=1e-4)
    except (RuntimeError, ValueError, IndexError, TypeError, AttributeError, AssertionError):
        return False


def _runs_narrow(supernet: Supernet, example_input: Tensor) -> bool:
    """Say whether the smallest subnet runs, and one in which the groups differ in their rungs."""
    space = supernet.space
    choices = [space.smallest, space.sample(np.random.default_rng(0))]
    return all(_runs_at(supernet, widths, example_input) for widths in choices)


def _find_failing_groups(supernet: Supernet, example_input: Tensor) -> set[str]:
    space = supernet.space
    return {
        name
        for name, rungs in zip(space.names, space.rungs, strict=True)
        for width in {rungs[0], rungs[len(rungs) // 2], rungs[max(0, len(rungs) - 2)]}
        if not _runs_at(supernet, space.full.replace(name, width), example_input)
    }
