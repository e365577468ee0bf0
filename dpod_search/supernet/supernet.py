"""The supernet: a copy of the user's model whose every channel group can run narrower."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch import nn

from dpod_search.errors import ConfigError
from dpod_search.inputs import ModelCall
from dpod_search.inputs import Samples
from dpod_search.quantities import count
from dpod_search.quantities import percent
from dpod_search.showing import Sheet
from dpod_search.showing import Shown
from dpod_search.supernet.layers.state import WidthState
from dpod_search.supernet.layout import take
from dpod_search.supernet.parts import list_parts
from dpod_search.supernet.plans import ChannelGroup
from dpod_search.supernet.plans import Grouping
from dpod_search.supernet.removal import RemovedBlock
from dpod_search.supernet.tracing.copying import copy_module
from dpod_search.supernet.tracing.recording import copy_held
from dpod_search.widths import Widths
from dpod_search.widths import WidthSpace


class Supernet(Shown, nn.Module):
    """A weight-sharing parent of all the subnets of a width space.

    Build one with :func:`build_supernet`. Forward runs the subnet of the active widths. At a prompt
    it shows its groups; ``print(supernet)`` shows the tree of its modules, as of any module.

    Args:
        net: The user's model with elastic layers in place of plain ones.
        grouping: What discovery found in it.
        space: The widths it offers.
        state: The active widths, shared with the elastic layers of ``net``.
        example: What the net was traced with.
    """

    def __init__(
        self,
        net: nn.Module,
        grouping: Grouping,
        space: WidthSpace,
        state: WidthState,
        example: ModelCall,
    ) -> None:
        """Join the parts that :func:`build_supernet` made."""
        super().__init__()
        self.training = net.training
        self.net = net
        self.grouping = grouping
        self.space = space
        self.example = example
        self.calibration_images: Samples | None = None
        self._state = state
        # Parameters that the user's own code reads: no layer slices them, so forward does.
        self._sliced = tuple(plan for plan in grouping.parameters if plan.is_elastic)
        # Inner blocks before the ones around them, which hide them.
        self._blocks = sorted(grouping.blocks, key=lambda block: -block.path.count("."))

    def __str__(self) -> str:
        """Return the tree of modules, which a module's own ``repr`` is."""
        return nn.Module.__repr__(self)

    def _describe(self) -> Sheet:
        held = measure_held(self)
        rows = [
            (
                group.name,
                group.kind,
                f"{rungs[0]}..{rungs[-1]}",
                percent(share_of_macs),
                percent(share_of_params),
            )
            for group, rungs, (share_of_macs, share_of_params) in zip(
                self.groups, self.space.rungs, held, strict=True
            )
        ]
        n_params = sum(parameter.numel() for parameter in self.net.parameters())
        facts = [
            ("of", type(self.net).__name__),
            ("rungs", count(max(self.space.n_rungs, default=0))),
            ("parameters", count(n_params)),
            ("groups", count(len(rows))),
            ("modules", "print(supernet)"),
        ]
        columns = ("group", "kind", "widths", "of MACs", "of params")
        tree = ("modules", str(self))
        return Sheet("Supernet", facts, columns, rows, folded=tree)

    @property
    def groups(self) -> tuple[ChannelGroup, ...]:
        """The elastic channel groups, in the order of the space."""
        return self.grouping.groups

    @property
    def example_shape(self) -> tuple[int, ...]:
        """Shape (C, ...) of one sample, of the first input if there are several."""
        return self.example.sample_shape

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

    @contextmanager
    def adding_gradients(self) -> Iterator[None]:
        """Let narrowed weights add their gradients to ``.grad`` themselves inside the block.

        A training step that runs several subnets is cheaper so: a subnet's gradient of a weight
        is added to the part of ``.grad`` that it is of, and not filled up with zeros first. It
        passes autograd by: ``DistributedDataParallel`` and ``torch.autograd.grad`` do not see it.
        Parameters with hooks of their own are left to autograd.
        """
        before = self._state.adds_in_place
        self._state.adds_in_place = True
        try:
            yield
        finally:
            self._state.adds_in_place = before

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the subnet of the active widths.

        Args:
            *args: What the user's model takes: pictures of shape (N, *example_shape).
            **kwargs: What it takes by name.

        Returns:
            What the user's model returns, (N, n_classes) for a classifier.
        """
        with self.arranged():
            if not self._sliced:
                return self.net(*args, **kwargs)
            parts = dict(self._name_parts())
            # Ties are named here: functional_call mixes them up where a module has two paths.
            return torch.func.functional_call(self.net, parts, args, kwargs, tie_weights=False)

    def _name_parts(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the active parts under every name that their parameters have in some module."""
        parts = {id(self.find_tensor(name)): part for name, part in self.slice_parameters()}
        for path, module in self.net.named_modules():
            for name, tensor in (*module._parameters.items(), *module._buffers.items()):
                if id(tensor) in parts:
                    yield f"{path}.{name}".removeprefix("."), parts[id(tensor)]

    @contextmanager
    def arranged(self) -> Iterator[None]:
        """Arrange the modules of the user's own as the active widths need them.

        Inside the block removed blocks are identities, and attributes that are widths have
        their active values. For :meth:`forward` and extraction.
        """
        widths = self._state.widths
        restores: list[Callable[[], None]] = []
        try:
            for plan in self.grouping.attributes:
                module = self.net.get_submodule(plan.module)
                value = getattr(module, plan.name)
                restores.append(functools.partial(setattr, module, plan.name, value))
                setattr(module, plan.name, plan.fill(value, widths))
            for block in self._blocks:
                if not widths[block.group]:
                    restore = _replace_module(self.net, block.path, RemovedBlock())
                    restores.append(restore)
            yield
        finally:
            for restore in reversed(restores):
                restore()

    def slice_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the active parts of the parameters and filters that the user's own code reads."""
        widths = self._state.widths
        for plan in self._sliced:
            if all(widths[block] for block in plan.blocks):
                part = self.find_tensor(plan.name)
                for axis, layout in enumerate(plan.axes):
                    part = take(part, axis, layout, widths)
                yield plan.name, part

    def find_tensor(self, name: str) -> Tensor:
        """Return a parameter or buffer of the net by its path."""
        owner, _, own = name.rpartition(".")
        tensor: Tensor = getattr(self.net.get_submodule(owner), own)
        return tensor


