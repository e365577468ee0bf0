"""Embeddings: rows are looked up by number, and what they are long is a width.

The weight is the other way round, (numbers, width): nothing is multiplied, so there are no macs, and
the parameters are those of all numbers. A head that is tied to an embedding reads the same width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor
from torch import fx
from torch import nn
from torch.nn import functional

from dpod_search.supernet.dimensions.walk import Axes
from dpod_search.supernet.dimensions.walk import Discovery
from dpod_search.supernet.dimensions.walk import freeze_inputs
from dpod_search.supernet.layers.kind import LayerKind
from dpod_search.supernet.layers.kind import WeightAxes
from dpod_search.supernet.layers.own_calls import plan_own
from dpod_search.supernet.layers.state import ElasticLayer
from dpod_search.supernet.layers.state import fill_plain
from dpod_search.supernet.layout import fixed
from dpod_search.supernet.layout import take
from dpod_search.supernet.plans import LayerPlan
from dpod_search.supernet.plans import plan_layer


def look_up(discovery: Discovery, node: fx.Node) -> Axes:
    """Embedding: new units on a new last axis."""
    module = discovery.module(node)
    assert isinstance(module, nn.Embedding)
    return plan_rows(discovery, node, str(node.target), module)


def look_up_own(discovery: Discovery, node: fx.Node) -> Axes:
    """``functional.embedding`` in a layer's own forward."""
    return plan_own(discovery, node, EMBEDDING, ("weight",), plan_rows)


def plan_rows(discovery: Discovery, node: fx.Node, name: str, module: nn.Embedding) -> Axes:
    """Record an embedding.

    Args:
        discovery: The walk.
        node: The call.
        name: Path of the layer.
        module: The layer.
    """
    if module.max_norm is not None:
        return freeze_inputs(discovery, node, "changes its rows as it reads them (max_norm)")
    if module.sparse:
        return freeze_inputs(discovery, node, "has gradients of whole rows (sparse)")
    for source in discovery.tensor_inputs(node):
        discovery.freeze_axes(source, f"{discovery.where(node)} takes numbers from it")
    known = discovery.layers.get(name)
    output = known.output if known else discovery.dims.add(module.embedding_dim, name)
    rows = fixed(module.num_embeddings)
    plan = plan_layer(name, discovery.modules[name], rows, output, n_positions=0)
    discovery.keep(plan, rows, discovery.where(node))
    return {len(discovery.shapes[node]) - 1: output}


class ElasticEmbedding(ElasticLayer, nn.Embedding):
    """An embedding whose rows can be cut."""

    plain_type: ClassVar[type[nn.Embedding]] = nn.Embedding

    def forward(self, input: Tensor) -> Tensor:
        """Look up the active part of the rows; shapes as the plain layer's."""
        return functional.embedding(
            input,
            *self._active(),
            self.padding_idx,
            scale_grad_by_freq=self.scale_grad_by_freq,
        )

    def extract(self) -> nn.Module:
        """Return a plain embedding of the active width with copies of the active weights."""
        (weight,) = self._active()
        plain = self.plain_type(
            weight.shape[0],
            weight.shape[1],
            self.padding_idx,
            scale_grad_by_freq=self.scale_grad_by_freq,
            device="meta",
        )
        return fill_plain(plain, self, weight=weight)

    def _active(self) -> tuple[Tensor]:
        return (take(self.weight, 1, self.plan.output, self.state.widths),)

    def _sizes(self, parts: Mapping[str, Tensor]) -> dict[str, int]:
        return {"embedding_dim": parts["weight"].shape[1]}


def _rows_first(layer: nn.Embedding, plan: LayerPlan) -> WeightAxes:
    return WeightAxes((fixed(layer.num_embeddings), plan.output), maker=1)


def _resize(layer: nn.Embedding) -> None:
    layer.num_embeddings, layer.embedding_dim = layer.weight.shape


EMBEDDING = LayerKind(
    name="embedding",
    twins={nn.Embedding: ElasticEmbedding},
    handler=look_up,
    calls={functional.embedding: look_up_own},
    subclasses="own forward",
    multiplies=False,
    lay_out=_rows_first,
    resize=_resize,
)
