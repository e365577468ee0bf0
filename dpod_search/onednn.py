"""A way around a fault of oneDNN, which computes convolutions on the CPU.

The gradient of the weights of a 1 x 1 convolution that skips positions is written past its memory
where the channels are stored last and the layer reads fewer of them than a register holds, as
narrow subnets do: wrong gradients, or the end of the process. Without AVX-512, with PyTorch 2.13.

Reference: https://github.com/uxlfoundation/oneDNN/issues/6035
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import ExitStack
from contextlib import contextmanager
from typing import Any

from torch import nn


def find_skipping(module: nn.Module) -> tuple[nn.Conv2d, ...]:
    """Return the 1 x 1 convolutions of a net that do not look at every position."""
    return tuple(
        layer
        for layer in module.modules()
        if isinstance(layer, nn.Conv2d)
        and tuple(layer.kernel_size) == (1, 1)
        and layer.padding in (0, (0, 0), "valid")
        and max(layer.stride) > 1
    )


@contextmanager
def skipping_before(layers: Sequence[nn.Conv2d]) -> Iterator[None]:
    """Take the positions that layers look at out of their inputs, inside the block.

    What is computed is the same. Layers on another device than the CPU are left alone.

    Args:
        layers: From :func:`find_skipping`.
    """
    with ExitStack() as stack:
        for layer in layers:
            if layer.weight.device.type == "cpu":
                stack.enter_context(_skipping(layer))
        yield


@contextmanager
def _skipping(layer: nn.Conv2d) -> Iterator[None]:
    stride = layer.stride

    def take(_: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> Any:
        # Of the one input, however it is given.
        taken = tuple(x[..., :: stride[0], :: stride[1]] for x in inputs)
        return taken, {name: x[..., :: stride[0], :: stride[1]] for name, x in named.items()}

    handle = layer.register_forward_pre_hook(take, with_kwargs=True)
    layer.stride = (1, 1)
    try:
        yield
    finally:
        layer.stride = stride
        handle.remove()
