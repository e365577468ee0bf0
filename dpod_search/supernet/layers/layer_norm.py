"""LayerNorm and RMSNorm: over the channels of each place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch import fx
from torch import nn
from torch.nn import functional

from dpod_search.supernet.dimensions.sizes import reads_shape
from dpod_search.supernet.dimensions.walk import Axes
from dpod_search.supernet.dimensions.walk import Discovery
from dpod_search.supernet.dimensions.walk import freeze_inputs
from dpod_search.supernet.layers.kind import LayerKind
from dpod_search.supernet.layers.norm_calls import are_vectors
from dpod_search.supernet.layers.norm_calls import list_vectors
from dpod_search.supernet.layers.norm_calls import share_channels
from dpod_search.supernet.layers.state import ElasticLayer
from dpod_search.supernet.layers.state import fill_plain
from dpod_search.supernet.layout import fixed
from dpod_search.supernet.plans import Scratch
from dpod_search.supernet.tracing.tracer import argument
from dpod_search.supernet.tracing.tracer import full_name
from dpod_search.supernet.tracing.tracer import name_of


_CHANNELS_FIRST = "torchvision.models.convnext.LayerNorm2d"
_MANY_AXES = "normalises several axes at once"
_OWN_NUMBER = "normalises a number of channels that is written in the code"


def normalize_layer(discovery: Discovery, node: fx.Node) -> Axes:
    """LayerNorm over one axis: carries all axes."""
    module = discovery.module(node)
    assert isinstance(module, nn.LayerNorm)
    source = discovery.first_input(node)
    if len(module.normalized_shape) != 1:
        return freeze_inputs(discovery, node, _MANY_AXES)
    # torchvision's LayerNorm2d moves the channels to the back, and to the front again.
    n_axes = len(discovery.shapes[source])
    axis = 1 if _is_channels_first(module) else n_axes - 1
    inputs = discovery.layout(source, axis)
    discovery.record(node, inputs=inputs, weight_input=fixed(1), output=inputs)
    rows = tuple(discovery.layout(source, i) for i in range(n_axes) if i != axis)
    # A mean and a deviation for each row, which go at once.
    discovery.scratch[node] = (Scratch(((8.0, rows),), has_result=True),)
    return {**discovery.axes(source), axis: inputs}


def _is_channels_first(module: nn.LayerNorm) -> bool:
    """Say whether a LayerNorm is torchvision's, which normalises axis 1 of pictures."""
    return full_name(type(module)) == _CHANNELS_FIRST


def normalize_scale(discovery: Discovery, node: fx.Node) -> Axes:
    """RMSNorm over the last axis: carries all axes."""
    module = discovery.module(node)
    assert isinstance(module, nn.RMSNorm)
    source = discovery.first_input(node)
    if len(module.normalized_shape) != 1:
        return freeze_inputs(discovery, node, _MANY_AXES)
    last = len(discovery.shapes[source]) - 1
    channels = discovery.layout(source, last)
    discovery.record(node, inputs=channels, weight_input=fixed(1), output=channels)
    return {**discovery.axes(source), last: channels}


def normalize_last(discovery: Discovery, node: fx.Node) -> Axes:
    """LayerNorm or RMSNorm as a function, over the last axis: carries all axes."""
    source = argument(node, 0, "input", None)
    n_axes = len(discovery.shapes[source])
    shape = argument(node, 1, "normalized_shape", None)
    vectors = list_vectors(node, 2)
    if _single_size(discovery, shape) is None or not are_vectors(discovery, vectors):
        return freeze_inputs(discovery, node, _MANY_AXES)
    channels = discovery.layout(source, n_axes - 1)
    for vector in vectors:
        share_channels(discovery, node, vector, channels)
    size = _single_size(discovery, shape)  # it may be that of the scale
    if not discovery.sizes.bind(size, channels, discovery.where(node)):
        discovery.dims.freeze(channels, f"{discovery.where(node)} {_OWN_NUMBER}")
    if name_of(node) == "layer_norm":
        rows = tuple(discovery.layout(source, i) for i in range(n_axes - 1))
        # A mean and a deviation for each row, which go at once.
        discovery.scratch[node] = (Scratch(((8.0, rows),), has_result=True),)
    return {**discovery.axes(source), n_axes - 1: channels}


