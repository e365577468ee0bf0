"""Linear layers: how channels pass through them, and how they run narrow."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from torch import Tensor
from torch import fx
from torch import nn
from torch.nn import functional
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from dpod_search.supernet.dimensions.walk import Axes
from dpod_search.supernet.dimensions.walk import Discovery
from dpod_search.supernet.layers.kind import Geometry
from dpod_search.supernet.layers.kind import LayerKind
from dpod_search.supernet.layers.kind import Rebuilder
from dpod_search.supernet.layers.kind import Regression
from dpod_search.supernet.layers.own_calls import plan_own
from dpod_search.supernet.layers.state import ElasticLayer
from dpod_search.supernet.layers.state import fill_plain
from dpod_search.supernet.layers.state import take_active
from dpod_search.supernet.layers.weight_calls import multiply_by
from dpod_search.supernet.tracing.tracer import argument


def multiply_matrix(discovery: Discovery, node: fx.Node) -> Axes:
    """Linear layer: new channels on the last axis, applied at every place of the others."""
    module = discovery.module(node)
    assert isinstance(module, nn.Linear)
    return plan_matrix(discovery, node, str(node.target), module)


def multiply_own(discovery: Discovery, node: fx.Node) -> Axes:
    """``functional.linear`` in a layer's own forward."""
    held = ("weight", "bias")
    return plan_own(discovery, node, LINEAR, held, plan_matrix, otherwise=multiply_by)


def plan_matrix(discovery: Discovery, node: fx.Node, name: str, _module: nn.Linear) -> Axes:
    """Record a linear layer; arguments as of a convolution (``conv.py``)."""
    return make_features(discovery, node, name, argument(node, 0, "input", None))


def make_features(discovery: Discovery, node: fx.Node, name: str, source: fx.Node) -> Axes:
    """Record a layer that makes new channels on the last axis of what it reads."""
    last = len(discovery.shapes[source]) - 1
    inputs = discovery.layout(source, last)
    known = discovery.layers.get(name)
    output = known.output if known else discovery.dims.add(discovery.shapes[node][-1], name)
    # Places are counted once, at full width, so their number must not change with the widths.
    discovery.freeze_axes(source, f"{discovery.where(node)} runs along another axis", but=last)
    discovery.record(node, inputs=inputs, weight_input=inputs, output=output, name=name)
    return {last: output}


class ElasticLinear(ElasticLayer, nn.Linear):
    """A linear layer that can run at several widths."""

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

    def _sizes(self, parts: Mapping[str, Tensor]) -> dict[str, int]:
        n_outputs, n_inputs = parts["weight"].shape
        return {"in_features": n_inputs, "out_features": n_outputs}


class ElasticProjection(ElasticLinear, NonDynamicallyQuantizableLinear):
    """The output projection of an ``nn.MultiheadAttention``, which has a class of its own."""

    plain_type = NonDynamicallyQuantizableLinear


def _read(layer: nn.Linear, input_shape: tuple[int, ...]) -> Geometry:
    return Geometry(LINEAR.name, tuple(input_shape[1:-1]), has_bias=layer.bias is not None)


def _build(geometry: Geometry, n_inputs: int, n_outputs: int, _conv_groups: int) -> nn.Module:
    return nn.Linear(n_inputs, n_outputs, bias=geometry.has_bias)


def _resize(layer: nn.Linear) -> None:
    layer.out_features, layer.in_features = layer.weight.shape


def _run(_layer: nn.Module, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return functional.linear(x, weight, bias)


def _gather(_layer: nn.Linear, x: Tensor, places: Tensor) -> Tensor:
    return _pick(x, places)[None]


def _pick(y: Tensor, places: Tensor) -> Tensor:
    flat = y.reshape(len(y), -1, y.shape[-1])
    index = places[..., None].expand(-1, -1, flat.shape[2])
    return flat.gather(1, index).flatten(0, 1)


def _count(y: Tensor) -> int:
    return math.prod(y.shape[1:-1])


LINEAR = LayerKind(
    name="linear",
    twins={nn.Linear: ElasticLinear},
    handler=multiply_matrix,
    calls={functional.linear: multiply_own},
    subclasses="own forward",
    resize=_resize,
    run=_run,
    rebuilder=Rebuilder(_read, _build),
    regression=Regression(_gather, _pick, _count),
)
# An attention says how channels pass through it.
PROJECTION = replace(
    LINEAR,
    twins={NonDynamicallyQuantizableLinear: ElasticProjection},
    handler=None,
    calls={},
    subclasses="none",
    run=None,
)
