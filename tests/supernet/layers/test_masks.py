"""Attention with masks and to other tokens, and PyTorch's transformers with them."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from supernet import attentions as a
from supernet.exactness import assert_exact
from supernet.exactness import assert_exports
from supernet.exactness import reasons
from torch import Tensor
from torch import fx
from torch import nn

from dpod_search.errors import ConfigError
from dpod_search.errors import GroupingError
from dpod_search.importance import measure_unit_importance
from dpod_search.supernet import Supernet
from dpod_search.supernet import absorb_subnet
from dpod_search.supernet import build_supernet
from dpod_search.supernet import extract_subnet
from dpod_search.supernet import reorder_units


DIM, HEADS, HIDDEN, N_OTHER = 16, 4, 24, 5
X = torch.randn(2, 6, 12, generator=torch.Generator().manual_seed(0))
CAUSAL = torch.triu(torch.ones(6, 6, dtype=torch.bool), 1)
PADDED = torch.zeros(2, 6, dtype=torch.bool)
PADDED[1, 4:] = True


def as_numbers(mask: Tensor) -> Tensor:
    return torch.zeros(mask.shape).masked_fill(mask, -torch.inf)


class Net(nn.Module):
    """Tokens to a stream, which some layers change, and a head."""

    def __init__(self, make: Callable[[], nn.Module], call: Callable[..., Tensor]) -> None:
        super().__init__()
        self.embed, self.other = nn.Linear(12, DIM), nn.Linear(12, DIM)
        self.inner, self.call = make(), call
        self.head = nn.Linear(DIM, 3)
        for name, mask in (("causal", CAUSAL), ("padded", PADDED)):
            self.register_buffer(name, mask)
            self.register_buffer(f"{name}_numbers", as_numbers(mask))

    def forward(self, x: Tensor) -> Tensor:
        memory = self.other(x[:, :N_OTHER].relu())
        return self.head(self.call(self, self.embed(x), memory))


def attention(*, batch_first: bool = True, bias: bool = True) -> Callable[[], nn.Module]:
    return lambda: nn.MultiheadAttention(DIM, HEADS, bias=bias, batch_first=batch_first)


def encoder(*, n_layers: int = 1, norm_first: bool = False) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        layer = nn.TransformerEncoderLayer(
            DIM, HEADS, HIDDEN, 0.0, batch_first=True, norm_first=norm_first
        )
        return nn.TransformerEncoder(layer, n_layers, enable_nested_tensor=False)

    return make


def decoder(*, n_layers: int = 1, norm_first: bool = False) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        layer = nn.TransformerDecoderLayer(
            DIM, HEADS, HIDDEN, 0.0, batch_first=True, norm_first=norm_first
        )
        return nn.TransformerDecoder(layer, n_layers, nn.LayerNorm(DIM))

    return make


def turned(x: Tensor) -> Tensor:
    return x.transpose(0, 1)


def add_up(tokens: Tensor, weights: Tensor) -> Tensor:
    return tokens + weights.square().sum(2, keepdim=True)


ATTENTIONS: dict[str, tuple[Callable[[], nn.Module], Callable[..., Tensor]]] = {
    "mask of truths": (attention(), lambda n, x, m: n.inner(x, x, x, attn_mask=n.causal)[0]),
    "mask of numbers": (
        attention(bias=False),
        lambda n, x, m: n.inner(x, x, x, attn_mask=n.causal_numbers)[0],
    ),
    "padding": (attention(), lambda n, x, m: n.inner(x, x, x, n.padded)[0]),
    "padding and mask": (
        attention(batch_first=False),
        lambda n, x, m: turned(
            n.inner(*3 * (turned(x),), n.padded_numbers, False, n.causal_numbers)[0]
        ),
    ),
    "causal as is said": (
        attention(),
        lambda n, x, m: n.inner(
            x, x, x, need_weights=False, attn_mask=n.causal_numbers, is_causal=True
        )[0],
    ),
    "other tokens": (attention(), lambda n, x, m: x + n.inner(x, m, m)[0]),
    "fewer queries": (attention(bias=False), lambda n, x, m: n.inner(m, x, x)[0]),
    "three streams": (
        attention(batch_first=False),
        lambda n, x, m: turned(n.inner(turned(x), turned(m), turned(m * 2))[0]),
    ),
    "other tokens, padded": (
        attention(),
        lambda n, x, m: n.inner(x, m, m, n.padded[:, :N_OTHER])[0],
    ),
    "called twice": (
        attention(),
        lambda n, x, m: n.inner(x, n.inner(x, m, m)[0], x)[0],
    ),
    "rows folded into the batch": (
        attention(),
        lambda n, x, m: (
            n.inner(*3 * (x.unflatten(1, (2, 3)).flatten(0, 1),))[0]
            .unflatten(0, (-1, 2))
            .flatten(1, 2)
        ),
    ),
    "weights, averaged": (
        attention(),
        lambda n, x, m: add_up(*n.inner(x, x, x, attn_mask=n.causal)),
    ),
}


@pytest.mark.parametrize("name", ATTENTIONS)
def test_an_attention_is_narrowed_whatever_it_is_called_with(name: str) -> None:
    torch.manual_seed(0)
    supernet = build_supernet(a.scramble(Net(*ATTENTIONS[name])), X)

    kinds = {group.name: group.kind for group in supernet.grouping.groups}
    assert kinds["inner"] == "heads"
    assert set(reasons(supernet)) <= {"head", "other"}
    assert_exact(supernet, X)
    assert_exports(supernet, X)


def of_heads(n: nn.Module, x: Tensor) -> Tensor:
    """Return a mask of another slope for each head, as ALiBi's is."""
    slopes = torch.tensor([1.0, 0.5, 0.25, 0.1]).view(1, HEADS, 1, 1)
    far = (torch.arange(6) - torch.arange(6)[:, None]).abs()
    return (x.new_zeros(x.size(0), 1, 1, 1) - slopes * far).flatten(0, 1)