def _single_size(discovery: Discovery, given: Any) -> Any:
    """Return the one size in a shape, None if it has several or is not known."""
    if isinstance(given, Sequence) and len(given) == 1:
        return given[0]
    if not isinstance(given, fx.Node):
        return None
    whole, begin = given, 0
    if name_of(given) == "getitem" and isinstance(given.args[1], slice):
        # The last size of a shape: shape[-1:], of whatever has one.
        is_last = given.args[1] == slice(-1, None, None)
        if not is_last or not isinstance(given.args[0], fx.Node):
            return None
        whole, begin = given.args[0], -1
    if not reads_shape(whole) or not isinstance(whole.args[0], fx.Node):
        return None
    tensor = whole.args[0]
    n_axes = len(discovery.shapes.get(tensor, ()))
    is_one = n_axes == 1 or (n_axes > 1 and begin == -1)
    return discovery.layout(tensor, n_axes - 1) if is_one else None


class ElasticLayerNorm(ElasticLayer, nn.LayerNorm):
    """A LayerNorm over the last axis that can run at several widths."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise the active channels; shapes as the plain layer's."""
        weight, bias = self._vectors("weight", "bias")
        return functional.layer_norm(input, (self._active_size(),), weight, bias, self.eps)

    def extract(self) -> nn.Module:
        """Return a plain LayerNorm of the active size with copies of the active weights."""
        weight, bias = self._vectors("weight", "bias")
        plain = nn.LayerNorm(
            self._active_size(), self.eps, weight is not None, bias is not None, device="meta"
        )
        return fill_plain(plain, self, weight=weight, bias=bias)


class ElasticLayerNorm2d(ElasticLayerNorm):
    """torchvision's LayerNorm over axis 1 of pictures."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise the active channels; shapes as the plain layer's."""
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    def extract(self) -> nn.Module:
        """Return a LayerNorm2d of the active size with copies of the active weights."""
        from torchvision.models.convnext import LayerNorm2d

        weight, bias = self._vectors("weight", "bias")
        plain = LayerNorm2d(
            self._active_size(), self.eps, weight is not None, bias is not None, device="meta"
        )
        return fill_plain(plain, self, weight=weight, bias=bias)


class ElasticRMSNorm(ElasticLayer, nn.RMSNorm):
    """An RMSNorm over the last axis that can run at several widths."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the active channels; shapes as the plain layer's."""
        (weight,) = self._vectors("weight")
        return functional.rms_norm(x, (self._active_size(),), weight, self.eps)

    def extract(self) -> nn.Module:
        """Return a plain RMSNorm of the active size with copies of the active weights."""
        plain = nn.RMSNorm(self._active_size(), self.eps, self.elementwise_affine, device="meta")
        (weight,) = self._vectors("weight")
        return fill_plain(plain, self, weight=weight)


LAYER_NORM = LayerKind(
    name="layer_norm",
    twins={nn.LayerNorm: ElasticLayerNorm, _CHANNELS_FIRST: ElasticLayerNorm2d},
    handler=normalize_layer,
    calls=dict.fromkeys((functional.layer_norm, torch.layer_norm), normalize_last),
    makes_units=False,
    is_norm=True,
)
RMS_NORM = LayerKind(
    name="rms_norm",
    twins={nn.RMSNorm: ElasticRMSNorm},
    handler=normalize_scale,
    calls=dict.fromkeys((functional.rms_norm, torch.rms_norm), normalize_last),
    makes_units=False,
    is_norm=True,
)