def measure_held(supernet: Supernet) -> list[tuple[float, float]]:
    """Return what of the full net's macs and parameters lies in the layers of each group.

    A layer between two groups counts for both, so that these shares add up to more than 1.

    Args:
        supernet: The net.

    Returns:
        For each group, in the order of the space, two shares in [0, 1].
    """
    parts = list_parts(supernet.grouping)
    n_macs = max(1, sum(part.macs for part in parts))
    n_params = max(1, sum(parameter.numel() for parameter in supernet.net.parameters()))
    held = []
    for group in range(len(supernet.groups)):
        mine = [part for part in parts if group in part.groups]
        macs, params = sum(part.macs for part in mine), sum(part.params for part in mine)
        held.append((macs / n_macs, params / n_params))
    return held


def copy_supernet(supernet: Supernet) -> Supernet:
    """Copy a supernet with weights of its own; what was found in its model is shared."""
    shared = (supernet.grouping, supernet.space, supernet.example, supernet.calibration_images)
    memo = {**copy_held(supernet.net), **{id(thing): thing for thing in shared}}
    return copy_module(supernet, memo)


def check_supernet(value: object) -> None:
    """Raise unless a value is a supernet; a user may well give the model itself.

    Raises:
        ConfigError: If it is not.
    """
    if not isinstance(value, Supernet):
        raise ConfigError(
            f"this takes a supernet, got a {type(value).__name__}; make one with "
            "build_supernet(model, example_input)"
        )


def check_inputs(supernet: Supernet, call: ModelCall) -> None:
    """Raise if the model cannot be called with what it is to be calibrated on.

    Raises:
        ConfigError: If it takes other arguments, or what has samples cannot be told by the lengths.
    """
    try:
        inspect.signature(supernet.net.forward).bind(*call.args, **call.kwargs)
    except TypeError as error:
        raise ConfigError(
            f"the model cannot be called with these samples alone ({error}); give all that it takes: "
            "batches ((first, second), targets), calibration_images=(first, second), or dictionaries "
            "by the names of its arguments"
        ) from error
    known = supernet.example
    if not 1 < len(call.tensors) == len(known.tensors):
        return
    for number, (given, noted) in enumerate(zip(call.tensors, known.tensors, strict=True), 1):
        had, has = known.has_samples(noted), call.has_samples(given)
        # In the example a tensor may be as long as the batch by chance.
        if has != had and not (had and known.n_samples in noted.shape[1:]):
            raise ConfigError(
                f"of the calibration images tensor {number}, of shape {tuple(given.shape)}, "
                f"{'has' if has else 'does not have'} a row for each of {call.n_samples} samples, "
                f"and in the example it {'had' if had else 'had not'}; give as many rows of each "
                "input, and another number of them than what has no samples is long"
            )


def _replace_module(net: nn.Module, path: str, module: nn.Module) -> Callable[[], None]:
    """Put a module in the place of another; returns what puts the other back."""
    owner, _, name = path.rpartition(".")
    modules = net.get_submodule(owner)._modules
    restore = functools.partial(modules.__setitem__, name, modules[name])
    modules[name] = module
    return restore
