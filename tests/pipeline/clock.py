"""A clock that counts instead of timing: what nets take is known, and nothing is disturbed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field
from functools import partial

import pytest
from torch import Tensor
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from dpod_search.latency import Bench
from dpod_search.latency import Latency


LATENCY = (
    "latency.n_fit=8",
    "latency.n_held_out=4",
    "latency.n_grid=2",
    "latency.seconds=0.01",
)
MS_PER_MAC = 1e-5
MS_PER_LAYER = 2e-3


@dataclass
class FakeClock:
    """Nets take so long for each layer and each multiply-add.

    Args:
        truth: What becomes of the milliseconds of whole nets; layers stay as they are.
        timed: Milliseconds of all that was timed, in order.
        fails_at: The timing, counted from 1, at which the process is interrupted.
    """

    truth: Callable[[float], float] = lambda ms: ms
    timed: list[float] = field(default_factory=list)
    fails_at: int | None = None

    def attach(self, monkeypatch: pytest.MonkeyPatch) -> FakeClock:
        """Let every bench ask this clock."""
        monkeypatch.setattr(
            Bench, "prepare", lambda bench, module, images: partial(module.eval(), images)
        )
        monkeypatch.setattr(
            Bench, "time_run", lambda bench, run, **options: self._time(run.func, *run.args)
        )
        return self

    def _time(self, module: nn.Module, images: Tensor) -> Latency:
        if len(self.timed) + 1 == self.fails_at:
            self.fails_at = None
            raise KeyboardInterrupt
        macs, n_layers = count_macs(module, images)
        ms = MS_PER_MAC * macs + MS_PER_LAYER * n_layers
        # A single layer stands in a small module of its own.
        ms = ms if n_layers == 1 else self.truth(ms)
        self.timed.append(ms)
        return Latency(ms, ms, ms, 5)


def count_macs(module: nn.Module, images: Tensor) -> tuple[int, int]:
    """Count the multiply-adds and the layers that have some."""
    found: list[int] = []

    def note(layer: nn.Module, inputs: object, output: Tensor) -> None:
        weight = layer.weight
        n_positions = output.numel() // (len(images) * weight.shape[0])
        found.append(weight.numel() * n_positions)

    layers = [m for m in module.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    handles = [layer.register_forward_hook(note) for layer in layers]
    module.eval()(images)
    for handle in handles:
        handle.remove()
    if not layers:  # a packed net is a list of operators
        with FlopCounterMode(display=False) as counter:
            module(images)
        return counter.get_total_flops() // (2 * len(images)), 2
    return sum(found), len(found)
