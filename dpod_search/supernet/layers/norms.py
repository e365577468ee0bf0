"""Elastic norms, and PReLU: all that holds vectors with an element per channel."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from torch import Tensor
from torch import nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.instancenorm import _InstanceNorm

from dpod_search.supernet.layers.state import WidthState
from dpod_search.supernet.layers.state import fill_plain
from dpod_search.supernet.layout import active_size
from dpod_search.supernet.layout import put
from dpod_search.supernet.layout import take
from dpod_search.supernet.plans import LayerPlan


class _ElasticScale(nn.Module):
    """What LayerNorm and GroupNorm share: a scale and a shift per channel."""

    plan: LayerPlan
    state: WidthState

    def _active(self) -> tuple[Tensor | None, Tensor | None]:
        weight, bias = (
            None if tensor is None else take(tensor, 0, self.plan.output, self.state.widths)
            for tensor in (self._parameters["weight"], self._parameters["bias"])
        )
        return weight, bias

    def _active_size(self) -> int:
        return active_size(self.plan.output, self.state.widths)


class ElasticLayerNorm(_ElasticScale, nn.LayerNorm):
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


class ElasticGroupNorm(_ElasticScale, nn.GroupNorm):
    """A GroupNorm that can run at several widths; its groups keep their size."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise the active channels; shapes as the plain layer's."""
        return functional.group_norm(input, self._norm_groups(), *self._active(), self.eps)

    def extract(self) -> nn.Module:
        """Return a plain GroupNorm of the active size with copies of the active weights."""
        weight, bias = self._active()
        plain = nn.GroupNorm(
            self._norm_groups(), self._active_size(), self.eps, self.affine, device="meta"
        )
        return fill_plain(plain, self, weight=weight, bias=bias)

    def _norm_groups(self) -> int:
        if self.num_groups == 1:
            return 1
        return self._active_size() // (self.num_channels // self.num_groups)


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


class ElasticPReLU(nn.PReLU):
    """A PReLU with a slope per channel that can run at several widths."""

    plan: LayerPlan
    state: WidthState

    def forward(self, input: Tensor) -> Tensor:
        """Bend the active channels; shapes as the plain layer's."""
        return functional.prelu(input, self._active())

    def extract(self) -> nn.Module:
        """Return a plain PReLU of the active size with copies of the active slopes."""
        weight = self._active()
        return fill_plain(nn.PReLU(len(weight), device="meta"), self, weight=weight)

    def _active(self) -> Tensor:
        return take(self.weight, 0, self.plan.output, self.state.widths)


class _ElasticStatistics(_NormBase):
    """What BatchNorm and InstanceNorm share: a scale, a shift and statistics per channel."""

    plan: LayerPlan
    state: WidthState
    plain_type: ClassVar[Callable[..., nn.Module]]

    def extract(self) -> nn.Module:
        """Return a plain norm of the active size with the active statistics."""
        weight, bias, mean, variance = self._active()
        plain = self.plain_type(
            active_size(self.plan.output, self.state.widths),
            self.eps,
            self.momentum,
            self.affine,
            self.track_running_stats,
            device="meta",
        )
        return fill_plain(
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


class ElasticBatchNorm(_ElasticStatistics, _BatchNorm):
    """A BatchNorm that can run at several widths.

    The statistics it holds are those of the widths it was calibrated at last.
    """

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


class ElasticBatchNorm1d(ElasticBatchNorm, nn.BatchNorm1d):
    """A BatchNorm over (N, C) or (N, C, L) that can run at several widths."""

    plain_type = nn.BatchNorm1d


class ElasticBatchNorm2d(ElasticBatchNorm, nn.BatchNorm2d):
    """A BatchNorm over (N, C, H, W) that can run at several widths."""

    plain_type = nn.BatchNorm2d


class ElasticBatchNorm3d(ElasticBatchNorm, nn.BatchNorm3d):
    """A BatchNorm over (N, C, D, H, W) that can run at several widths."""

    plain_type = nn.BatchNorm3d


class ElasticInstanceNorm(_ElasticStatistics, _InstanceNorm):
    """An InstanceNorm that can run at several widths."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise the active channels; shapes as the plain layer's."""
        self._check_input_dim(input)  # type: ignore[no-untyped-call]  # PyTorch's own check
        weight, bias, mean, variance = self._active()
        uses_instance = self.training or mean is None
        momentum = 0.0 if self.momentum is None else self.momentum
        result = functional.instance_norm(
            input, mean, variance, weight, bias, uses_instance, momentum, self.eps
        )
        if self.training and mean is not None and len(self.plan.output) > 1:
            self._put_statistics(mean, variance)
        return result


class ElasticInstanceNorm1d(ElasticInstanceNorm, nn.InstanceNorm1d):
    """An InstanceNorm over (N, C, L) that can run at several widths."""

    plain_type = nn.InstanceNorm1d


class ElasticInstanceNorm2d(ElasticInstanceNorm, nn.InstanceNorm2d):
    """An InstanceNorm over (N, C, H, W) that can run at several widths."""

    plain_type = nn.InstanceNorm2d


class ElasticInstanceNorm3d(ElasticInstanceNorm, nn.InstanceNorm3d):
    """An InstanceNorm over (N, C, D, H, W) that can run at several widths."""

    plain_type = nn.InstanceNorm3d
