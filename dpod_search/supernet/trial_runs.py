"""Trial runs: narrow subnets against their extracted twins, before anybody relies on either."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from dpod_search.inputs import ModelCall
from dpod_search.placement import Placement
from dpod_search.placement import evaluating
from dpod_search.placement import place_module
from dpod_search.supernet.extract import extract_subnet
from dpod_search.supernet.layers.elastic import kind_of
from dpod_search.supernet.layout import active_size
from dpod_search.supernet.supernet import Supernet
from dpod_search.supernet.tracing.copying import copy_module
from dpod_search.supernet.tracing.recording import tensors_of
from dpod_search.widths import Widths
from dpod_search.widths import WidthSpace


_LARGE = 2  # the level of widths that are the largest but one
_Call = tuple[str, tuple[int, ...]]  # path of a module, shape of its result


class TrialRuns:
    """Runs of narrow subnets on the example input, in evaluation and in training mode.

    Every run is one of a copy that shares the weights: what a model keeps in buffers and
    attributes while it runs stays as it was. Both twins draw the same random
    numbers from PyTorch, NumPy and Python.

    Args:
        supernet: What is tried.
        example: What the net is called with.
        output_shapes: Shapes of the tensors that the full net returns in evaluation mode.
    """

    def __init__(
        self,
        supernet: Supernet,
        example: ModelCall,
        output_shapes: Sequence[tuple[int, ...]],
    ) -> None:
        """Choose the subnets to try."""
        self._supernet = supernet
        self._example = example
        space = supernet.space
        rng = np.random.default_rng(0)
        # The smallest has no block that can go: here all are there, and no group is full.
        mixed = [
            len(rungs) - 1 if rungs[0] == 0 else int(rng.integers(max(1, len(rungs) - 1)))
            for rungs in space.rungs
        ]
        self._smallest, self._mixed = space.smallest, space.from_rungs(mixed)
        self._spread = space.from_rungs(_spread_rungs(space))
        self._shapes = list(output_shapes)
        self._agreed_channels_last = False

    @property
    def _device(self) -> torch.device:
        return self._example.tensors[0].device

    @property
    def _channels_last(self) -> Placement:
        return Placement(self._device, is_channels_last=True)

    def runs_narrow(self) -> bool:
        """Say whether the smallest subnet runs, and two in which groups differ in their rungs."""
        return (
            self._runs_at(self._smallest, trains=False)
            and self._trains_at(self._spread)
            and self._runs_at(self._mixed, trains=True, tries_channels_last=True)
        )

    def runs_channels_last(self) -> bool:
        """Say whether a subnet runs on channels-last tensors, as one with ``view`` often does not.

        The smallest is not asked: with one channel both layouts are the same.
        """
        if self._agreed_channels_last:
            return True
        with evaluating(self._supernet):
            plain = extract_subnet(self._supernet, self._mixed)
        try:
            with torch.no_grad():
                self._example.map(self._channels_last.put).run(place_module(plain, self._device))
        except RuntimeError:
            return False
        return True

    def find_failing_groups(self, *, is_thorough: bool = False) -> set[str]:
        """Return the groups that fail when they alone are narrowed.

        Args:
            is_thorough: Every group is tried alone. Else many are tried at once, and halves of those
                that fail.
        """
        space = self._supernet.space
        if is_thorough:
            return {name for name in space.names if not self._runs_without([name])}
        is_block = {n: rungs[0] == 0 for n, rungs in zip(space.names, space.rungs, strict=True)}
        # What is inside a removed block is not tried.
        return {
            name
            for chosen in (False, True)
            for name in self._find_in_halves([n for n in space.names if is_block[n] is chosen])
        }

    def _find_in_halves(self, names: Sequence[str]) -> set[str]:
        if not names or self._runs_without(names):
            return set()
        if len(names) == 1:
            return set(names)
        middle = len(names) // 2
        return self._find_in_halves(names[:middle]) | self._find_in_halves(names[middle:])

    def _runs_without(self, names: Sequence[str]) -> bool:
        """Say whether the net runs where some groups are narrowed, all at three widths.

        Of several groups each is also narrowed in the runs that the bits of its number say. So of any
        two one is narrowed while the other is not, at a width that does not broadcast: what must
        share a width with another fails here as it does alone.
        """
        chosen = [(names, level) for level in range(3)]
        if len(names) > 1:
            chosen += [
                ([name for i, name in enumerate(names, 1) if i >> bit & 1], _LARGE)
                for bit in range(len(names).bit_length())
            ]
        return all(self._runs_at(self._narrow(*some), trains=True) for some in reversed(chosen))

    def _narrow(self, names: Sequence[str], level: int) -> Widths:
        """Narrow groups to their smallest, a middle, or their largest widths but one."""
        widths = self._supernet.space.full
        for name, rungs in zip(widths.names, self._supernet.space.rungs, strict=True):
            if name in names:
                place = (0, len(rungs) // 2, max(0, len(rungs) - 2))[level]
                widths = widths.replace(name, rungs[place])
        return widths

    def _runs_at(self, widths: Widths, *, trains: bool, tries_channels_last: bool = False) -> bool:
        """Say whether a subnet runs, agrees with its extracted twin, and keeps the output shapes.

        Args:
            widths: Of the subnet.
            trains: In training mode, too, unless the full net itself cannot train here.
            tries_channels_last: The extracted twin runs on channels-last tensors first, and its
                numbers are compared all the same; only where it fails so is it asked as it is.
        """
        try:
            is_known = tries_channels_last and self._agrees_channels_last_at(widths)
            if not is_known and not self._agrees_at(widths, trains=False):
                return False
        except Exception:  # noqa: BLE001  # whatever the user's code raises at a size it is not for
            return False
        try:
            return not trains or self._agrees_at(widths, trains=True)
        except Exception:  # noqa: BLE001  # as above
            return not self._can_train

    def _trains_at(self, widths: Widths) -> bool:
        """Say whether a subnet agrees with its extracted twin in training mode.

        Evaluation, which is the same code but for a few branches, is asked of other widths, and of
        these where the full net cannot train here.
        """
        try:
            return self._agrees_at(widths, trains=True)
        except Exception:  # noqa: BLE001  # as above
            return not self._can_train and self._runs_at(widths, trains=False)

    def _agrees_channels_last_at(self, widths: Widths) -> bool:
        try:
            agrees = self._agrees_at(widths, trains=False, is_channels_last=True)
        except Exception:  # noqa: BLE001  # as above
            agrees = False
        self._agreed_channels_last = agrees
        return agrees

    @cached_property
    def _can_train(self) -> bool:
        """Whether the full net runs in training mode; a BatchNorm cannot train on one value."""
        try:
            with self._mode(trains=True):
                self._run(self._copy())
        except Exception:  # noqa: BLE001  # as above
            return False
        return True

    @cached_property
    def _is_finite(self) -> bool:
        """Whether all numbers of the full net are finite."""
        with self._mode(trains=False):
            return all(map(_is_finite, self._run(self._copy())))

    def _agrees_at(self, widths: Widths, *, trains: bool, is_channels_last: bool = False) -> bool:
        with self._mode(trains=trains):
            plain = extract_subnet(self._supernet, widths)
            twin = self._copy()
            if trains:
                _drop_nothing(plain)
                _drop_nothing(twin)
            with twin.active(widths):
                narrow = self._run(twin)
            example = self._example
            if is_channels_last:
                plain = place_module(plain, self._device)
                example = example.map(self._channels_last.put)
            with _watching_calls(plain, watches=not trains) as calls:
                extracted = self._run(plain, example)
        if not trains and not self._expects(calls, widths):
            return False
        if not all(map(_is_finite, narrow)) and self._is_finite:
            return False  # the deviation of one channel, say
        shapes = [tuple(tensor.shape) for tensor in narrow]
        wanted = shapes if trains else self._shapes  # training may return auxiliary scores too
        return shapes == wanted == [tuple(tensor.shape) for tensor in extracted] and all(
            torch.allclose(one, other, rtol=1e-3, atol=1e-4, equal_nan=True)
            for one, other in zip(narrow, extracted, strict=True)
        )

    def _expects(self, calls: Counter[_Call], widths: Widths) -> bool:
        """Say whether layers were called as often, and on such sizes, as the graph has it.

        An attribute that is a width may also count repetitions, or decide a branch: both twins
        then agree, and neither is what the footprint counts.
        """
        active = widths.active
        if not all(active[block.group] for block in self._supernet.grouping.blocks):
            return True  # those behind a removed block have other numbers
        net, plans = self._supernet.net, self._supernet.grouping.layers
        layers = {p.name for p in plans if not kind_of(net.get_submodule(p.name)).is_composite}
        wanted = Counter(
            (operation.what, tuple(active_size(axis, active) for axis in operation.axes))
            for operation in self._supernet.grouping.operations
            if operation.kind == "module"
        )
        called = {path for path, _ in wanted} & layers
        return all(calls[call] == n for call, n in (wanted | calls).items() if call[0] in called)

    @contextmanager
    def _mode(self, *, trains: bool) -> Iterator[None]:
        with evaluating(self._supernet):
            self._supernet.train(trains)
            yield

    def _copy(self) -> Supernet:
        net, grouping = self._supernet, self._supernet.grouping
        plans = (*grouping.layers, *grouping.parameters, *grouping.blocks, *grouping.attributes)
        never_changed = (grouping, net.space, *plans, *net.parameters())
        shared: dict[int, Any] = {id(thing): thing for thing in never_changed}
        return copy_module(self._supernet, shared)

    def _run(self, net: nn.Module, example: ModelCall | None = None) -> list[Tensor]:
        device = self._device
        devices = [device] if device.type == "cuda" else []
        with torch.no_grad(), torch.random.fork_rng(devices=devices), _fork_others():
            torch.manual_seed(0)
            return tensors_of(
                (example or self._example).map(Tensor.clone).run(net)
            )  # it may write into it


def _spread_rungs(space: WidthSpace) -> list[int]:
    """Return rungs in which groups beside each other differ, and that do not broadcast.

    Two that must share a width, and are not known to, run well where theirs happen to be the same,
    or one of them is 1. Blocks are all there. None is full where there are rungs enough between, and
    the first groups, whose pictures are the largest, have the lowest: such runs take less time.
    """
    n_met: Counter[int] = Counter()
    places = []
    for rungs in space.rungs:
        last = len(rungs) - 1
        is_block = rungs[0] == 0
        period = max(2, last - 1)
        lowest = min(1, last - 1)
        places.append(last if is_block or last < 1 else lowest + n_met[last] % period)
        n_met[last] += not is_block
    return places


def _drop_nothing(net: nn.Module) -> None:
    """Switch the dropout of PyTorch's modules off: an attention draws it in another order of memory.

    Args:
        net: A copy that is thrown away.
    """
    for module in net.modules():
        if isinstance(module, _DropoutNd):
            module.p = 0.0
        elif isinstance(module, nn.MultiheadAttention | nn.RNNBase):
            module.dropout = 0.0


def _is_finite(tensor: Tensor) -> bool:
    return bool(tensor.isfinite().all())


@contextmanager
def _fork_others() -> Iterator[None]:
    """Seed the global generators of Python and NumPy inside the block, and put them back."""
    of_python, of_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002
        yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)  # noqa: NPY002


@contextmanager
def _watching_calls(net: nn.Module, *, watches: bool) -> Iterator[Counter[_Call]]:
    """Count the calls of every module inside the block, by the shape that it returns.

    Args:
        net: The net.
        watches: Or does nothing, which is faster.
    """
    calls: Counter[_Call] = Counter()

    def watch(path: str) -> Callable[[nn.Module, object, object], None]:
        def note(_module: nn.Module, _inputs: object, output: object) -> None:
            first = output[0] if isinstance(output, tuple) and output else output  # an LSTM's
            if isinstance(first, Tensor):
                calls[path, tuple(first.shape)] += 1

        return note

    parts = net.named_modules() if watches else ()
    handles = [module.register_forward_hook(watch(path)) for path, module in parts]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()
