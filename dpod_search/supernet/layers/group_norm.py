"""GroupNorm: channels are narrowed by whole groups, or freely if there is only one."""

from __future__ import annotations

from fractions import Fraction

import torch
from torch import Tensor
from torch import fx
from torch import nn
from torch.nn import functional

from dpod_search.supernet.dimensions.walk import Axes
from dpod_search.supernet.dimensions.walk import Discovery
from dpod_search.supernet.dimensions.walk import freeze_inputs
from dpod_search.supernet.dimensions.walk import keep_groups_whole
from dpod_search.supernet.layers.kind import LayerKind
from dpod_search.supernet.layers.norm_calls import are_vectors
from dpod_search.supernet.layers.norm_calls import list_vectors
from dpod_search.supernet.layers.norm_calls import share_channels
from dpod_search.supernet.layers.state import ElasticLayer
from dpod_search.supernet.layers.state import fill_plain
from dpod_search.supernet.layout import fixed
from dpod_search.supernet.layout import scale
from dpod_search.supernet.plans import Scratch
from dpod_search.supernet.tracing.tracer import argument


def normalize_groups(discovery: Discovery, node: fx.Node) -> Axes:
    """GroupNorm: channels are narrowed by whole groups, or freely if there is only one."""
    module = discovery.module(node)
    assert isinstance(module, nn.GroupNorm)
    source = discovery.first_input(node)
    inputs = discovery.layout(source, 1)
    per_group = module.num_channels // module.num_groups
    if module.num_groups > 1 and not keep_groups_whole(discovery, node, inputs, per_group):
        inputs = fixed(module.num_channels)
    discovery.freeze_axes(source, f"{discovery.where(node)} averages over it", but=1)
    discovery.record(node, inputs=inputs, weight_input=fixed(1), output=inputs)
    groups = scale(inputs, Fraction(1, per_group)) if module.num_groups > 1 else fixed(1)
    statistics = (8.0, (discovery.layout(source, 0), groups))
    discovery.scratch[node] = (Scratch((statistics,), has_result=True),)
    return {1: inputs}


def normalize_grouped(discovery: Discovery, node: fx.Node) -> Axes:
    """GroupNorm as a function: by whole groups, or freely if there is only one."""
    source = argument(node, 0, "input", None)
    n_groups = argument(node, 1, "num_groups", None)
    vectors = list_vectors(node, 2)
    if not isinstance(n_groups, int) or not are_vectors(discovery, vectors):
        return freeze_inputs(discovery, node, "makes groups of a number that is computed")
    n_channels = discovery.shapes[source][1]
    channels = discovery.layout(source, 1)
    where, per_group = discovery.where(node), n_channels // n_groups
    groups = fixed(1)
    if n_groups > 1:
        if not keep_groups_whole(discovery, node, channels, per_group):
            channels = fixed(n_channels)
        groups = scale(channels, Fraction(1, per_group))
    for vector in vectors:
        share_channels(discovery, node, vector, channels)
    if not discovery.sizes.bind(n_groups, groups, where):
        discovery.dims.freeze(channels, f"{where} makes a number of groups written in the code")
    discovery.freeze_axes(source, f"{where} averages over it", but=1)
    statistics = (8.0, (discovery.layout(source, 0), groups))
    discovery.scratch[node] = (Scratch((statistics,), has_result=True),)
    return {1: channels}


class ElasticGroupNorm(ElasticLayer, nn.GroupNorm):
    """A GroupNorm that can run at several widths; its groups keep their size."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise the active channels; shapes as the plain layer's."""
        weight, bias = self._vectors("weight", "bias")
        return functional.group_norm(input, self._norm_groups(), weight, bias, self.eps)

    def extract(self) -> nn.Module:
        """Return a plain GroupNorm of the active size with copies of the active weights."""
        weight, bias = self._vectors("weight", "bias")
        plain = nn.GroupNorm(
            self._norm_groups(), self._active_size(), self.eps, self.affine, device="meta"
        )
        return fill_plain(plain, self, weight=weight, bias=bias)

    def _norm_groups(self) -> int:
        if self.num_groups == 1:
            return 1
        return self._active_size() // (self.num_channels // self.num_groups)


def _resize(layer: nn.GroupNorm) -> None:
    layer.num_channels = len(layer.weight)


GROUP_NORM = LayerKind(
    name="group_norm",
    twins={nn.GroupNorm: ElasticGroupNorm},
    handler=normalize_groups,
    calls=dict.fromkeys((functional.group_norm, torch.group_norm), normalize_grouped),
    makes_units=False,
    is_norm=True,
    resize=_resize,
)