OF_HEADS: dict[str, tuple[Callable[[], nn.Module], Callable[..., Tensor]]] = {
    "numbers": (attention(), lambda n, x, m: n.inner(x, x, x, attn_mask=of_heads(n, x))[0]),
    "numbers and padding": (
        attention(bias=False),
        lambda n, x, m: n.inner(x, x, x, n.padded_numbers, attn_mask=of_heads(n, x))[0],
    ),
    "truths, other tokens": (
        attention(batch_first=False),
        lambda n, x, m: turned(
            n.inner(turned(x), turned(m), turned(m), attn_mask=of_heads(n, x)[..., 1:] < -1)[0]
        ),
    ),
    "weights": (
        attention(),
        lambda n, x, m: add_up(*n.inner(x, x, x, attn_mask=of_heads(n, x))),
    ),
    "an encoder": (
        encoder(n_layers=2),
        lambda n, x, m: n.inner(x, of_heads(n, x), is_causal=False),
    ),
}


@pytest.mark.parametrize("name", OF_HEADS)
def test_a_mask_for_each_head_keeps_the_heads_and_narrows_the_rest(name: str) -> None:
    torch.manual_seed(0)
    supernet = build_supernet(a.scramble(Net(*OF_HEADS[name])), X)

    assert all(group.kind == "channels" for group in supernet.groups)
    assert any("embed" in group.members for group in supernet.groups)
    told = [text for text in reasons(supernet).values() if "has a mask for each head" in text]
    assert len(told) == (2 if name == "an encoder" else 1)
    assert_exact(supernet, X)
    assert_exports(supernet, X)


def test_a_mask_for_each_head_is_of_another_kind_than_one_for_all() -> None:
    class Optional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Linear(12, DIM), nn.Linear(DIM, 3)
            self.inner = nn.MultiheadAttention(DIM, HEADS, batch_first=True)

        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            x = self.embed(x)
            return self.head(self.inner(x, x, x, attn_mask=mask)[0])

    supernet = build_supernet(Optional(), (X, as_numbers(CAUSAL)))
    with pytest.raises(ConfigError, match="inner is called with attn_mask, attn_mask of heads"):
        supernet(X, as_numbers(CAUSAL).expand(2 * HEADS, 6, 6))


