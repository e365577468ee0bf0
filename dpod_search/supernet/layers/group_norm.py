"""GroupNorm: channels are narrowed by whole groups, or freely if there is only one."""

from __future__ import annotations

from fractions import Fraction

from torch import Tensor
from torch import fx
from torch import nn
from torch.nn import functional

from dpod_search.supernet.dimensions.walk import Axes
from dpod_search.supernet.dimensions.walk import Discovery
from dpod_search.supernet.dimensions.walk import keep_groups_whole
from dpod_search.supernet.layers.state import WidthState
from dpod_search.supernet.layers.state import fill_plain
from dpod_search.supernet.layout import active_size
from dpod_search.supernet.layout import fixed
from dpod_search.supernet.layout import scale
from dpod_search.supernet.layout import take
from dpod_search.supernet.plans import LayerPlan
from dpod_search.supernet.plans import Scratch


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


class ElasticScale(nn.Module):
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


class ElasticGroupNorm(ElasticScale, nn.GroupNorm):
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
