"""What an attention computes, and the graph of one that is no module of PyTorch's."""

from __future__ import annotations

import operator
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch import fx
from torch import nn
from torch.nn import functional


# The masks of a call: where they stand, and their names.
MASKS = ((3, "key_padding_mask"), (5, "attn_mask"))
# The weights of an attention whose keys or values are as wide as they like, else there is one.
SEPARATE = ("q_proj_weight", "k_proj_weight", "v_proj_weight")
# What is said of a call whose mask has a row for each head of each sample, shape (N * heads, L, S).
OF_HEADS = {"attn_mask": "attn_mask of heads"}


# A graph holds it, so that what is wrong with a call is found when the graph is run.
_require: Callable[[Any, str], None] = torch._assert


def as_numbers(mask: Tensor, like: Tensor) -> Tensor:
    """Turn a mask of truth values into one that is added to scores."""
    return torch.zeros_like(mask, dtype=like.dtype).masked_fill(mask, -torch.inf)


def attend(
    tokens: Sequence[Tensor],
    masks: Sequence[Tensor | None],
    project_in: tuple[Sequence[Tensor], Tensor | None],
    project_out: Callable[[Tensor], Tensor],
    *,
    head_dim: int,
    batch_first: bool,
    dropout: Callable[[Tensor], Tensor],
    is_dropping: bool,
    given: frozenset[str],
) -> tuple[Tensor, Tensor | None]:
    """Attention as in Vaswani et al., 2017, section 3.2 (arXiv 1706.03762).

    Args:
        tokens: Queries, keys and values, or one for all; shape (N, T, C), or (T, N, C).
        masks: What is added to scores: of keys, shape (N, S), and of all pairs, shape (L, S), or
            of those of each head, shape (N * heads, L, S).
        project_in: Weights to queries, keys and values, or one to all of them one after the other;
            and the bias, which is one in any case.
        project_out: Back to the embedding.
        head_dim: Channels of a head.
        batch_first: The first axis is N.
        dropout: Of the attention weights.
        is_dropping: It drops some, so that the weights must be made.
        given: What calls give besides tokens, and whether the weights are asked for.

    Returns:
        Tokens of the embedding that ``project_out`` makes, and the mean over heads of the
        attention weights, shape (N, L, S), if they are asked for.
    """
    weights_in, bias = project_in
    streams = [x if batch_first else x.transpose(0, 1) for x in tokens]
    if len(streams) == 1:
        made = functional.linear(streams[0], weights_in[0], bias)
        shape = (made.size(0), made.size(1), 3, -1, head_dim)
        query, key, value = made.view(shape).permute(2, 0, 3, 1, 4).unbind(0)
    else:
        parts = weights_in[0].chunk(3) if len(weights_in) == 1 else weights_in
        shifts = None if bias is None else bias.chunk(3)
        made_of = [
            functional.linear(x, parts[i], None if shifts is None else shifts[i])
            for i, x in enumerate(streams)
        ]
        query, key, value = (
            y.view(y.size(0), y.size(1), -1, head_dim).transpose(1, 2) for y in made_of
        )
    of_keys, mask = masks
    gives_weights = "weights" in given
    if mask is not None and OF_HEADS["attn_mask"] in given:
        mask = mask.unflatten(0, (query.size(0), -1))  # type: ignore[no-untyped-call]
    if of_keys is not None:
        of_keys = of_keys[:, None, None, :]
        mask = of_keys if mask is None else of_keys + mask
    weights = None
    if is_dropping or gives_weights:
        scores = query @ key.transpose(2, 3) * head_dim**-0.5
        weights = dropout((scores if mask is None else scores + mask).softmax(3))
        heads = weights @ value
        weights = weights.mean(1) if gives_weights else None
    else:
        heads = functional.scaled_dot_product_attention(query, key, value, mask)
    result = project_out(heads.transpose(1, 2).flatten(2))
    return result if batch_first else result.transpose(0, 1), weights


