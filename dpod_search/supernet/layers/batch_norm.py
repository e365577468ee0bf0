"""BatchNorm and InstanceNorm: a scale, a shift and statistics for each channel."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor
from torch import fx
from torch import nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.instancenorm import _InstanceNorm

from dpod_search.supernet.dimensions.walk import Axes
from dpod_search.supernet.dimensions.walk import Discovery
from dpod_search.supernet.dimensions.walk import freeze_inputs
from dpod_search.supernet.layers.kind import LayerKind
from dpod_search.supernet.layers.norm_calls import list_vectors
from dpod_search.supernet.layers.norm_calls import share_channels
from dpod_search.supernet.layers.own_calls import NOT_OWN
from dpod_search.supernet.layers.own_calls import plan_own
from dpod_search.supernet.layers.state import ElasticLayer
from dpod_search.supernet.layers.state import fill_plain
from dpod_search.supernet.layout import fixed
from dpod_search.supernet.layout import put
from dpod_search.supernet.tracing.tracer import argument


_HELD = ("weight", "bias", "running_mean", "running_var")
# By the number of axes behind the channels.
_INSTANCE_NORMS = {1: nn.InstanceNorm1d, 2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}


def normalize_batch(discovery: Discovery, node: fx.Node) -> Axes:
    """BatchNorm: carries its input's channels."""
    return _plan(discovery, node, str(node.target), discovery.module(node))


def normalize_own(discovery: Discovery, node: fx.Node) -> Axes:
    """``functional.batch_norm`` in a layer's own forward."""
    held = ("running_mean", "running_var", "weight", "bias")
    return plan_own(discovery, node, BATCH_NORM, held, _plan, otherwise=_normalize_by)


def _normalize_by(discovery: Discovery, node: fx.Node) -> Axes:
    """Follow ``functional.batch_norm`` that keeps no statistics, as weights are standardised."""
    kept = (argument(node, i, name, None) for i, name in ((1, "running_mean"), (2, "running_var")))
    if any(statistics is not None for statistics in kept):
        return freeze_inputs(discovery, node, NOT_OWN)
    source = argument(node, 0, "input", None)
    for vector in list_vectors(node, 3):
        share_channels(discovery, node, vector, discovery.layout(source, 1))
    return discovery.axes(source)


def _plan(discovery: Discovery, node: fx.Node, name: str, _module: nn.Module) -> Axes:
    source = argument(node, 0, "input", None)
    channels = discovery.layout(source, 1)
    discovery.freeze_axes(source, f"{discovery.where(node)} averages over it", but=1)
    discovery.record(node, inputs=channels, weight_input=fixed(1), output=channels, name=name)
    return {1: channels}


def normalize_instances(discovery: Discovery, node: fx.Node) -> Axes:
    """InstanceNorm: carries its input's channels."""
    module = discovery.module(node)
    assert isinstance(module, _InstanceNorm)
    n_axes = len(discovery.shapes[discovery.first_input(node)])
    if not isinstance(module, _INSTANCE_NORMS.get(n_axes - 2, ())):
        return freeze_inputs(discovery, node, "is given pictures without a batch dimension")
    return normalize_batch(discovery, node)


class _ElasticStatistics(ElasticLayer, _NormBase):
    """What BatchNorm and InstanceNorm share: a scale, a shift and statistics per channel."""

    plain_type: ClassVar[Callable[..., nn.Module]]

    def extract(self) -> nn.Module:
        """Return a plain norm of the active size with the active statistics."""
        weight, bias, mean, variance = self._active()
        plain = self.plain_type(
            self._active_size(),
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

    def _active(self) -> list[Tensor | None]:
        return self._vectors(*_HELD)

    def _sizes(self, parts: Mapping[str, Tensor | None]) -> dict[str, int]:
        found = (tensor for tensor in parts.values() if tensor is not None)
        return {"num_features": len(next(found))}

    def _put_statistics(self, mean: Tensor | None, variance: Tensor | None) -> None:
        # With several segments the active statistics are copies, which must be written back.
        if not self.training or len(self.plan.output) <= 1:
            return
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


BATCH_NORM = LayerKind(
    name="batch_norm",
    twins={
        nn.BatchNorm1d: ElasticBatchNorm1d,
        nn.BatchNorm2d: ElasticBatchNorm2d,
        nn.BatchNorm3d: ElasticBatchNorm3d,
    },
    handler=normalize_batch,
    calls={functional.batch_norm: normalize_own},
    subclasses="own forward",
    makes_units=False,
    is_norm=True,
    folds=True,
)
INSTANCE_NORM = LayerKind(
    name="instance_norm",
    twins={
        nn.InstanceNorm1d: ElasticInstanceNorm1d,
        nn.InstanceNorm2d: ElasticInstanceNorm2d,
        nn.InstanceNorm3d: ElasticInstanceNorm3d,
    },
    handler=normalize_instances,
    makes_units=False,
    is_norm=True,
)
