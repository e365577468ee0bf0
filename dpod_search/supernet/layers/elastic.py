"""Elastic layers: plain subclasses that run at several widths by slicing views.

An elastic layer shares the parameters of the layer it replaces and reads the active widths
from the one :class:`WidthState` of its supernet. Ordered dropout keeps the *first* channels
(FjORD, Horvath et al., 2021, arXiv 2102.13451), so the weights of a subnet are prefix views.
"""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from dpod_search.errors import GroupingError
from dpod_search.supernet.layers.attention import ElasticMultiheadAttention
from dpod_search.supernet.layers.batch_norm import ElasticBatchNorm
from dpod_search.supernet.layers.batch_norm import ElasticBatchNorm1d
from dpod_search.supernet.layers.batch_norm import ElasticBatchNorm2d
from dpod_search.supernet.layers.batch_norm import ElasticBatchNorm3d
from dpod_search.supernet.layers.batch_norm import ElasticInstanceNorm
from dpod_search.supernet.layers.batch_norm import ElasticInstanceNorm1d
from dpod_search.supernet.layers.batch_norm import ElasticInstanceNorm2d
from dpod_search.supernet.layers.batch_norm import ElasticInstanceNorm3d
from dpod_search.supernet.layers.conv import ElasticConv
from dpod_search.supernet.layers.conv import ElasticConv1d
from dpod_search.supernet.layers.conv import ElasticConv2d
from dpod_search.supernet.layers.conv import ElasticConv3d
from dpod_search.supernet.layers.conv import ElasticConvTranspose
from dpod_search.supernet.layers.conv import ElasticConvTranspose1d
from dpod_search.supernet.layers.conv import ElasticConvTranspose2d
from dpod_search.supernet.layers.conv import ElasticConvTranspose3d
from dpod_search.supernet.layers.group_norm import ElasticGroupNorm
from dpod_search.supernet.layers.layer_norm import ElasticLayerNorm
from dpod_search.supernet.layers.layer_norm import ElasticLayerNorm2d
from dpod_search.supernet.layers.layer_norm import ElasticRMSNorm
from dpod_search.supernet.layers.linear import ElasticLinear
from dpod_search.supernet.layers.linear import ElasticProjection
from dpod_search.supernet.layers.own_classes import own_elastic_type
from dpod_search.supernet.layers.prelu import ElasticPReLU
from dpod_search.supernet.layers.state import WidthState
from dpod_search.supernet.layers.subclasses import base_layer
from dpod_search.supernet.layers.subclasses import layer_type
from dpod_search.supernet.plans import LayerPlan
from dpod_search.supernet.tracing.tracer import full_name


ElasticLayer = (
    ElasticConv
    | ElasticConvTranspose
    | ElasticLinear
    | ElasticMultiheadAttention
    | ElasticBatchNorm
    | ElasticInstanceNorm
    | ElasticLayerNorm
    | ElasticRMSNorm
    | ElasticGroupNorm
    | ElasticPReLU
)

ELASTIC_TYPES: dict[type[nn.Module], type[ElasticLayer]] = {
    nn.Conv1d: ElasticConv1d,
    nn.Conv2d: ElasticConv2d,
    nn.Conv3d: ElasticConv3d,
    nn.ConvTranspose1d: ElasticConvTranspose1d,
    nn.ConvTranspose2d: ElasticConvTranspose2d,
    nn.ConvTranspose3d: ElasticConvTranspose3d,
    nn.Linear: ElasticLinear,
    NonDynamicallyQuantizableLinear: ElasticProjection,
    nn.MultiheadAttention: ElasticMultiheadAttention,
    nn.BatchNorm1d: ElasticBatchNorm1d,
    nn.BatchNorm2d: ElasticBatchNorm2d,
    nn.BatchNorm3d: ElasticBatchNorm3d,
    nn.LayerNorm: ElasticLayerNorm,
    nn.GroupNorm: ElasticGroupNorm,
    nn.InstanceNorm1d: ElasticInstanceNorm1d,
    nn.InstanceNorm2d: ElasticInstanceNorm2d,
    nn.InstanceNorm3d: ElasticInstanceNorm3d,
    nn.RMSNorm: ElasticRMSNorm,
    nn.PReLU: ElasticPReLU,
}
# Layers of other packages, by their full name so that none is imported for it.
NAMED_ELASTIC_TYPES: dict[str, type[ElasticLayer]] = {
    "torchvision.models.convnext.LayerNorm2d": ElasticLayerNorm2d,
}

# Their subclasses may have a forward of their own, which calls the layer's function.
_RUN_THEIR_OWN = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear, _BatchNorm)


def make_elastic(layer: nn.Module, plan: LayerPlan, state: WidthState) -> ElasticLayer:
    """Make the elastic twin of a plain layer, sharing its parameters and buffers.

    Args:
        layer: A layer whose type is a key of ``ELASTIC_TYPES`` or computes as one of them does,
            or a subclass with a forward of its own that calls the layer's function.
        plan: Which channels of it belong to which groups.
        state: The active widths of the supernet it is for.

    Raises:
        GroupingError: If the layer is of another type.
    """
    name = full_name(type(layer))
    kind = ELASTIC_TYPES.get(type(layer)) or NAMED_ELASTIC_TYPES.get(name) or _own_kind(layer)
    if kind is None:  # by a handler of the user's
        raise GroupingError(
            f"{plan.name} has a handler of PyTorch's layers but is a {name}, which cannot run "
            "narrow; take its entry out of handlers"
        )
    elastic: Any = kind.__new__(kind)
    nn.Module.__init__(elastic)
    # Settings such as stride and eps, and the very parameters, are the plain layer's own.
    elastic.__dict__.update({key: _own(value) for key, value in vars(layer).items()})
    elastic.plan, elastic.state = plan, state
    made: ElasticLayer = elastic
    return made


def _own_kind(layer: nn.Module) -> type[nn.Module] | None:
    base = base_layer(layer)
    computes_as_base = layer_type(layer) is not type(layer)
    if base is None or not (computes_as_base or isinstance(layer, _RUN_THEIR_OWN)):
        return None
    elastic_type: Any = ELASTIC_TYPES[base]
    own_type: Any = type(layer)
    own: type[nn.Module] = own_elastic_type(elastic_type, own_type, not computes_as_base)
    return own


def _own(value: object) -> object:
    return value.copy() if isinstance(value, dict) else value
