"""What a backend gives."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch import nn

from dpod_search.latency.timing import Run


class Backend(Protocol):
    """Something that runs nets."""

    @property
    def name(self) -> str:
        """As settings and tables call it."""

    def find_version(self) -> str:
        """Return the version of what runs the nets.

        Raises:
            ConfigError: If it is not installed.
        """

    def prepare(
        self, module: nn.Module, images: Tensor, *, device: torch.device, n_threads: int
    ) -> Run:
        """Make a net ready to run on some pictures again and again.

        Args:
            module: In evaluation mode; it may be moved to the device.
            images: The batch, shape (N, C, ...).
            device: Where it runs.
            n_threads: CPU threads; PyTorch's own are set already.

        Returns:
            What runs it once and waits until it is done.

        Raises:
            ConfigError: If this backend cannot run it.
        """
