"""Elastic layers: plain subclasses that run at several widths by slicing views.

An elastic layer shares the parameters of the layer it replaces and reads the active widths
from the one :class:`WidthState` of its supernet. Ordered dropout keeps the *first* channels
(FjORD, Horvath et al., 2021, arXiv 2102.13451), so the weights of a subnet are prefix views.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch import nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from dpod_search.supernet.groups import LayerPlan
from dpod_search.supernet.layout import active_size
from dpod_search.supernet.layout import put
from dpod_search.supernet.layout import take


class WidthState:
    """The active widths of one supernet, shared by all its elastic layers.

    Args:
        widths: Active width of every group, in the order of the groups.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        """Start at the given widths."""
        self.widths: tuple[int, ...] = tuple(widths)


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
        return _fill(plain, self, weight=weight, bias=bias)

    def _active(self) -> tuple[Tensor, Tensor | None]:
        widths = self.state.widths
        weight = take(self.weight, 0, self.plan.output, widths)
        weight = take(weight, 1, self.plan.weight_input, widths)
        bias = None if self.bias is None else take(self.bias, 0, self.plan.output, widths)
        return weight, bias

    def _conv_groups(self) -> int:
        # A depthwise convolution has one group per channel, whatever the width.
        if self.groups == 1:
            return 1
        return active_size(self.plan.output, self.state.widths)


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

    def forward(self, input: Tensor) -> Tensor:
        """Multiply by the active part of the weight; shapes as the plain layer's."""
        return functional.linear(input, *self._active())

    def extract(self) -> nn.Module:
        """Return a plain linear layer of the active size with copies of the active weights."""
        weight, bias = self._active()
        plain = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device="meta")
        return _fill(plain, self, weight=weight, bias=bias)

    def _active(self) -> tuple[Tensor, Tensor | None]:
        widths = self.state.widths
        weight = take(self.weight, 0, self.plan.output, widths)
        weight = take(weight, 1, self.plan.weight_input, widths)
        # PyTorch types it as always there.
        held: Tensor | None = self.bias
        bias = None if held is None else take(held, 0, self.plan.output, widths)
        return weight, bias


class ElasticBatchNorm(_BatchNorm):
    """A BatchNorm that can run at several widths.

    The statistics it holds are those of the widths it was calibrated at last.
    """

    plan: LayerPlan
    state: WidthState
    plain_type: ClassVar[type[_BatchNorm]]

    def forward(self, input: Tensor) -> Tensor:
        """Normalise the active channels; shapes as the plain layer's."""
        self._check_input_dim(input)  # type: ignore[no-untyped-call]  # PyTorch's own check
        weight, bias, mean, variance = self._active()
        uses_batch = self.training or mean is None
        factor = 0.0
        if self.training and mean is not None and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            momentum = self.momentum
            factor = 1.0 / float(self.num_batches_tracked) if momentum is None else momentum
        result = functional.batch_norm(
            input, mean, variance, weight, bias, uses_batch, factor, self.eps
        )
        if self.training and mean is not None and len(self.plan.output) > 1:
            self._put_statistics(mean, variance)
        return result

    def extract(self) -> nn.Module:
        """Return a plain BatchNorm of the active size with the active statistics."""
        weight, bias, mean, variance = self._active()
        plain = self.plain_type(
            active_size(self.plan.output, self.state.widths),
            self.eps,
            self.momentum,
            self.affine,
            self.track_running_stats,
            device="meta",
        )
        return _fill(
            plain,
            self,
            weight=weight,
            bias=bias,
            running_mean=mean,
            running_var=variance,
            num_batches_tracked=self.num_batches_tracked,
        )

    def _active(self) -> tuple[Tensor | None, ...]:
        tensors = (self.weight, self.bias, self.running_mean, self.running_var)
        return tuple(
            None if tensor is None else take(tensor, 0, self.plan.output, self.state.widths)
            for tensor in tensors
        )

    def _put_statistics(self, mean: Tensor, variance: Tensor | None) -> None:
        # With several segments the active statistics are copies, which must be written back.
        for whole, part in ((self.running_mean, mean), (self.running_var, variance)):
            if whole is not None and part is not None:
                put(whole, part, self.plan.output, self.state.widths)


class ElasticBatchNorm1d(ElasticBatchNorm, nn.BatchNorm1d):
    """A BatchNorm over (N, C) or (N, C, L) that can run at several widths."""

    plain_type = nn.BatchNorm1d


class ElasticBatchNorm2d(ElasticBatchNorm, nn.BatchNorm2d):
    """A BatchNorm over (N, C, H, W) that can run at several widths."""

    plain_type = nn.BatchNorm2d


class ElasticBatchNorm3d(ElasticBatchNorm, nn.BatchNorm3d):
    """A BatchNorm over (N, C, D, H, W) that can run at several widths."""

    plain_type = nn.BatchNorm3d


ElasticLayer = ElasticConv | ElasticLinear | ElasticBatchNorm

ELASTIC_TYPES: dict[type[nn.Module], type[ElasticLayer]] = {
    nn.Conv1d: ElasticConv1d,
    nn.Conv2d: ElasticConv2d,
    nn.Conv3d: ElasticConv3d,
    nn.Linear: ElasticLinear,
    nn.BatchNorm1d: ElasticBatchNorm1d,
    nn.BatchNorm2d: ElasticBatchNorm2d,
    nn.BatchNorm3d: ElasticBatchNorm3d,
}


def make_elastic(layer: nn.Module, plan: LayerPlan, state: WidthState) -> ElasticLayer:
    """Make the elastic twin of a plain layer, sharing its parameters and buffers.

    Args:
        layer: A layer whose exact type is a key of ``ELASTIC_TYPES``.
        plan: Which channels of it belong to which groups.
        state: The active widths of the supernet it is for.
    """
    elastic = ELASTIC_TYPES[type(layer)].__new__(ELASTIC_TYPES[type(layer)])
    nn.Module.__init__(elastic)
    # Settings such as stride and eps, and the very parameters, are the plain layer's own.
    elastic.__dict__.update({key: _own(value) for key, value in vars(layer).items()})
    elastic.plan, elastic.state = plan, state
    return elastic


def _own(value: object) -> object:
    return value.copy() if isinstance(value, dict) else value


def _fill(plain: nn.Module, elastic: nn.Module, **tensors: Tensor | None) -> nn.Module:
    for name, tensor in tensors.items():
        if tensor is None:
            continue
        copied = tensor.detach().clone(memory_format=torch.contiguous_format)
        if name in plain._parameters:
            requires_grad = getattr(elastic, name).requires_grad
            plain._parameters[name] = nn.Parameter(copied, requires_grad=requires_grad)
        else:
            plain._buffers[name] = copied
    return plain.train(elastic.training)
