"""Elastic layers: plain subclasses that run at several widths by slicing views.

An elastic layer shares the parameters of the layer it replaces and reads the active widths
from the one :class:`WidthState` of its supernet. Ordered dropout keeps the *first* channels
(FjORD, Horvath et al., 2021, arXiv 2102.13451), so the weights of a subnet are prefix views.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from typing import ClassVar

from torch import Tensor
from torch import nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from dpod_search.errors import GroupingError
from dpod_search.supernet.layers.attention import ElasticMultiheadAttention
from dpod_search.supernet.layers.conv import ElasticConvTranspose
from dpod_search.supernet.layers.conv import ElasticConvTranspose1d
from dpod_search.supernet.layers.conv import ElasticConvTranspose2d
from dpod_search.supernet.layers.conv import ElasticConvTranspose3d
from dpod_search.supernet.layers.norms import ElasticBatchNorm
from dpod_search.supernet.layers.norms import ElasticBatchNorm1d
from dpod_search.supernet.layers.norms import ElasticBatchNorm2d
from dpod_search.supernet.layers.norms import ElasticBatchNorm3d
from dpod_search.supernet.layers.norms import ElasticGroupNorm
from dpod_search.supernet.layers.norms import ElasticInstanceNorm
from dpod_search.supernet.layers.norms import ElasticInstanceNorm1d
from dpod_search.supernet.layers.norms import ElasticInstanceNorm2d
from dpod_search.supernet.layers.norms import ElasticInstanceNorm3d
from dpod_search.supernet.layers.norms import ElasticLayerNorm
from dpod_search.supernet.layers.norms import ElasticLayerNorm2d
from dpod_search.supernet.layers.norms import ElasticPReLU
from dpod_search.supernet.layers.norms import ElasticRMSNorm
from dpod_search.supernet.layers.own_classes import own_elastic_type
from dpod_search.supernet.layers.state import WidthState
from dpod_search.supernet.layers.state import fill_plain
from dpod_search.supernet.layers.subclasses import base_layer
from dpod_search.supernet.layers.subclasses import layer_type
from dpod_search.supernet.layout import active_size
from dpod_search.supernet.layout import take
from dpod_search.supernet.layout import take_matrix
from dpod_search.supernet.plans import LayerPlan
from dpod_search.supernet.tracing.tracer import full_name


def _take_active(
    weight: Tensor, bias: Tensor | None, plan: LayerPlan, state: WidthState
) -> tuple[Tensor, Tensor | None]:
    """Keep the active part of a weight (outputs first, then inputs) and of its bias."""
    kept = take_matrix(
        weight,
        plan.output,
        plan.weight_input,
        state.widths,
        adds_in_place=state.adds_in_place,
    )
    return kept, None if bias is None else take(bias, 0, plan.output, state.widths)


class ElasticConv(_ConvNd):
    """A convolution that can run at several widths; one subclass per number of dimensions."""

    plan: LayerPlan
    state: WidthState
    plain_type: ClassVar[Callable[..., nn.Module]]
    convolve: ClassVar[Callable[..., Tensor]]

    def forward(self, input: Tensor) -> Tensor:
        """Convolve with the active part of the weight; shapes as the plain layer's."""
        weight, bias = self._active()
        padding = self.padding
        if self.padding_mode != "zeros":
            input = functional.pad(
                input, self._reversed_padding_repeated_twice, mode=self.padding_mode
            )
            padding = (0,) * len(self.kernel_size)
        return type(self).convolve(
            input, weight, bias, self.stride, padding, self.dilation, self._conv_groups()
        )

    def extract(self) -> nn.Module:
        """Return a plain convolution of the active size with copies of the active weights."""
        weight, bias = self._active()
        conv_groups = self._conv_groups()
        plain = self.plain_type(
            in_channels=weight.shape[1] * conv_groups,
            out_channels=weight.shape[0],
            kernel_size=self.kernel_size,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=conv_groups,
            bias=bias is not None,
            padding_mode=self.padding_mode,
            device="meta",
        )
        return fill_plain(plain, self, weight=weight, bias=bias)

    def _active(self) -> tuple[Tensor, Tensor | None]:
        return _take_active(self.weight, self.bias, self.plan, self.state)

    def _conv_groups(self) -> int:
        # A grouped convolution keeps the size of its groups and has fewer of them.
        if self.groups == 1:
            return 1
        per_group = self.out_channels // self.groups
        return active_size(self.plan.output, self.state.widths) // per_group


class ElasticConv1d(ElasticConv, nn.Conv1d):
    """A 1-d convolution that can run at several widths."""

    plain_type = nn.Conv1d
    convolve = functional.conv1d


class ElasticConv2d(ElasticConv, nn.Conv2d):
    """A 2-d convolution that can run at several widths."""

    plain_type = nn.Conv2d
    convolve = functional.conv2d


class ElasticConv3d(ElasticConv, nn.Conv3d):
    """A 3-d convolution that can run at several widths."""

    plain_type = nn.Conv3d
    convolve = functional.conv3d


class ElasticLinear(nn.Linear):
    """A linear layer that can run at several widths."""

    plan: LayerPlan
    state: WidthState
    plain_type: ClassVar[type[nn.Linear]] = nn.Linear

    def forward(self, input: Tensor) -> Tensor:
        """Multiply by the active part of the weight; shapes as the plain layer's."""
        return functional.linear(input, *self._active())

    def extract(self) -> nn.Module:
        """Return a plain linear layer of the active size with copies of the active weights."""
        weight, bias = self._active()
        plain = self.plain_type(weight.shape[1], weight.shape[0], bias is not None, device="meta")
        return fill_plain(plain, self, weight=weight, bias=bias)

    def _active(self) -> tuple[Tensor, Tensor | None]:
        return _take_active(self.weight, self.bias, self.plan, self.state)


class ElasticProjection(ElasticLinear, NonDynamicallyQuantizableLinear):
    """The output projection of an ``nn.MultiheadAttention``, which has a class of its own."""

    plain_type = NonDynamicallyQuantizableLinear


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
