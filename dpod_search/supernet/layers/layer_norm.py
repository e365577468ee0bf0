"""LayerNorm and RMSNorm: over the channels of each place."""

from __future__ import annotations

from torch import Tensor
from torch import fx
from torch import nn
from torch.nn import functional

from dpod_search.supernet.dimensions.walk import Axes
from dpod_search.supernet.dimensions.walk import Discovery
from dpod_search.supernet.dimensions.walk import freeze_inputs
from dpod_search.supernet.layers.group_norm import ElasticScale
from dpod_search.supernet.layers.state import WidthState
from dpod_search.supernet.layers.state import fill_plain
from dpod_search.supernet.layout import active_size
from dpod_search.supernet.layout import fixed
from dpod_search.supernet.layout import take
from dpod_search.supernet.plans import LayerPlan
from dpod_search.supernet.plans import Scratch
from dpod_search.supernet.tracing.tracer import full_name


def normalize_layer(discovery: Discovery, node: fx.Node) -> Axes:
    """LayerNorm over one axis: carries all axes."""
    module = discovery.module(node)
    assert isinstance(module, nn.LayerNorm)
    source = discovery.first_input(node)
    if len(module.normalized_shape) != 1:
        return freeze_inputs(discovery, node, "normalises several axes at once")
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
    return full_name(type(module)) == "torchvision.models.convnext.LayerNorm2d"


def normalize_scale(discovery: Discovery, node: fx.Node) -> Axes:
    """RMSNorm over the last axis: carries all axes."""
    module = discovery.module(node)
    assert isinstance(module, nn.RMSNorm)
    source = discovery.first_input(node)
    if len(module.normalized_shape) != 1:
        return freeze_inputs(discovery, node, "normalises several axes at once")
    last = len(discovery.shapes[source]) - 1
    channels = discovery.layout(source, last)
    discovery.record(node, inputs=channels, weight_input=fixed(1), output=channels)
    return {**discovery.axes(source), last: channels}


class ElasticLayerNorm(ElasticScale, nn.LayerNorm):
    """A LayerNorm over the last axis that can run at several widths."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise the active channels; shapes as the plain layer's."""
        return functional.layer_norm(input, (self._active_size(),), *self._active(), self.eps)

    def extract(self) -> nn.Module:
        """Return a plain LayerNorm of the active size with copies of the active weights."""
        weight, bias = self._active()
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

        weight, bias = self._active()
        plain = LayerNorm2d(
            self._active_size(), self.eps, weight is not None, bias is not None, device="meta"
        )
        return fill_plain(plain, self, weight=weight, bias=bias)


class ElasticRMSNorm(nn.RMSNorm):
    """An RMSNorm over the last axis that can run at several widths."""

    plan: LayerPlan
    state: WidthState

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the active channels; shapes as the plain layer's."""
        return functional.rms_norm(x, (self._active_size(),), self._active(), self.eps)

    def extract(self) -> nn.Module:
        """Return a plain RMSNorm of the active size with copies of the active weights."""
        plain = nn.RMSNorm(self._active_size(), self.eps, self.elementwise_affine, device="meta")
        return fill_plain(plain, self, weight=self._active())

    def _active(self) -> Tensor | None:
        if self._parameters["weight"] is None:
            return None
        return take(self.weight, 0, self.plan.output, self.state.widths)

    def _active_size(self) -> int:
        return active_size(self.plan.output, self.state.widths)
