"""Where modules live and how they stand: device, memory format, cores, evaluation mode."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import overload

import torch
from torch import Tensor
from torch import nn

from dpod_search.errors import MAX_PROCESSES
from dpod_search.errors import ConfigError
from dpod_search.errors import check_count
from dpod_search.errors import show
from dpod_search.inputs import Samples


# Nobody has tried `xpu`; it is left to those who can.
_DEVICE = re.compile(r"(cpu|cuda|mps|xpu)(:[0-9]{1,3})?")


@dataclass(frozen=True)
class Placement:
    """Where a module's pictures must be.

    Args:
        device: The module's.
        is_channels_last: Pictures (N, C, H, W) are stored with the channels last, like the
            module's weights. Convolutions trained about 1.5 times faster so on the CPU.
    """

    device: torch.device
    is_channels_last: bool = False

    @overload
    def put(self, samples: Tensor) -> Tensor: ...

    @overload
    def put(self, samples: Samples) -> Samples: ...

    def put(self, samples: Samples) -> Samples:
        """Move samples there; nothing is copied if they are there already."""
        if not isinstance(samples, Tensor):
            return samples.map(self.put)
        if self.is_channels_last and samples.ndim == 4:
            return samples.to(self.device, memory_format=torch.channels_last)
        return samples.to(self.device)


def device_of(module: nn.Module) -> torch.device:
    """Return the device of a module's first parameter (the CPU if it has none)."""
    parameter = next(module.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device


def placement_of(module: nn.Module) -> Placement:
    """Return where a module's pictures must be, judged by its weights."""
    # A weight of one input channel or a 1 x 1 kernel is contiguous in both formats.
    is_channels_last = any(p.ndim == 4 and not p.is_contiguous() for p in module.parameters())
    return Placement(device_of(module), is_channels_last)


def place_module(
    module: nn.Module, device: torch.device, *, is_channels_last: bool = True
) -> nn.Module:
    """Move a module to a device in place and return it.

    Args:
        module: Keeps its parameters; only where and how they are stored changes.
        device: Where to.
        is_channels_last: Store 4-d weights channels last. A model that calls ``view`` on its
            feature maps cannot have it.
    """
    module.to(device)
    wanted = torch.channels_last if is_channels_last else torch.contiguous_format
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.ndim == 4:
            tensor.data = tensor.data.contiguous(memory_format=wanted)
    return module


def parse_device(name: str) -> torch.device:
    """Return the device of a name, whether or not it is there.

    Raises:
        ConfigError: If it is none that a net could run on. PyTorch also knows ``meta``, where
            tensors have no values, devices of which nothing is left but the name, and numbers
            that no machine counts to.
    """
    try:
        if _DEVICE.fullmatch(name):
            return torch.device(name)
    except RuntimeError:
        pass
    raise ConfigError(f"device must be cpu, cuda, cuda:<n> or mps, got {show(name)}")


def check_parallel(name: str, n: int, *, low: int = 1) -> None:
    """Raise unless this machine can bear so many threads or processes at once.

    A study may be read on another machine than it runs on, so this is asked where they are made,
    before the first of them.

    Args:
        name: The setting as the user spells it, for the message.
        n: How many.
        low: Fewest allowed.

    Raises:
        ConfigError: If they are more than four for each core, and more than 16; or too few.
    """
    check_count(name, n, low=low, high=MAX_PROCESSES)
    n_cores = os.cpu_count() or 1
    limit = max(16, 4 * n_cores)
    if n > limit:
        raise ConfigError(
            f"{name} must be <= {limit} on this machine, which has {n_cores} cores, got {n:,}"
        )


@contextmanager
def limit_threads(n_threads: int | None, *, name: str = "threads") -> Iterator[None]:
    """Let PyTorch use so many threads inside the block; None leaves it as it is.

    Args:
        n_threads: How many.
        name: The setting they come from, for the message.

    Raises:
        ConfigError: If this machine cannot bear them, see :func:`check_parallel`.
    """
    if n_threads is not None:
        check_parallel(name, n_threads)
    before = torch.get_num_threads()
    try:
        if n_threads is not None:
            torch.set_num_threads(n_threads)
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put a module in evaluation mode inside the block, and every part of it back after it.

    Args:
        module: May hold parts in either mode, a BatchNorm that is kept fixed for instance.
    """
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode
