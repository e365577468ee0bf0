"""Measured latency: the median time of a forward pass of a plain module.

A clock is noisy. The median forgives what else the machine did for a moment, its interval says
how much it may be trusted, but neither knows of a clock rate that changes, or of work beside.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch import nn

from dpod_search.placement import Placement
from dpod_search.placement import limit_threads
from dpod_search.placement import place_module
from dpod_search.placement import placement_of
from dpod_search.rng import torch_generator
from dpod_search.supernet.modes import evaluating


N_WARM_UP = 3
WARM_UP = 0.1  # of the time: a processor takes a while to clock up, whatever a pass takes
MIN_RUNS = 5
TOLERANCE = 0.02  # half the interval, as a share of the median
Z_95 = 1.96


class Runnable(Protocol):
    """A subnet that can be cut out: in a supernet, or finetuned."""

    @property
    def placement(self) -> Placement:
        """Where its pictures must be."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape (C, ...) of one sample."""

    def extract(self) -> nn.Module:
        """Return it as a plain module."""


@dataclass(frozen=True)
class Latency:
    """What a clock said.

    Args:
        median_ms: Milliseconds of one forward pass of the batch.
        low_ms: Lower end of the median's 95 % interval.
        high_ms: Upper end.
        n_runs: Forward passes timed.
    """

    median_ms: float
    low_ms: float
    high_ms: float
    n_runs: int

    @classmethod
    def of(cls, times_ms: Sequence[float]) -> Latency:
        """Return the median of times, and its interval by order statistics."""
        ordered, n = sorted(times_ms), len(times_ms)
        # As many of n times are below the true median as heads fall in n throws of a coin.
        radius = Z_95 * math.sqrt(n) / 2
        low = ordered[max(0, math.floor(n / 2 - radius))]
        high = ordered[min(n - 1, math.ceil(n / 2 + radius))]
        return cls((ordered[(n - 1) // 2] + ordered[n // 2]) / 2, low, high, n)

    @property
    def is_narrow(self) -> bool:
        """Whether the interval is so narrow that more runs would tell little."""
        return self.high_ms - self.low_ms <= 2 * TOLERANCE * self.median_ms


def measure_subnet_latency(
    subnet: Runnable,
    *,
    batch_size: int = 1,
    n_threads: int | None = None,
    max_seconds: float = 1.0,
    images: Tensor | None = None,
) -> Latency:
    """Cut a subnet out and measure how long the plain module takes.

    Args:
        subnet: In a supernet, or finetuned.
        batch_size: Pictures in a forward pass, >= 1.
        n_threads: As for :func:`measure_latency`.
        max_seconds: As for :func:`measure_latency`.
        images: What is run, in place of ``batch_size`` random pictures.
    """
    placement = subnet.placement
    module = place_module(
        subnet.extract(), placement.device, is_channels_last=placement.is_channels_last
    )
    if images is None:
        generator = torch_generator(0, "latency")
        images = torch.randn((batch_size, *subnet.input_shape), generator=generator)
    return measure_latency(module, images, n_threads=n_threads, max_seconds=max_seconds)


def measure_latency(
    module: nn.Module, images: Tensor, *, n_threads: int | None = None, max_seconds: float = 1.0
) -> Latency:
    """Time forward passes of a module, in evaluation mode, where it is.

    The passes of the first tenth of the time warm up and do not count. Then one is timed after the
    other, until the interval of their median is within two per cent of it to either side, or the
    time is up.

    Args:
        module: It is left as it was.
        images: The batch, shape (N, C, ...).
        n_threads: CPU threads of PyTorch meanwhile; None leaves their number as it is.
        max_seconds: Time after which no more passes begin, though five are timed in any case.

    Returns:
        The median and its interval.
    """
    placement = placement_of(module)
    batch = placement.put(images)
    with evaluating(module), torch.no_grad(), limit_threads(n_threads):
        start = time.perf_counter()
        times: list[float] = []
        while len(times) < N_WARM_UP or time.perf_counter() - start < WARM_UP * max_seconds:
            times.append(_time_pass(module, batch, placement.device))
        times.clear()
        n_looked_at = MIN_RUNS
        while True:
            times.append(_time_pass(module, batch, placement.device))
            is_over = time.perf_counter() - start >= max_seconds
            if len(times) < (MIN_RUNS if is_over else n_looked_at):
                continue
            latency = Latency.of(times)
            if is_over or latency.is_narrow:
                return latency
            # Sorting after every pass would take longer than small nets do.
            n_looked_at = math.ceil(1.2 * len(times))


def _time_pass(module: nn.Module, batch: Tensor, device: torch.device) -> float:
    start = time.perf_counter()
    module(batch)
    _wait_for(device)
    return 1e3 * (time.perf_counter() - start)


def _wait_for(device: torch.device) -> None:
    """Wait until an accelerator has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