class Wide(nn.Module):
    """Looks up tokens of other widths than its own."""

    def __init__(self, kdim: int, vdim: int, *, bias: bool = True, twice: bool = False) -> None:
        super().__init__()
        self.embed, self.keys = nn.Linear(12, DIM), nn.Linear(12, kdim)
        self.values = self.keys if kdim == vdim else nn.Linear(12, vdim)
        self.inner = nn.MultiheadAttention(
            DIM, HEADS, kdim=kdim, vdim=vdim, bias=bias, batch_first=True, dropout=0.0
        )
        self.norm, self.head = nn.LayerNorm(DIM), nn.Linear(DIM, 3)
        self.twice = twice

    def forward(self, x: Tensor) -> Tensor:
        memory, queries = x[:, :N_OTHER], self.embed(x)
        keys = self.keys(memory)
        values = keys if self.values is self.keys else self.values(memory)
        made = self.norm(queries + self.inner(queries, keys, values, need_weights=False)[0])
        if self.twice:
            made = self.inner(made[:, 1:], keys.flip(1), values)[0]
        return self.head(made)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("kdim", "vdim"), [(12, 12), (12, 20), (16, 10)])
@pytest.mark.parametrize("twice", [False, True])
def test_keys_and_values_have_widths_of_their_own(
    kdim: int, vdim: int, bias: bool, twice: bool
) -> None:
    torch.manual_seed(0)
    supernet = build_supernet(a.scramble(Wide(kdim, vdim, bias=bias, twice=twice)), X)

    own = {"embed", "keys", "values"} if kdim != vdim else {"embed", "keys"}
    assert {group.name for group in supernet.groups} == {"inner", *own}
    assert set(reasons(supernet)) == {"head"}
    assert_exact(supernet, X)
    assert_exports(supernet, X)


def test_what_is_cut_out_is_pytorchs_own_where_it_can_be() -> None:
    supernet = build_supernet(Wide(12, 20), X)
    space = supernet.space
    narrow = extract_subnet(supernet, space.full.replace("keys", 3).replace("values", 5)).inner
    assert type(narrow) is nn.MultiheadAttention
    assert (narrow.kdim, narrow.vdim) == (3, 5)
    half = space.full.replace("embed", 8).replace("inner", 2)
    assert type(extract_subnet(supernet, half).inner) is nn.MultiheadAttention
    # An attention of PyTorch's whose keys and values are as wide as its embedding packs its weights.
    same = extract_subnet(supernet, half.replace("keys", 8).replace("values", 8)).inner
    assert isinstance(same, torch.fx.GraphModule)
    assert {name for name, _ in same.named_parameters()} == {
        name for name, _ in narrow.named_parameters()
    }


def test_heads_of_separate_weights_have_scores_and_an_order_and_come_back() -> None:
    torch.manual_seed(0)
    supernet = build_supernet(a.scramble(Wide(12, 20)), X)
    before = supernet(X)
    importance = measure_unit_importance(supernet, criterion="magnitude")
    made = {layer.layer for layer in importance.layers}
    assert "inner" in made
    norms = (
        supernet.net.inner.v_proj_weight.detach().unflatten(0, (HEADS, -1)).square().sum((1, 2))
    )
    norms += (
        supernet.net.inner.in_proj_bias.detach()[2 * DIM :]
        .unflatten(0, (HEADS, -1))
        .square()
        .sum(1)
    )
    (scores,) = (layer.scores for layer in importance.layers if layer.layer == "inner")
    assert list(np.argsort(scores)) == list(np.argsort(norms.numpy()))

    found = reorder_units(supernet, importance.by_group(), inputs=(X,))
    assert not found.left
    torch.testing.assert_close(supernet(X), before)

    widths = supernet.space.uniform(0.5)
    subnet = extract_subnet(supernet, widths)
    with torch.no_grad():
        for parameter in subnet.parameters():
            parameter.mul_(1.5)
    absorb_subnet(supernet, widths, subnet)
    with supernet.active(widths):
        torch.testing.assert_close(supernet(X), subnet(X))


