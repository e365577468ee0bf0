"""Linear layers: how channels pass through them, and how they run narrow."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from torch import fx
from torch import nn
from torch.nn import functional
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from dpod_search.supernet.dimensions.walk import Axes
from dpod_search.supernet.dimensions.walk import Discovery
from dpod_search.supernet.layers.state import WidthState
from dpod_search.supernet.layers.state import fill_plain
from dpod_search.supernet.layers.state import take_active
from dpod_search.supernet.plans import LayerPlan
from dpod_search.supernet.tracing.tracer import argument


def multiply_matrix(discovery: Discovery, node: fx.Node) -> Axes:
    """Linear layer: new channels on the last axis, applied at every place of the others."""
    module = discovery.module(node)
    assert isinstance(module, nn.Linear)
    return plan_matrix(discovery, node, str(node.target), module)


def plan_matrix(discovery: Discovery, node: fx.Node, name: str, module: nn.Linear) -> Axes:
    """Record a linear layer; arguments as of :func:`plan_convolution`."""
    source = argument(node, 0, "input", None)
    last = len(discovery.shapes[source]) - 1
    inputs = discovery.layout(source, last)
    known = discovery.layers.get(name)
    output = known.output if known else discovery.dims.add(module.out_features, name)
    # Places are counted once, at full width, so their number must not change with the widths.
    discovery.freeze_axes(source, f"{discovery.where(node)} runs along another axis", but=last)
    discovery.record(node, inputs=inputs, weight_input=inputs, output=output, name=name)
    return {last: output}


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
        return take_active(self.weight, self.bias, self.plan, self.state)


class ElasticProjection(ElasticLinear, NonDynamicallyQuantizableLinear):
    """The output projection of an ``nn.MultiheadAttention``, which has a class of its own."""

    plain_type = NonDynamicallyQuantizableLinear
