"""Trial runs: narrow subnets against their extracted twins, before anybody relies on either."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch import nn

from dpod_search.placement import Placement
from dpod_search.placement import evaluating
from dpod_search.placement import place_module
from dpod_search.supernet.extract import extract_subnet
from dpod_search.supernet.layers.elastic import kind_of
from dpod_search.supernet.layout import active_size
from dpod_search.supernet.supernet import Supernet
from dpod_search.supernet.tracing.example import ExampleCall
from dpod_search.supernet.tracing.recording import tensors_of
from dpod_search.widths import Widths


_Call = tuple[str, tuple[int, ...]]  # path of a module, shape of its result


class TrialRuns:
    """Runs of narrow subnets on the example input, in evaluation and in training mode.

    Every run is one of a copy that shares the weights: what a model keeps in buffers and
    attributes while it runs stays as it was. Both twins draw the same random
    numbers from PyTorch.

    Args:
        supernet: What is tried.
        example: What the net is called with.
        output_shapes: Shapes of the tensors that the full net returns in evaluation mode.
    """

    def __init__(
        self,
        supernet: Supernet,
        example: ExampleCall,
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
        self._choices = [space.smallest, space.from_rungs(mixed)]
        self._shapes = list(output_shapes)

    @property
    def _device(self) -> torch.device:
        return self._example.tensors[0].device

    def runs_narrow(self) -> bool:
        """Say whether the smallest subnet runs, and one in which groups differ in their rungs."""
        smallest, mixed = self._choices
        return self._runs_at(smallest, trains=False) and self._runs_at(mixed, trains=True)

    def runs_channels_last(self) -> bool:
        """Say whether a subnet runs on channels-last tensors, as one with ``view`` often does not.

        The smallest is not asked: with one channel both layouts are the same.
        """
        device = self._device
        with evaluating(self._supernet):
            plain = extract_subnet(self._supernet, self._choices[-1])
        placement = Placement(device, is_channels_last=True)
        try:
            with torch.no_grad():
                self._example.map(placement.put).run(place_module(plain, device))
        except RuntimeError:
            return False
        return True

    def find_failing_groups(self) -> set[str]:
        """Return the groups that fail when they alone are narrowed."""
        space = self._supernet.space
        return {
            name
            for name, rungs in zip(space.names, space.rungs, strict=True)
            for width in {rungs[0], rungs[len(rungs) // 2], rungs[max(0, len(rungs) - 2)]}
            if not self._runs_at(space.full.replace(name, width), trains=True)
        }

    def _runs_at(self, widths: Widths, *, trains: bool) -> bool:
        """Say whether a subnet runs, agrees with its extracted twin, and keeps the output shapes.

        Args:
            widths: Of the subnet.
            trains: In training mode, too, unless the full net itself cannot train here.
        """
        try:
            if not self._agrees_at(widths, trains=False):
                return False
        except Exception:  # noqa: BLE001  # whatever the user's code raises at a size it is not for
            return False
        try:
            return not trains or self._agrees_at(widths, trains=True)
        except Exception:  # noqa: BLE001  # as above
            return not self._can_train

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

    def _agrees_at(self, widths: Widths, *, trains: bool) -> bool:
        with self._mode(trains=trains):
            plain = extract_subnet(self._supernet, widths)
            twin = self._copy()
            with twin.active(widths):
                narrow = self._run(twin)
            with _watching_calls(plain) as calls:
                extracted = self._run(plain)
        if not trains and not self._expects(calls, widths):
            return False
        if self._is_finite and not all(map(_is_finite, narrow)):
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
        shared: dict[int, object] = {id(thing): thing for thing in never_changed}
        return copy.deepcopy(self._supernet, shared)

    def _run(self, net: nn.Module) -> list[Tensor]:
        device = self._device
        devices = [device] if device.type == "cuda" else []
        with torch.no_grad(), torch.random.fork_rng(devices=devices):
            torch.manual_seed(0)
            return tensors_of(self._example.run(net))


def _is_finite(tensor: Tensor) -> bool:
    return bool(tensor.isfinite().all())


@contextmanager
def _watching_calls(net: nn.Module) -> Iterator[Counter[_Call]]:
    """Count the calls of every module inside the block, by the shape that it returns."""
    calls: Counter[_Call] = Counter()

    def watch(path: str) -> Callable[[nn.Module, object, object], None]:
        def note(_module: nn.Module, _inputs: object, output: object) -> None:
            first = output[0] if isinstance(output, tuple) and output else output  # an LSTM's
            if isinstance(first, Tensor):
                calls[path, tuple(first.shape)] += 1

        return note

    handles = [module.register_forward_hook(watch(path)) for path, module in net.named_modules()]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()