TRANSFORMERS: dict[str, tuple[Callable[[], nn.Module], Callable[..., Tensor]]] = {
    "encoder, mask": (encoder(n_layers=2), lambda n, x, m: n.inner(x, n.causal, is_causal=True)),
    "encoder, padding": (
        encoder(norm_first=True),
        lambda n, x, m: n.inner(x, n.causal_numbers, n.padded_numbers, is_causal=False),
    ),
    "encoder layer": (
        lambda: nn.TransformerEncoderLayer(DIM, HEADS, HIDDEN, 0.0, batch_first=True),
        lambda n, x, m: n.inner(x, n.causal_numbers, is_causal=True),
    ),
    "decoder": (
        decoder(),
        lambda n, x, m: n.inner(
            x,
            m,
            tgt_mask=n.causal,
            memory_key_padding_mask=n.padded[:, :N_OTHER],
            tgt_is_causal=False,
        ),
    ),
    "decoder, norm first": (
        decoder(n_layers=2, norm_first=True),
        lambda n, x, m: n.inner(
            x,
            m,
            n.causal_numbers,
            n.causal[:, :N_OTHER],
            n.padded_numbers,
            tgt_is_causal=False,
        ),
    ),
    "transformer": (
        lambda: nn.Transformer(DIM, HEADS, 1, 1, HIDDEN, 0.0, batch_first=True),
        lambda n, x, m: n.inner(m, x, tgt_mask=n.causal, tgt_is_causal=False),
    ),
}


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_transformers_of_pytorch_with_masks(name: str) -> None:
    torch.manual_seed(0)
    supernet = build_supernet(a.scramble(Net(*TRANSFORMERS[name])), X)

    frozen = {key for key in reasons(supernet) if key not in ("head", "other")}
    assert not frozen, reasons(supernet)
    assert sum(group.kind == "heads" for group in supernet.grouping.groups) >= 1
    assert_exact(supernet, X)
    assert_exports(supernet, X)


def test_the_width_a_transformer_asks_for_follows_its_streams() -> None:
    make, call = TRANSFORMERS["transformer"]
    supernet = build_supernet(Net(make, call), X)
    (stream,) = (g.name for g in supernet.grouping.groups if "embed" in g.members)
    subnet = extract_subnet(supernet, {**supernet.space.full, stream: 4})
    assert subnet(X).shape == (2, 6, 3)
    assert subnet.get_submodule("inner").d_model == 4


