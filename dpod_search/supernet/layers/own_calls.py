"""Handlers of functions that a subclass of PyTorch's layers calls with its own tensors.

A class that is a BatchNorm and an activation says ``functional.batch_norm(x, self.running_mean,
...)`` in its forward. The layer is then its module, as if it were PyTorch's own: it is narrowed,
counted and calibrated as that is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import fx
from torch import nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from dpod_search.supernet.dimensions.sizes import name_of
from dpod_search.supernet.dimensions.sizes import reads_shape
from dpod_search.supernet.dimensions.walk import Axes
from dpod_search.supernet.dimensions.walk import Discovery
from dpod_search.supernet.dimensions.walk import Handler
from dpod_search.supernet.dimensions.walk import freeze_inputs
from dpod_search.supernet.dimensions.walk import pin_numbers
from dpod_search.supernet.layers.conv import plan_convolution
from dpod_search.supernet.layers.linear import plan_matrix
from dpod_search.supernet.layers.subclasses import base_layer
from dpod_search.supernet.layers.subclasses import holds_layer_tensors
from dpod_search.supernet.layout import fixed
from dpod_search.supernet.tracing.tracer import argument
from dpod_search.supernet.tracing.tracked import Attribute
from dpod_search.supernet.tracing.tracked import TrackedInt


_NOT_OWN = "is given tensors that are not those of one layer alone"


def normalize_own(discovery: Discovery, node: fx.Node) -> Axes:
    """BatchNorm: carries its input's channels."""
    tensors = ("running_mean", "running_var", "weight", "bias")
    name = _find_owner(discovery, node, tensors)
    if name is None or not isinstance(discovery.modules[name], _BatchNorm):
        return freeze_inputs(discovery, node, _NOT_OWN)
    source = argument(node, 0, "input", None)
    channels = discovery.layout(source, 1)
    discovery.freeze_axes(source, f"{discovery.where(node)} averages over it", but=1)
    _forget_parameters(discovery, name)
    discovery.record(node, inputs=channels, weight_input=fixed(1), output=channels, name=name)
    return {1: channels}


def convolve_own(discovery: Discovery, node: fx.Node) -> Axes:
    """Convolution: new output channels."""
    name = _find_owner(discovery, node, ("weight", "bias"))
    module = None if name is None else discovery.modules[name]
    if name is None or not isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return _freeze_product(discovery, node)
    groups = argument(node, 6, "groups", 1)
    if groups != 1:
        origin = groups.origin if isinstance(groups, TrackedInt) else None
        if origin != Attribute(name, "groups"):
            return _freeze_product(discovery, node)
    elif module.groups != 1:
        return _freeze_product(discovery, node)
    _forget_parameters(discovery, name)
    return plan_convolution(discovery, node, name, module)


def multiply_own(discovery: Discovery, node: fx.Node) -> Axes:
    """Linear layer: new channels on the last axis."""
    name = _find_owner(discovery, node, ("weight", "bias"))
    module = None if name is None else discovery.modules[name]
    if name is None or not isinstance(module, nn.Linear):
        return _freeze_product(discovery, node)
    _forget_parameters(discovery, name)
    return plan_matrix(discovery, node, name, module)


def _freeze_product(discovery: Discovery, node: fx.Node) -> Axes:
    pin_numbers(discovery, node)
    discovery.uncounted.append(discovery.where(node))
    weight = argument(node, 1, "weight", None)
    if isinstance(weight, fx.Node) and weight.op != "get_attr":
        does = f"is given a weight that is computed, by {discovery.where(weight)}"
        return freeze_inputs(discovery, node, does)
    return freeze_inputs(discovery, node, _NOT_OWN)


def _forget_parameters(discovery: Discovery, name: str) -> None:
    for tensor in ("weight", "bias"):
        discovery.parameters.pop(f"{name}.{tensor}", None)


def _find_owner(discovery: Discovery, node: fx.Node, held: tuple[str, ...]) -> str | None:
    """Return the path of the module that an operation is inside of, and whose tensors it reads.

    Args:
        discovery: The walk.
        node: The operation; the tensors follow its first argument.
        held: Names of the tensors, in the module and of the arguments.

    Returns:
        None if they are others, or are read elsewhere too.
    """
    given = {own: argument(node, i + 1, own, None) for i, own in enumerate(held)}
    tensors = [tensor for tensor in given.values() if tensor is not None]
    if not tensors or not all(isinstance(t, fx.Node) and t.op == "get_attr" for t in tensors):
        return None
    name = str(tensors[0].target).rpartition(".")[0]
    module = discovery.modules.get(name)
    if not name or module is None or base_layer(module) is None or not holds_layer_tensors(module):
        return None
    wanted = {own: getattr(module, own) is not None for own in held}
    for own, tensor in given.items():
        if wanted[own] != (tensor is not None) or (tensor and tensor.target != f"{name}.{own}"):
            return None
    inside = discovery.nodes_inside(name)
    is_apart = all(
        user in inside and (reads_shape(user) or _calls_same(user, node))
        for tensor in tensors
        for user in tensor.users
    )
    return name if node in inside and is_apart else None


def _calls_same(user: fx.Node, node: fx.Node) -> bool:
    return user.op == node.op and name_of(user) == name_of(node)


OWN_FUNCTIONS: dict[Callable[..., Any], Handler] = {
    functional.batch_norm: normalize_own,
    functional.conv1d: convolve_own,
    functional.conv2d: convolve_own,
    functional.conv3d: convolve_own,
    functional.linear: multiply_own,
    torch.conv1d: convolve_own,
    torch.conv2d: convolve_own,
    torch.conv3d: convolve_own,
}
