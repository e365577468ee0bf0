"""What a layer is to a clock: its kind, its geometry and what follows it, but not its widths."""

from __future__ import annotations

import operator
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor
from torch import nn

from dpod_search.errors import DataError
from dpod_search.latency.computed import STEPS
from dpod_search.latency.computed import compute_weight
from dpod_search.supernet import kind_of
from dpod_search.supernet.layers.elastic import kind_named
from dpod_search.supernet.layers.kind import Geometry
from dpod_search.supernet.layers.kind import Rebuilder


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
_REQUIRED = {"kind": str, "size": tuple}
_NORMS: dict[int, type[nn.Module]] = {
    0: nn.BatchNorm1d,
    1: nn.BatchNorm1d,
    2: nn.BatchNorm2d,
    3: nn.BatchNorm3d,
}


@dataclass(frozen=True)
class LayerSpec(Geometry):
    """A layer of any widths, with the norm and activation behind it.

    Args:
        followers: What is timed with it, in order: ``norm`` and names of activations.
        full: Input and output channels at full width, so that layers of other widths have tables
            of their own; empty where that is all the same.
        weight: What computes its weight in each pass, see ``computed.py``; empty if nothing does.
    """

    followers: tuple[str, ...] = ()
    full: tuple[int, ...] = ()
    weight: tuple[str, ...] = ()

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
        rebuilder = self.rebuilder
        layer = rebuilder.build(self, n_channels, n_outputs, conv_groups)
        layer = compute_weight(layer, self.weight)
        generator = torch.Generator().manual_seed(0)
        behind = (
            self._build_norm(n_outputs) if n == NORM else ACTIVATIONS[n]() for n in self.followers
        )
        shape = rebuilder.lay_out_input(self, n_channels, batch_size)
        images = torch.randn(shape, generator=generator)
        return nn.Sequential(layer, *behind).eval(), images

    def describe(self) -> str:
        """Return it in words, for messages."""
        size = "x".join(map(str, self.size)) or "1"
        kernel = "x".join(map(str, self.kernel))
        ways = "bidirectional" if self.is_bidirectional else ""
        layers = f"of {self.n_layers} layers" if self.n_layers > 1 else ""
        computed = "of a computed weight" if self.weight else ""
        kind = self.cell or self.kind
        words = [ways, kind, layers, kernel, f"at {size}", computed, *self.followers]
        return " ".join(filter(None, words))

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
        kinds = {field.name: type(field.default) for field in fields(cls)} | _REQUIRED
        if any(type(v) is not kinds[n] for n, v in value.items() if kinds[n] is not tuple):
            raise DataError(f"{value!r} describes no layer")
        lists = {n: v for n, v in value.items() if kinds[n] is tuple}
        for name, entries in lists.items():
            kind = str if name in ("followers", "weight") else int
            if not isinstance(entries, list) or any(type(entry) is not kind for entry in entries):
                raise DataError(f"{name} of a layer cannot be {entries!r}")
        tuples: dict[str, Any] = {n: tuple(v) for n, v in lists.items()}
        spec = cls(**{**value, **tuples})
        spec._check()
        return spec

    def _check(self) -> None:
        rebuilder = self.rebuilder
        numbers = (
            *self.size,
            *self.kernel,
            *self.stride,
            *self.dilation,
            *self.conv_group,
            *self.full,
            *self.projected,
        )
        if min(numbers, default=1) < 1 or min(self.padding + self.output_padding, default=0) < 0:
            raise DataError(f"a layer cannot have the sizes of {self.to_json()}")
        n_axes = len(self.size) if rebuilder.has_kernel else 0
        if rebuilder.has_kernel and n_axes not in (1, 2, 3):
            raise DataError(f"a convolution has one to three axes, got the size {self.size}")
        of_output = n_axes if rebuilder.is_transposed else 0
        due = (n_axes, n_axes, n_axes, n_axes, of_output)
        axes = (self.kernel, self.stride, self.padding, self.dilation, self.output_padding)
        pairs = (len(self.full), len(self.conv_group))
        is_odd = not set(pairs) <= {0, 2} or (not n_axes and pairs[1])
        if tuple(map(len, axes)) != due or is_odd or not rebuilder.fits(self):
            raise DataError(f"a layer has properties that do not fit each other: {self.to_json()}")
        spans = (d * (k - 1) + 1 for d, k in zip(self.dilation, self.kernel, strict=True))
        padded = (n + 2 * p for n, p in zip(self.size, self.padding, strict=False))
        steps = zip(self.output_padding, self.stride, self.dilation, strict=False)
        is_too_small = not rebuilder.is_transposed and any(map(operator.lt, padded, spans))
        if is_too_small or any(extra >= max(others) for extra, *others in steps):
            raise DataError(f"a layer has properties that do not fit each other: {self.to_json()}")
        for name in self.followers:
            if name != NORM and name not in ACTIVATIONS:
                raise DataError(f"{name!r} cannot follow a layer; known are norm and activations")
        unknown = [step for step in self.weight if step not in STEPS]
        if unknown or (self.weight and self.cell):
            raise DataError(f"a weight cannot be computed by {unknown or self.weight}")

    @property
    def rebuilder(self) -> Rebuilder:
        """What is known of its kind.

        Raises:
            DataError: If it is none that can be built.
        """
        rebuilder = kind_named(self.kind).rebuilder
        if rebuilder is None:
            raise DataError(f"a layer cannot be of kind {self.kind!r}")
        return rebuilder

    def _build_norm(self, n_channels: int) -> nn.Module:
        return _NORMS[len(self.kernel)](n_channels)


def read_spec(
    layer: nn.Module, input_shape: tuple[int, ...], followers: tuple[str, ...]
) -> LayerSpec | None:
    """Describe a layer of a model.

    Args:
        layer: A plain layer.
        input_shape: Shape of its input for one sample, its axis among the others.
        followers: What follows it.

    Returns:
        None if it is a layer that cannot be rebuilt.
    """
    rebuilder = kind_of(layer).rebuilder
    geometry = None if rebuilder is None else rebuilder.read(layer, input_shape)
    if rebuilder is None or geometry is None:
        return None
    return LayerSpec(**vars(geometry), followers=keep_followers(geometry, followers))


def keep_followers(geometry: Geometry, followers: tuple[str, ...]) -> tuple[str, ...]:
    """Return what can be timed with a layer of what follows it."""
    # Behind several places of features a norm counts the places as its channels.
    if not geometry.kernel and geometry.size and NORM in followers:
        return followers[: followers.index(NORM)]
    return followers