def test_a_call_of_another_kind_than_the_examples_is_one_line() -> None:
    class Optional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Linear(12, DIM), nn.Linear(DIM, 3)
            self.inner = nn.MultiheadAttention(DIM, HEADS, batch_first=True)

        def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
            x = self.embed(x)
            return self.head(self.inner(x, x, x, attn_mask=mask)[0])

    plain = build_supernet(Optional(), X)
    with pytest.raises(ConfigError, match="inner is called with attn_mask, and in the example"):
        plain(X, as_numbers(CAUSAL))
    masked = build_supernet(Optional(), (X, CAUSAL))
    with pytest.raises(ConfigError, match="in the example with attn_mask, attn_mask of truths"):
        masked(X, as_numbers(CAUSAL))

    def cut(supernet: Supernet) -> nn.Module:
        heads = next(group.name for group in supernet.groups if group.kind == "heads")
        found = extract_subnet(supernet, supernet.space.full.replace(heads, HEADS // 2))
        assert isinstance(found.get_submodule("inner"), fx.GraphModule)
        return pickle.loads(pickle.dumps(found.get_submodule("inner")))  # noqa: S301  # our own

    x = torch.randn(2, 6, DIM)
    with pytest.raises(AssertionError, match="called with attn_mask, and in the example without"):
        cut(plain)(x, x, x, attn_mask=as_numbers(CAUSAL))
    with pytest.raises(AssertionError, match="called with key_padding_mask, and in the example"):
        cut(plain)(x, x, x, PADDED)
    with pytest.raises(AssertionError, match="called without attn_mask, and in the example with"):
        cut(masked)(x, x, x)
    with pytest.raises(AssertionError, match="takes as attn_mask truth values"):
        cut(masked)(x, x, x, attn_mask=as_numbers(CAUSAL))
    numbers = build_supernet(Optional(), (X, as_numbers(CAUSAL)))
    with pytest.raises(AssertionError, match="takes as attn_mask numbers"):
        cut(numbers)(x, x, x, attn_mask=CAUSAL)


def test_what_is_dropped_in_training_costs_no_width() -> None:
    def make() -> nn.Module:
        layer = nn.TransformerEncoderLayer(DIM, HEADS, HIDDEN, 0.3, batch_first=True)
        return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    supernet = build_supernet(Net(make, lambda n, x, m: n.inner(x, n.causal)), X)

    assert set(reasons(supernet)) <= {"head", "other"}
    assert sum(group.kind == "heads" for group in supernet.grouping.groups) == 2


REFUSED: dict[str, tuple[Callable[..., Tensor], str]] = {
    "weights of each head": (
        lambda n, x, m: (
            n.inner(x, x, x, average_attn_weights=False)[1].sum(1).sum(2, keepdim=True) + x
        ),
        "gives the attention weights of each head away",
    ),
    "a mask in one call only": (
        lambda n, x, m: n.inner(x, x, x)[0] + n.inner(x, x, x, attn_mask=n.causal)[0],
        "in one call and not in another",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_followed_is_frozen_with_its_reason(name: str) -> None:
    call, reason = REFUSED[name]
    net = Net(attention(), call)
    net.head = nn.Sequential(nn.Linear(DIM, 8), nn.ReLU(), nn.Linear(8, 3))
    supernet = build_supernet(net, X)

    assert any(reason in text for text in reasons(supernet).values()), reasons(supernet)
    assert_exact(supernet, X, is_counted=False)


@pytest.mark.filterwarnings("ignore:.*nested tensors:UserWarning")
def test_an_encoder_that_sets_padding_to_zero_only_in_use_is_refused() -> None:
    layer = nn.TransformerEncoderLayer(DIM, HEADS, HIDDEN, batch_first=True)
    net = Net(
        lambda: nn.TransformerEncoder(layer, 1),
        lambda n, x, m: n.inner(x, src_key_padding_mask=n.padded),
    )
    with pytest.raises(GroupingError, match="enable_nested_tensor=False"):
        build_supernet(net, X)


class Keeping(nn.Module):
    """Keeps the attention weights of its last call, which nothing else reads."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.embed, self.head, self.how = nn.Linear(12, DIM), nn.Linear(DIM, 3), how
        self.inner = nn.MultiheadAttention(DIM, HEADS, batch_first=True)
        self.kept: Any = None

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        if self.how == "whole":
            self.kept = self.inner(x, x, x)
            return self.head(self.kept[0])
        options = {"none": {"need_weights": False}, "each": {"average_attn_weights": False}}
        y, weights = self.inner(x, x, x, **options.get(self.how, {}))
        self.kept = {"weights": [weights]} if self.how == "in a list" else weights
        return self.head(y)


@pytest.mark.parametrize("how", ["alone", "in a list", "whole", "none"])
def test_weights_that_are_kept_in_an_attribute_are_there(how: str) -> None:
    model = Keeping(how).eval()
    supernet = build_supernet(model, X).eval()
    model(X), supernet(X)
    assert {group.name for group in supernet.groups} == {"embed", "inner", "inner.out_proj"}
    torch.testing.assert_close(supernet.net.kept, model.kept)
    widths = supernet.space.smallest
    with supernet.active(widths):
        supernet(X)
    subnet = extract_subnet(supernet, widths).eval()
    subnet(X)
    torch.testing.assert_close(subnet.kept, supernet.net.kept)


def test_weights_of_each_head_that_are_kept_freeze_the_attention() -> None:
    model = Keeping("each")
    model.head = nn.Sequential(nn.Linear(DIM, 8), nn.ReLU(), nn.Linear(8, 3))
    supernet = build_supernet(model.eval(), X)
    assert "gives the attention weights of each head away" in reasons(supernet)["inner"]
    supernet(X), model(X)
    torch.testing.assert_close(supernet.net.kept, model.kept)
