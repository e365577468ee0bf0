"""What a layer is to a clock: its kind, its geometry and what follows it, but not its widths."""

from __future__ import annotations

import math
import operator
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor
from torch import nn

from dpod_search.errors import DataError


# Activations by their own name: what follows a layer with nothing in between is timed with it.
ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "hardswish": nn.Hardswish,
    "hardsigmoid": nn.Hardsigmoid,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "sigmoid": nn.Sigmoid,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "mish": nn.Mish,
}
NORM = "norm"
_CONVS: dict[int, type[nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_TRANSPOSED: dict[int, type[nn.Module]] = {
    1: nn.ConvTranspose1d,
    2: nn.ConvTranspose2d,
    3: nn.ConvTranspose3d,
}
_NORMS: dict[int, type[nn.Module]] = {
    0: nn.BatchNorm1d,
    1: nn.BatchNorm1d,
    2: nn.BatchNorm2d,
    3: nn.BatchNorm3d,
}


@dataclass(frozen=True)
class LayerSpec:
    """A convolution or linear layer of any widths, with the norm and activation behind it.

    Args:
        kind: ``conv``, ``transposed`` or ``linear``.
        size: Height and width of its input (or as many axes as it has); for a linear layer the
            axes between the batch and the features.
        kernel: Kernel size along each axis; empty for a linear layer.
        stride: Along each axis.
        padding: Along each axis.
        dilation: Along each axis.
        output_padding: Along each axis, of a transposed convolution.
        conv_group: Input and output channels of each of its ``conv_groups``, (1, 1) for a
            depthwise convolution; empty if it has one group of all channels.
        has_bias: Whether it has a bias.
        followers: What is timed with it, in order: ``norm`` and names of activations.
        full: Input and output channels at full width, so that layers of other widths have tables
            of their own; empty where that is all the same.
    """

    kind: str
    size: tuple[int, ...]
    kernel: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    output_padding: tuple[int, ...] = ()
    conv_group: tuple[int, ...] = ()
    has_bias: bool = False
    followers: tuple[str, ...] = ()
    full: tuple[int, ...] = ()

    def build(self, n_inputs: int, n_outputs: int, *, batch_size: int) -> tuple[nn.Module, Tensor]:
        """Make the layer at widths of its own, and pictures for it.

        Args:
            n_inputs: Size of dimension 1 of its weight: its input channels, but those of one
                group where there are several.
            n_outputs: Its output channels.
            batch_size: Pictures.

        Returns:
            The layer in evaluation mode with random weights, and random pictures.
        """
        n_channels, conv_groups = n_inputs, 1
        if self.conv_group:
            conv_groups = n_outputs // self.conv_group[1]
            n_channels = conv_groups * self.conv_group[0]
        layer = self._build_layer(n_channels, n_outputs, conv_groups)
        generator = torch.Generator().manual_seed(0)
        if self.kind == "linear":
            shape: tuple[int, ...] = (batch_size, *self.size, n_channels)
        else:
            shape = (batch_size, n_channels, *self.size)
        behind = (
            self._build_norm(n_outputs) if n == NORM else ACTIVATIONS[n]() for n in self.followers
        )
        return nn.Sequential(layer, *behind).eval(), torch.randn(shape, generator=generator)

    def describe(self) -> str:
        """Return it in words, for messages."""
        size = "x".join(map(str, self.size)) or "1"
        kernel = "x".join(map(str, self.kernel))
        return " ".join(filter(None, [self.kind, kernel, f"at {size}", *self.followers]))

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values, defaults left out."""
        own = {f.name: f.default for f in fields(self)}
        changed = {name: v for name, v in asdict(self).items() if v != own[name]}
        return {name: list(v) if isinstance(v, tuple) else v for name, v in changed.items()}

    @classmethod
    def from_json(cls, value: object) -> LayerSpec:
        """Read what :meth:`to_json` gave.

        Raises:
            DataError: If it is no layer that can be built.
        """
        if not isinstance(value, dict) or not {"kind", "size"} <= set(value):
            raise DataError(f"{value!r} describes no layer")
        unknown = sorted(set(value) - {field.name for field in fields(cls)})
        if unknown:
            raise DataError(f"a layer has the unknown property {unknown[0]!r}")
        if not isinstance(value["kind"], str) or type(value.get("has_bias", False)) is not bool:
            raise DataError(f"{value!r} describes no layer")
        lists = {n: v for n, v in value.items() if n not in ("kind", "has_bias")}
        for name, entries in lists.items():
            kind = str if name == "followers" else int
            if not isinstance(entries, list) or any(type(entry) is not kind for entry in entries):
                raise DataError(f"{name} of a layer cannot be {entries!r}")
        tuples: dict[str, Any] = {n: tuple(v) for n, v in lists.items()}
        spec = cls(**{**value, **tuples})
        spec._check()
        return spec

    def _check(self) -> None:
        if self.kind not in ("conv", "transposed", "linear"):
            raise DataError(f"a layer cannot be of kind {self.kind!r}")
        numbers = (
            *self.size,
            *self.kernel,
            *self.stride,
            *self.dilation,
            *self.conv_group,
            *self.full,
        )
        if min(numbers, default=1) < 1 or min(self.padding + self.output_padding, default=0) < 0:
            raise DataError(f"a layer cannot have the sizes of {self.to_json()}")
        n_axes = len(self.size)
        if self.kind == "linear":
            n_axes = 0
        elif n_axes not in _CONVS:
            raise DataError(f"a convolution has one to three axes, got the size {self.size}")
        of_output = n_axes if self.kind == "transposed" else 0
        due = (n_axes, n_axes, n_axes, n_axes, of_output)
        axes = (self.kernel, self.stride, self.padding, self.dilation, self.output_padding)
        pairs = (len(self.full), len(self.conv_group))
        if tuple(map(len, axes)) != due or not set(pairs) <= {0, 2} or (not n_axes and pairs[1]):
            raise DataError(f"a layer has properties that do not fit each other: {self.to_json()}")
        spans = (d * (k - 1) + 1 for d, k in zip(self.dilation, self.kernel, strict=True))
        padded = (n + 2 * p for n, p in zip(self.size, self.padding, strict=False))
        steps = zip(self.output_padding, self.stride, self.dilation, strict=False)
        is_too_small = self.kind == "conv" and any(map(operator.lt, padded, spans))
        if is_too_small or any(extra >= max(others) for extra, *others in steps):
            raise DataError(f"a layer has properties that do not fit each other: {self.to_json()}")
        for name in self.followers:
            if name != NORM and name not in ACTIVATIONS:
                raise DataError(f"{name!r} cannot follow a layer; known are norm and activations")

    def _build_layer(self, n_inputs: int, n_outputs: int, conv_groups: int) -> nn.Module:
        if self.kind == "linear":
            return nn.Linear(n_inputs, n_outputs, bias=self.has_bias)
        shared = {
            "kernel_size": self.kernel,
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "groups": conv_groups,
            "bias": self.has_bias,
        }
        if self.kind == "transposed":
            shared["output_padding"] = self.output_padding
            return _TRANSPOSED[len(self.kernel)](n_inputs, n_outputs, **shared)
        return _CONVS[len(self.kernel)](n_inputs, n_outputs, **shared)

    def _build_norm(self, n_channels: int) -> nn.Module:
        return _NORMS[len(self.kernel)](n_channels)


def read_spec(
    layer: nn.Module, input_shape: tuple[int, ...], followers: tuple[str, ...]
) -> LayerSpec | None:
    """Describe a layer of a model.

    Args:
        layer: A plain convolution or linear layer.
        input_shape: Shape of its input, the batch first.
        followers: What follows it.

    Returns:
        None if it is another layer, or one that cannot be rebuilt.
    """
    if isinstance(layer, nn.Linear):
        size = tuple(input_shape[1:-1])
        if size and NORM in followers:  # it counts tokens as its channels, and not features
            followers = followers[: followers.index(NORM)]
        return LayerSpec("linear", size, has_bias=layer.bias is not None, followers=followers)
    if not isinstance(layer, nn.modules.conv._ConvNd) or isinstance(layer.padding, str):
        return None
    if layer.padding_mode != "zeros" or math.prod(input_shape) == 0:
        return None
    conv_group: tuple[int, ...] = ()
    if layer.groups > 1:
        conv_group = (layer.in_channels // layer.groups, layer.out_channels // layer.groups)
    return LayerSpec(
        kind="transposed" if layer.transposed else "conv",
        size=tuple(input_shape[2:]),
        kernel=tuple(layer.kernel_size),
        stride=tuple(layer.stride),
        padding=tuple(layer.padding),
        dilation=tuple(layer.dilation),
        output_padding=tuple(layer.output_padding) if layer.transposed else (),
        conv_group=conv_group,
        has_bias=layer.bias is not None,
        followers=followers,
    )
