"""From a model to a supernet; no wrong answer gets past its trial runs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from typing import Any

from torch import nn

from dpod_search.errors import ConfigError
from dpod_search.errors import GroupingError
from dpod_search.errors import check_count
from dpod_search.errors import check_list
from dpod_search.errors import check_range
from dpod_search.errors import show
from dpod_search.imports import is_import_path
from dpod_search.inputs import Example
from dpod_search.inputs import ModelCall
from dpod_search.inputs import read_example
from dpod_search.supernet.discovery import discover_groups
from dpod_search.supernet.layers.elastic import kind_of
from dpod_search.supernet.layers.elastic import make_elastic
from dpod_search.supernet.layers.state import WidthState
from dpod_search.supernet.lookup import Handlers
from dpod_search.supernet.lookup import OwnHandlers
from dpod_search.supernet.plans import Grouping
from dpod_search.supernet.plans import LayerPlan
from dpod_search.supernet.removal import find_inside
from dpod_search.supernet.removal import find_places
from dpod_search.supernet.supernet import Supernet
from dpod_search.supernet.tracing.copying import copy_module
from dpod_search.supernet.tracing.recording import copy_held
from dpod_search.supernet.tracing.trace import fill_lazy
from dpod_search.supernet.tracing.trace import trace_model
from dpod_search.supernet.trial_runs import TrialRuns
from dpod_search.widths import DEFAULT_RATIOS
from dpod_search.widths import WidthSpace


_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SupernetSettings:
    """Which widths the supernet offers.

    Args:
        ratios: Width ratios, the same ladder for every group: 1 to 1,000 of them, each 1e-6 to 1;
            1 itself is always added.
        multiple: Widths are rounded up to a multiple of this, 1 to 10,000 (8 suits many devices).
        removes_blocks: Residual blocks can be removed, too.
        handlers: ``package.module:name`` of a dictionary that says how channels pass through
            modules and functions of your own; without it those are traced into.
    """

    ratios: tuple[float, ...] = DEFAULT_RATIOS
    multiple: int = 1
    removes_blocks: bool = True
    handlers: str | None = None

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_list("supernet.ratios", self.ratios, low=1, high=1_000)
        for ratio in self.ratios:
            check_range("supernet.ratios", ratio, low=1e-6, high=1)
        check_count("supernet.multiple", self.multiple, low=1, high=10_000)
        if self.handlers is not None and not is_import_path(self.handlers):
            raise ConfigError(
                f"supernet.handlers reads package.module:name, got {show(self.handlers)}"
            )


def build_supernet(
    model: nn.Module,
    example_input: Example,
    *,
    ratios: Sequence[float] = DEFAULT_RATIOS,
    multiple: int = 1,
    removes_blocks: bool = True,
    handlers: OwnHandlers | None = None,
) -> Supernet:
    """Turn a model into a supernet.

    Args:
        model: Any module that ``torch.fx`` can trace. It is copied.
        example_input: Shape (N, C, ...), N >= 1: what the model is given; a tuple of tensors for
            a model that takes several, a dictionary for one that takes them by name, or
            ``(args, kwargs)``, where what is no tensor is given as it is.
        ratios: Width ratios in (0, 1] that every channel group may take, 1 to 1,000 of them.
        multiple: Round widths up to a multiple of this, 1 to 10,000.
        removes_blocks: Residual blocks whose removal leaves the identity can be removed.
        handlers: How channel dimensions pass through operations of your own, by type of module,
            by function, or by name of a method; see docs/handlers.md.

    Returns:
        The supernet, at full width; its ``groups`` can be narrowed, its ``grouping.frozen``
        cannot, each with the reason.

    Raises:
        GroupingError: If the model cannot be traced or nothing in it can be narrowed.
        ConfigError: If ratios or multiple are out of range, or an entry of handlers is no handler.
    """
    example = read_example(example_input)
    table = Handlers(handlers)
    model = fill_lazy(model, example)
    traced = trace_model(
        model, example, is_leaf=table.is_leaf, leaf_functions=table.leaf_functions
    )
    kept: set[str] = set()
    for is_thorough in (False, True, None):
        grouping = discover_groups(
            traced, handlers=table, removes_blocks=removes_blocks, keep=kept
        )
        grouping = replace(grouping, blocks=find_places(traced, example, grouping.blocks))
        supernet = _assemble(model, grouping, example, ratios, multiple)
        runs = TrialRuns(supernet, example, traced.output_shapes)
        if runs.runs_narrow():
            runs_channels_last = runs.runs_channels_last()
            supernet.grouping = replace(grouping, runs_channels_last=runs_channels_last)
            return supernet
        if is_thorough is None:
            break
        failing = runs.find_failing_groups(is_thorough=is_thorough)
        if failing:
            _logger.warning("kept at full width because narrower runs fail: %s", sorted(failing))
        elif is_thorough:
            break
        kept |= failing
    last = next(reversed(traced.graph.nodes)).all_input_nodes
    raise GroupingError(
        "the model does not run with several of its groups narrowed at once "
        f"(output made by {traced.where(last[0]) if last else 'nothing'}); "
        "it probably has sizes written into its code"
    )


def _assemble(
    model: nn.Module,
    grouping: Grouping,
    example: ModelCall,
    ratios: Sequence[float],
    multiple: int,
) -> Supernet:
    full_widths = {group.name: group.full_width for group in grouping.groups}
    blocks = {block.path for block in grouping.blocks}
    space = WidthSpace.from_ratios(
        full_widths, ratios, multiple, blocks=blocks, inside=find_inside(grouping)
    )
    state = WidthState(space.full.active)
    net = copy_module(model, copy_held(model))
    modules = dict(net.named_modules())
    memo = {
        id(modules[plan.name]): make_elastic(modules[plan.name], plan, state)
        for plan in grouping.layers
        if _is_replaced(plan, modules[plan.name])
    }
    # A second copy with a filled memo puts the elastic layers wherever the plain ones were.
    tensors = {id(t): t for t in (*net.parameters(), *net.buffers())}
    everything: dict[int, Any] = {**memo, **tensors}
    for elastic in memo.values():  # an attention holds its output projection
        for name, child in elastic._modules.items():
            elastic._modules[name] = child and copy_module(child, everything)
    net = copy_module(net, everything)
    return Supernet(net, grouping, space, state, example)


def _is_replaced(plan: LayerPlan, layer: nn.Module) -> bool:
    """Say whether a layer must be elastic."""
    return plan.is_elastic or kind_of(layer).is_composite
