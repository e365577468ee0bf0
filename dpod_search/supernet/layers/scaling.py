"""Handlers of layers that hold one vector of numbers, an element per channel."""

from __future__ import annotations

from torch import fx
from torch import nn
from torch.nn.modules.instancenorm import _InstanceNorm

from dpod_search.supernet.dimensions.basic import carry
from dpod_search.supernet.dimensions.basic import normalize_batch
from dpod_search.supernet.dimensions.walk import Axes
from dpod_search.supernet.dimensions.walk import Discovery
from dpod_search.supernet.dimensions.walk import freeze_inputs
from dpod_search.supernet.layers.subclasses import layer_type
from dpod_search.supernet.layout import fixed


def normalize_instances(discovery: Discovery, node: fx.Node) -> Axes:
    """InstanceNorm: carries its input's channels."""
    module = discovery.module(node)
    assert isinstance(module, _InstanceNorm)
    n_axes = len(discovery.shapes[discovery.first_input(node)])
    if f"{n_axes - 2}d" != layer_type(module).__name__[-2:]:
        return freeze_inputs(discovery, node, "is given pictures without a batch dimension")
    return normalize_batch(discovery, node)


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


def bend_channels(discovery: Discovery, node: fx.Node) -> Axes:
    """PReLU: carries all axes, with one slope for all channels or a slope for each."""
    module = discovery.module(node)
    assert isinstance(module, nn.PReLU)
    if module.num_parameters == 1:
        return carry(discovery, node)
    source = discovery.first_input(node)
    channels = discovery.layout(source, 1)
    discovery.record(node, inputs=channels, weight_input=fixed(1), output=channels)
    return {**discovery.axes(source), 1: channels}