class _Attention(nn.Module):
    """What an extracted attention is traced from; never in a model itself."""

    in_proj_bias: nn.Parameter | None

    def __init__(
        self,
        like: nn.MultiheadAttention,
        shapes: Mapping[str, torch.Size],
        out_proj: nn.Module,
        has_bias: bool,
        given: frozenset[str],
    ) -> None:
        super().__init__()
        self.names = tuple(shapes)
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.empty(shape, device="meta")))
        n_rows = sum(shape[0] for shape in shapes.values())
        self.register_parameter(
            "in_proj_bias",
            nn.Parameter(torch.empty(n_rows, device="meta")) if has_bias else None,
        )
        self.out_proj = out_proj
        self.attention_dropout = nn.Dropout(like.dropout)
        self.head_dim = like.head_dim
        self.batch_first = like.batch_first
        self.given = given
        self._qkv_same_embed_dim = False

    def forward(  # noqa: PLR0917  # nn.MultiheadAttention's arguments
        self,
        query: Tensor,
        key: Tensor | None = None,
        value: Tensor | None = None,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = False,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        for (_, name), mask in zip(MASKS, (key_padding_mask, attn_mask), strict=True):
            self._check_mask(name, mask)
        masks: list[Any] = [
            None
            if name not in self.given
            else as_numbers(mask, query)  # type: ignore[arg-type]
            if f"{name} of truths" in self.given
            else mask
            for (_, name), mask in zip(MASKS, (key_padding_mask, attn_mask), strict=True)
        ]
        tokens: list[Any] = [query, key, value] if "memory" in self.given else [query]
        return attend(
            tokens,
            masks,
            ([getattr(self, name) for name in self.names], self.in_proj_bias),
            self.out_proj,
            head_dim=self.head_dim,
            batch_first=self.batch_first,
            dropout=self.attention_dropout,
            is_dropping=self.attention_dropout.p > 0,
            given=self.given,
        )

    def _check_mask(self, name: str, mask: Any) -> None:
        """Raise if a mask is of another kind than the example's, when the graph is run.

        By calls that a graph records, and that a subnet needs PyTorch alone for.
        """
        told = "build the supernet with an example of the other kind"
        if name not in self.given:
            _require(
                operator.eq(mask, None),
                f"an attention is called with {name}, and in the example without; {told}",
            )
            return
        _require(
            operator.ne(mask, None),
            f"an attention is called without {name}, and in the example with one; {told}",
        )
        is_of_truths = f"{name} of truths" in self.given
        _require(
            (operator.eq if is_of_truths else operator.ne)(mask.dtype, torch.bool),
            f"an attention takes as {name} {'truth values' if is_of_truths else 'numbers'}, as in "
            f"the example; {told}",
        )


def trace_attention(
    layer: nn.MultiheadAttention,
    shapes: Mapping[str, torch.Size],
    out_proj: nn.Module,
    *,
    has_bias: bool,
    given: frozenset[str],
) -> fx.GraphModule:
    """Trace an attention whose heads do not fill its embedding, without weights.

    Args:
        layer: What it is cut from.
        shapes: Of the weights to queries, keys and values, by name.
        out_proj: The plain output projection.
        has_bias: These weights have a bias beside them.
        given: What calls give it besides tokens.
    """
    root = _Attention(layer, shapes, out_proj, has_bias, given)
    graph = fx.Tracer().trace(root)
    for node in graph.nodes:
        node.type = None  # annotations are strings here, which a pickled graph cannot hold
    last = next(node for node in reversed(graph.nodes) if node.op == "output")
    with graph.inserting_before(last):
        # nn.TransformerEncoderLayer asks its attention for these.
        for name in ("batch_first", "_qkv_same_embed_dim", "in_proj_bias"):
            graph.create_node("get_attr", name)
    return fx.GraphModule(root, graph, "SelfAttention")
