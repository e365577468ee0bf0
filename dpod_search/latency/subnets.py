"""Measured latency of one module or subnet: the median time of a forward pass."""

from __future__ import annotations

import copy
from typing import Protocol

import torch
from torch import Tensor
from torch import nn

from dpod_search.latency.bench import Bench
from dpod_search.latency.request import check_timeable
from dpod_search.latency.request import extract_net
from dpod_search.latency.request import find_reference
from dpod_search.latency.request import make_images
from dpod_search.latency.timing import Latency
from dpod_search.placement import Placement
from dpod_search.placement import device_of
from dpod_search.placement import place_module
from dpod_search.supernet import Subnet


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


def measure_latency(
    module: nn.Module,
    images: Tensor,
    *,
    backend: str = "eager",
    device: torch.device | None = None,
    n_threads: int | None = None,
    max_seconds: float = 1.0,
    bench: Bench | None = None,
) -> Latency:
    """Time forward passes of a copy of a module, in evaluation mode, in turn with a reference net.

    Args:
        module: It is left as it was.
        images: The batch, shape (N, C, ...).
        backend: What runs it: ``eager``, ``compile`` or ``onnxruntime``.
        device: Where; None where the module is.
        n_threads: CPU threads meanwhile; None leaves their number as it is.
        max_seconds: Time after which no more bursts of passes begin, though five are timed in any
            case. Less is taken if the interval of the median is within two per cent before.
        bench: What measures, in place of one made of backend, device and threads. The latencies
            of one bench are comparable however the machine drifts; those of two agree as far as
            the machine was the same when each was made.

    Returns:
        The median and its interval.

    Raises:
        ConfigError: If the backend is unknown or missing, or cannot run the module.
    """
    if bench is None:
        where = device or device_of(module)
        bench = Bench(backend, where, n_threads=n_threads, batch_size=len(images))
    with bench:
        return bench.time(copy.deepcopy(module), images, max_seconds=max_seconds)


def measure_subnet_latency(
    subnet: Runnable,
    *,
    backend: str = "eager",
    device: torch.device | None = None,
    batch_size: int = 1,
    n_threads: int | None = None,
    max_seconds: float = 1.0,
    images: Tensor | None = None,
    bench: Bench | None = None,
) -> Latency:
    """Cut a subnet out and measure how long the plain module takes.

    Args:
        subnet: In a supernet, or finetuned.
        backend: As for :func:`measure_latency`.
        device: Where it runs; None where the subnet is.
        batch_size: Pictures in a forward pass, 1 to 1,000,000.
        n_threads: As for :func:`measure_latency`.
        max_seconds: As for :func:`measure_latency`.
        images: What is run, in place of ``batch_size`` random pictures.
        bench: As for :func:`measure_latency`.

    Raises:
        ConfigError: If the backend is unknown or missing, or cannot run the subnet.
    """
    placement = subnet.placement
    module = place_module(
        subnet.extract(), placement.device, is_channels_last=placement.is_channels_last
    )
    if images is None:
        images = make_images(subnet.input_shape, batch_size)
    if bench is None:
        where = device or placement.device
        bench = Bench(backend, where, n_threads=n_threads, batch_size=len(images))
    with bench:
        return bench.time(module, images, max_seconds=max_seconds)


def make_subnet_bench(
    subnet: Runnable,
    *,
    backend: str = "eager",
    batch_size: int = 1,
    n_threads: int | None = None,
    images: Tensor | None = None,
) -> Bench:
    """Make a bench for many subnets like one.

    Args:
        subnet: Of a supernet: the bench times in turn with a narrow net of it. A finetuned one knows
            of none, and is timed in turn with a net of this package.
        backend: As for :func:`measure_latency`.
        batch_size: Pictures in a forward pass.
        n_threads: As for :func:`measure_latency`.
        images: What is run, in place of ``batch_size`` random pictures.

    Raises:
        ConfigError: If the backend is unknown or missing, or cannot run the net.
    """
    n_images = batch_size if images is None else len(images)
    device = subnet.placement.device
    bench = Bench(backend, device, n_threads=n_threads, batch_size=n_images)
    if isinstance(subnet, Subnet):
        if images is None:
            check_timeable(subnet.supernet)
        narrow = extract_net(subnet.supernet, find_reference(subnet.supernet).widths)
        given = make_images(subnet.input_shape, batch_size) if images is None else images
        with bench:
            bench.refer_to(narrow, given)
    return bench
