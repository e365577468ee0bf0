"""Linear layers whose weight is the other way round, (inputs, outputs): GPT-2's of transformers."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor
from torch import fx
from torch import nn

from dpod_search.supernet.dimensions.walk import Axes
from dpod_search.supernet.dimensions.walk import Discovery
from dpod_search.supernet.layers.kind import LayerKind
from dpod_search.supernet.layers.kind import WeightAxes
from dpod_search.supernet.layers.linear import make_features
from dpod_search.supernet.layers.state import ElasticLayer
from dpod_search.supernet.layers.state import fill_plain
from dpod_search.supernet.layout import take
from dpod_search.supernet.plans import LayerPlan


_CONV1D = "transformers.pytorch_utils.Conv1D"


def multiply_transposed(discovery: Discovery, node: fx.Node) -> Axes:
    """Linear layer: new channels on the last axis, applied at every place of the others."""
    return make_features(discovery, node, str(node.target), discovery.first_input(node))


class ElasticConv1D(ElasticLayer):
    """A linear layer, its weight transposed, that can run at several widths."""

    weight: Tensor
    bias: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Multiply by the active part of the weight; shapes as the plain layer's."""
        weight, bias = self._active()
        rows = torch.addmm(bias, x.reshape(-1, x.shape[-1]), weight)
        return rows.view(*x.shape[:-1], -1)

    def extract(self) -> nn.Module:
        """Return a plain layer of the active size with copies of the active weights."""
        package, _, name = _CONV1D.rpartition(".")
        plain_type = getattr(importlib.import_module(package), name)
        weight, bias = self._active()
        with torch.device("meta"):
            plain = plain_type(weight.shape[1], weight.shape[0])
        return fill_plain(plain, self, weight=weight, bias=bias)

    def _active(self) -> tuple[Tensor, Tensor]:
        plan, widths = self.plan, self.state.widths
        weight = take(take(self.weight, 0, plan.weight_input, widths), 1, plan.output, widths)
        return weight, take(self.bias, 0, plan.output, widths)


def _inputs_first(_layer: Any, plan: LayerPlan) -> WeightAxes:
    return WeightAxes((plan.weight_input, plan.output), maker=1)


TRANSPOSED_LINEAR = LayerKind(
    name="transposed_linear",
    twins={_CONV1D: ElasticConv1D},
    handler=multiply_transposed,
    subclasses="none",
    lay_out=_inputs_first,
)
