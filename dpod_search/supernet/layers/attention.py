"""Attention of PyTorch's own kind: narrowed by whole heads, and in its embedding.

An ``nn.MultiheadAttention`` insists on ``num_heads * head_dim == embed_dim``. Heads and embedding
are widths of their own here, so the plain module of a subnet that does not meet this is a
``torch.fx.GraphModule`` with the same parameters, inputs and outputs.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch import nn
from torch.nn import functional

from dpod_search.errors import ConfigError
from dpod_search.supernet.layers.attention_calls import attend_by_heads
from dpod_search.supernet.layers.attention_graph import MASKS
from dpod_search.supernet.layers.attention_graph import as_numbers
from dpod_search.supernet.layers.attention_graph import attend
from dpod_search.supernet.layers.attention_graph import trace_attention
from dpod_search.supernet.layers.kind import LayerKind
from dpod_search.supernet.layers.state import ElasticLayer
from dpod_search.supernet.layers.state import fill_plain
from dpod_search.supernet.layout import Layout
from dpod_search.supernet.layout import fixed
from dpod_search.supernet.layout import full_size
from dpod_search.supernet.layout import take


class ElasticMultiheadAttention(ElasticLayer, nn.MultiheadAttention):
    """An attention that can run at several numbers of heads and embedding widths."""

    @property
    def _qkv_same_embed_dim(self) -> bool:
        # Or nn.TransformerEncoderLayer gives the whole weights to its fused kernel.
        return False

    def forward(  # noqa: PLR0917  # as the plain layer's
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend with the active heads; shapes as the plain layer's."""
        self._check_call(query, key, value, key_padding_mask, attn_mask)
        weight, bias = self._active()
        tokens = [query] if key is query and value is query else [query, key, value]
        masks = [
            None if mask is None else as_numbers(mask, query) if mask.dtype == torch.bool else mask
            for mask in (key_padding_mask, attn_mask)
        ]
        return attend(
            tokens,
            masks,
            (weight, bias),
            self.out_proj,
            head_dim=self.head_dim,
            batch_first=self.batch_first,
            dropout=lambda scores: functional.dropout(scores, self.dropout, self.training),
            is_dropping=self.dropout > 0 and self.training,
            gives_weights="weights" in self.plan.given,
        )

    def _check_call(self, *given: Tensor | None) -> None:
        """Raise if a call is of another kind than the example's, which extracted nets know alone."""
        query, key, value, *masks = given
        found = set() if key is query and value is query else {"memory"}
        for (_, name), mask in zip(MASKS, masks, strict=True):
            if mask is not None:
                found |= {name, f"{name} of truths"} if mask.dtype == torch.bool else {name}
        wanted = self.plan.given - {"weights"}
        if found - {"memory"} != wanted - {"memory"} or not found <= wanted:
            raise ConfigError(
                f"{self.plan.name} is called with {_spell(found)}, and in the example with "
                f"{_spell(wanted)}; build the supernet with an example of the other kind"
            )

    def extract(self) -> nn.Module:
        """Return a plain attention of the active size with copies of the active weights."""
        weight, bias = self._active()
        out_proj = self.out_proj.extract()  # type: ignore[operator]  # an elastic layer too
        n_heads = weight.shape[0] // (3 * self.head_dim)
        plain: nn.Module
        if weight.shape[0] == 3 * weight.shape[1] and out_proj.out_features == weight.shape[1]:
            plain = nn.MultiheadAttention(
                weight.shape[1],
                n_heads,
                self.dropout,
                bias=bias is not None,
                batch_first=self.batch_first,
                device="meta",
            )
            plain.out_proj = out_proj
        else:
            plain = trace_attention(
                self, weight.shape, out_proj, has_bias=bias is not None, given=self.plan.given
            )
        return fill_plain(plain, self, in_proj_weight=weight, in_proj_bias=bias)

    def _active(self) -> tuple[Tensor, Tensor | None]:
        widths = self.state.widths
        weight = take(self.in_proj_weight, 0, self.plan.output, widths)
        weight = take(weight, 1, self.plan.weight_input, widths)
        (bias,) = self._vectors("in_proj_bias")
        return weight, bias


def _spell(given: Iterable[str]) -> str:
    return ", ".join(sorted(given)) or "its tokens alone"


def _values_only(output: Layout) -> Layout:
    """Return the packed queries, keys and values with the first two fixed.

    Without its values a head adds nothing, whatever its queries and keys are.
    """
    n_heads = len(output) // 3
    return (*fixed(full_size(output[: 2 * n_heads])), *output[2 * n_heads :])


ATTENTION = LayerKind(
    name="attention",
    twins={nn.MultiheadAttention: ElasticMultiheadAttention},
    handler=attend_by_heads,
    subclasses="none",
    is_composite=True,
    weight="in_proj_weight",
    made=_values_only,
)
