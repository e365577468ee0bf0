"""Attention of PyTorch's own kind: narrowed by whole heads, and in its embedding.

An ``nn.MultiheadAttention`` insists on ``num_heads * head_dim == embed_dim``. Heads and embedding
are widths of their own here, so the plain module of a subnet that does not meet this is a
``torch.fx.GraphModule`` with the same parameters, inputs and outputs.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence

import torch
from torch import Tensor
from torch import nn
from torch.nn import functional

from dpod_search.errors import ConfigError
from dpod_search.supernet.layers.attention_calls import attend_by_heads
from dpod_search.supernet.layers.attention_graph import MASKS
from dpod_search.supernet.layers.attention_graph import OF_HEADS
from dpod_search.supernet.layers.attention_graph import SEPARATE
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
from dpod_search.supernet.layout import take_matrix


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
        weights, bias = self._active()
        tokens = [query] if key is query and value is query else [query, key, value]
        masks = [
            None if mask is None else as_numbers(mask, query) if mask.dtype == torch.bool else mask
            for mask in (key_padding_mask, attn_mask)
        ]
        return attend(
            tokens,
            masks,
            (weights, bias),
            self.out_proj,
            head_dim=self.head_dim,
            batch_first=self.batch_first,
            dropout=lambda scores: functional.dropout(scores, self.dropout, self.training),
            is_dropping=self.dropout > 0 and self.training,
            given=self.plan.given,
        )

    def _check_call(self, *given: Tensor | None) -> None:
        """Raise if a call is of another kind than the example's, which extracted nets know alone."""
        query, key, value, *masks = given
        found = set() if key is query and value is query else {"memory"}
        for (_, name), mask in zip(MASKS, masks, strict=True):
            if mask is not None:
                found |= {name, f"{name} of truths"} if mask.dtype == torch.bool else {name}
                found |= {OF_HEADS[name]} if mask.dim() == 3 else set()
        wanted = self.plan.given - {"weights"}
        if found - {"memory"} != wanted - {"memory"} or not found <= wanted:
            raise ConfigError(
                f"{self.plan.name} is called with {_spell(found)}, and in the example with "
                f"{_spell(wanted)}; build the supernet with an example of the other kind"
            )

    def extract(self) -> nn.Module:
        """Return a plain attention of the active size with copies of the active weights."""
        weights, bias = self._active()
        out_proj = self.out_proj.extract()  # type: ignore[operator]  # an elastic layer too
        names = SEPARATE if len(weights) > 1 else ("in_proj_weight",)
        parts = dict(zip(names, weights, strict=True))
        plain = self._make_plain(weights, out_proj, has_bias=bias is not None)
        if plain is None:
            shapes = {name: part.shape for name, part in parts.items()}
            plain = trace_attention(
                self, shapes, out_proj, has_bias=bias is not None, given=self.plan.given
            )
        return fill_plain(plain, self, **parts, in_proj_bias=bias)

    def _make_plain(
        self, weights: Sequence[Tensor], out_proj: nn.Module, *, has_bias: bool
    ) -> nn.Module | None:
        """Return an attention of PyTorch's own; None if these widths are none of its."""
        n_rows, n_inputs = weights[0].shape
        n_rows = n_rows // 3 if len(weights) == 1 else n_rows
        others = {"kdim": weights[1].shape[1], "vdim": weights[2].shape[1]} if weights[1:] else {}
        # With keys and values of its own width it would pack its weights in one.
        is_packed_alike = bool(others) and set(others.values()) == {n_inputs}
        if n_rows != n_inputs or out_proj.out_features != n_inputs or is_packed_alike:
            return None
        plain = nn.MultiheadAttention(
            n_inputs,
            n_rows // self.head_dim,
            self.dropout,
            bias=has_bias,
            batch_first=self.batch_first,
            device="meta",
            **others,
        )
        plain._modules["out_proj"] = out_proj
        return plain

    def _active(self) -> tuple[list[Tensor], Tensor | None]:
        """Return the active weights, one for all or three, and the active bias."""
        state = self.state
        (bias,) = self._vectors("in_proj_bias")
        if not self.plan.matrices:
            weight = take(self.in_proj_weight, 0, self.plan.output, state.widths)
            return [take(weight, 1, self.plan.weight_input, state.widths)], bias
        weights = [
            take_matrix(
                self.get_parameter(matrix.name),
                matrix.rows,
                matrix.columns,
                state.widths,
                adds_in_place=state.adds_in_place,
            )
            for matrix in self.plan.matrices
        ]
        return weights, bias


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
    makes=SEPARATE[2:],
)
