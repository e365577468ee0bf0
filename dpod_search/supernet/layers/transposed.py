"""Transposed convolutions: how channels pass through them, and how they run narrow.

The weight is the other way round, (input, output / conv_groups, *kernel), and each *input* position
is multiplied by all of the kernel.
"""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import torch
from torch import Tensor
from torch import fx
from torch import nn
from torch.nn import functional
from torch.nn.modules.conv import _ConvTransposeNd

from dpod_search.supernet.dimensions.spatial import freeze_sizes
from dpod_search.supernet.dimensions.walk import Axes
from dpod_search.supernet.dimensions.walk import Discovery
from dpod_search.supernet.dimensions.walk import freeze_inputs
from dpod_search.supernet.layers.conv import ElasticKernel
from dpod_search.supernet.layers.conv import build_convolution
from dpod_search.supernet.layers.conv import make_channels
from dpod_search.supernet.layers.conv import read_convolution
from dpod_search.supernet.layers.kind import Geometry
from dpod_search.supernet.layers.kind import LayerKind
from dpod_search.supernet.layers.kind import Rebuilder
from dpod_search.supernet.layers.kind import WeightAxes
from dpod_search.supernet.layers.kind import lay_out_channels
from dpod_search.supernet.layers.state import fill_plain
from dpod_search.supernet.layers.weight_calls import convolve_transposed_by
from dpod_search.supernet.layout import Layout
from dpod_search.supernet.layout import fixed
from dpod_search.supernet.layout import scale
from dpod_search.supernet.layout import take
from dpod_search.supernet.plans import LayerPlan
from dpod_search.supernet.plans import plan_layer


def convolve_transposed(discovery: Discovery, node: fx.Node) -> Axes:
    """Transposed convolution: new output channels; a grouped one is narrowed by whole groups."""
    module = discovery.module(node)
    assert isinstance(module, _ConvTransposeNd)
    source = discovery.first_input(node)
    shape = discovery.shapes[source]
    n_spatial = len(module.kernel_size)
    if len(shape) != n_spatial + 2:
        discovery.uncounted.append(discovery.where(node))
        return freeze_inputs(discovery, node, "is given pictures without a batch dimension")
    discovery.freeze_axes(source, f"{discovery.where(node)} slides over it", but=1)
    freeze_sizes(discovery, node, n_spatial)
    name = str(node.target)
    inputs, weight_input, output = make_channels(discovery, node, name, module)
    n_positions = math.prod(shape) // (module.in_channels * discovery.n_samples(node))
    plan = plan_layer(name, module, weight_input, output, n_positions)
    discovery.keep(plan, inputs, discovery.where(node))
    return {1: output}


class ElasticConvTranspose(ElasticKernel, _ConvTransposeNd):
    """A transposed convolution that runs at several widths; one subclass per dimensions."""

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Convolve with the active part of the weight; shapes as the plain layer's."""
        weight, bias = self._active()
        padding = self.padding
        assert not isinstance(padding, str), "the plain layer takes numbers alone"
        output_padding = self._output_padding(
            input,
            output_size,
            list(self.stride),
            list(padding),
            list(self.kernel_size),
            len(self.kernel_size),
            list(self.dilation),
        )
        return type(self).convolve(
            input,
            weight,
            bias,
            self.stride,
            padding,
            output_padding,
            self._conv_groups(),
            self.dilation,
        )

    def extract(self) -> nn.Module:
        """Return a plain layer of the active size with copies of the active weights."""
        weight, bias = self._active()
        conv_groups = self._conv_groups()
        plain = self.plain_type(
            in_channels=weight.shape[0],
            out_channels=weight.shape[1] * conv_groups,
            kernel_size=self.kernel_size,
            stride=self.stride,
            padding=self.padding,
            output_padding=self.output_padding,
            groups=conv_groups,
            bias=bias is not None,
            dilation=self.dilation,
            padding_mode=self.padding_mode,
            device="meta",
        )
        return fill_plain(plain, self, weight=weight, bias=bias)

    def _active(self) -> tuple[Tensor, Tensor | None]:
        plan, widths = self.plan, self.state.widths
        if self.groups == 1:
            weight = take(take(self.weight, 0, plan.weight_input, widths), 1, plan.output, widths)
        else:
            weight = take(self.weight, 0, _grouped_inputs(self, plan), widths)
        (bias,) = self._vectors("bias")
        return weight, bias


class ElasticConvTranspose1d(ElasticConvTranspose, nn.ConvTranspose1d):
    """A 1-d transposed convolution that can run at several widths."""

    plain_type = nn.ConvTranspose1d
    convolve = functional.conv_transpose1d


class ElasticConvTranspose2d(ElasticConvTranspose, nn.ConvTranspose2d):
    """A 2-d transposed convolution that can run at several widths."""

    plain_type = nn.ConvTranspose2d
    convolve = functional.conv_transpose2d


class ElasticConvTranspose3d(ElasticConvTranspose, nn.ConvTranspose3d):
    """A 3-d transposed convolution that can run at several widths."""

    plain_type = nn.ConvTranspose3d
    convolve = functional.conv_transpose3d


def _inputs_first(layer: _ConvTransposeNd, plan: LayerPlan) -> WeightAxes:
    if layer.groups == 1:
        return WeightAxes((plan.weight_input, plan.output), maker=1)
    per_group = layer.out_channels // layer.groups
    return WeightAxes((_grouped_inputs(layer, plan), fixed(per_group)))


def _grouped_inputs(layer: _ConvTransposeNd, plan: LayerPlan) -> Layout:
    # A plan names the outputs; the inputs are as many groups, each of another size.
    return scale(plan.output, Fraction(layer.in_channels, layer.out_channels))


def _resize(layer: _ConvTransposeNd) -> None:
    layer.in_channels, n_outputs = layer.weight.shape[:2]
    layer.out_channels = n_outputs * layer.groups


def _read(layer: _ConvTransposeNd, input_shape: tuple[int, ...]) -> Geometry | None:
    found = read_convolution(layer, input_shape)
    padding = tuple(layer.output_padding)
    return found and replace(found, kind=TRANSPOSED.name, output_padding=padding)


def _build(geometry: Geometry, n_inputs: int, n_outputs: int, conv_groups: int) -> nn.Module:
    padding = geometry.output_padding
    return build_convolution(
        TRANSPOSED, geometry, n_inputs, n_outputs, conv_groups, output_padding=padding
    )


TRANSPOSED = LayerKind(
    name="transposed",
    twins={
        nn.ConvTranspose1d: ElasticConvTranspose1d,
        nn.ConvTranspose2d: ElasticConvTranspose2d,
        nn.ConvTranspose3d: ElasticConvTranspose3d,
    },
    handler=convolve_transposed,
    calls=dict.fromkeys(
        (
            functional.conv_transpose1d,
            functional.conv_transpose2d,
            functional.conv_transpose3d,
            torch.conv_transpose1d,
            torch.conv_transpose2d,
            torch.conv_transpose3d,
        ),
        convolve_transposed_by,
    ),
    lay_out=_inputs_first,
    resize=_resize,
    rebuilder=Rebuilder(
        _read, _build, lay_out_input=lay_out_channels, has_kernel=True, is_transposed=True
    ),
)
