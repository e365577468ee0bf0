"""PyTorch as it is: one operation after the other."""

from __future__ import annotations

import torch
from torch import Tensor
from torch import nn

from dpod_search.latency.timing import Run
from dpod_search.placement import place_module
from dpod_search.placement import placement_of


class EagerBackend:
    """Runs modules in eager mode, channels last where the module's weights are."""

    name = "eager"

    def find_version(self) -> str:
        """Return PyTorch's version."""
        return f"torch {torch.__version__.split('+')[0]}"

    def prepare(
        self, module: nn.Module, images: Tensor, *, device: torch.device, n_threads: int
    ) -> Run:
        """Move the module and its pictures to the device."""
        return make_run(module, images, device)


def make_run(module: nn.Module, images: Tensor, device: torch.device) -> Run:
    """Return what runs a module, which is moved to the device, on a batch."""
    is_channels_last = placement_of(module).is_channels_last
    place_module(module, device, is_channels_last=is_channels_last)
    module.eval()
    batch = placement_of(module).put(images.to(device))

    def run() -> None:
        with torch.inference_mode():
            module(batch)
            wait_for(device)

    return run


def wait_for(device: torch.device) -> None:
    """Wait until an accelerator has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
