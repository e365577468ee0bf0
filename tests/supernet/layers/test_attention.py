"""Transformers in the ways that people write them: what of them is elastic, and that it is exact."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from supernet import attentions as a
from supernet.exactness import assert_close
from supernet.exactness import assert_exact
from supernet.exactness import assert_exports
from supernet.exactness import reasons
from torch import Tensor
from torch import fx
from torch import nn

from dpod_search.supernet import Supernet
from dpod_search.supernet import build_supernet
from dpod_search.supernet import extract_subnet


X = torch.linspace(-3, 3, 2 * 3 * 6 * 6).sin().reshape(2, 3, 6, 6)
# Below half of a head's four channels einsum multiplies without a product that PyTorch counts.
RATIOS = (0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Case:
    """A way to write attention, and what is elastic of it.

    Args:
        make: Makes the module of one block.
        heads: Layer that makes the heads; "tied" if the embedding keeps their share.
        kind: What the units of that layer are.
        reason: Why the embedding, or the layer named in ``frozen``, keeps its width.
    """

    make: Callable[[], nn.Module]
    heads: str | None = "tied"
    kind: str = "heads"
    frozen: str | None = None
    reason: str = ""


CASES = {
    "timm": Case(a.Timm),
    "timm-unbind": Case(a.TimmUnbound),
    "timm-fused-with-norms": Case(a.TimmFused),
    "timm-flatten": Case(a.TimmFlat, heads="qkv"),
    "nanogpt": Case(a.NanoGpt),
    "nanogpt-mask": Case(a.NanoGptMasked),
    "nanogpt-square-root": Case(a.NanoGptSquareRoot),
    "separate": Case(a.Separate, heads="to_q"),
    "lucidrains": Case(a.Lucidrains, heads="to_qkv", kind="channels"),
    "lucidrains-inferred": Case(a.LucidrainsInferred, heads="to_qkv"),
    "fairseq": Case(
        a.Fairseq, heads=None, frozen="blocks.0.attn.q_proj", reason="does not follow the widths"
    ),
    "hard-sizes": Case(
        a.HardHeads, heads=None, frozen="blocks.0.attn.qkv", reason="does not follow the widths"
    ),
    "hard-number-of-heads": Case(a.HardNumberOfHeads, heads="qkv", kind="channels"),
    "hard-width-of-heads": Case(a.HardHeadWidth, heads="qkv"),
    "position-bias": Case(a.PositionBias),
    "position-table": Case(a.Swin),
    "temperature-4d": Case(lambda: a.Temperature(1, a.HEADS, 1, 1)),
    "temperature-3d": Case(lambda: a.Temperature(a.HEADS, 1, 1)),
    "mask": Case(a.Masked),
    "cross-covariance": Case(a.CrossCovariance),
    "class-attention": Case(a.ClassAttention),
    "multi-query": Case(
        a.MultiQuery, heads=None, frozen="blocks.0.attn.q", reason="behind other axes"
    ),
    "torch": Case(a.Torch, heads="attn"),
    "torch-batch-first": Case(lambda: a.Torch(batch_first=True), heads="attn"),
    "torch-without-bias": Case(lambda: a.Torch(bias=False, batch_first=True), heads="attn"),
    "torch-dropout": Case(lambda: a.Torch(dropout=1e-7, batch_first=True), heads="attn"),
    "torch-keywords": Case(
        lambda: a.Torch(lambda attn, x: attn(query=x, key=x, value=x, need_weights=False)[0]),
        heads="attn",
    ),
}


def kinds(supernet: Supernet) -> dict[str, str]:
    return {group.name: group.kind for group in supernet.groups}


@pytest.mark.parametrize("name", CASES)
def test_every_way_to_write_attention(name: str) -> None:
    case = CASES[name]
    supernet = build_supernet(a.make_vit(case.make), X, ratios=RATIOS)

    expected = {"blocks.0": "block", "blocks.1": "block", "patch_embed": "channels"}
    for block in ("blocks.0", "blocks.1"):
        expected[f"{block}.mlp.fc1"] = "channels"
        if case.heads not in (None, "tied"):
            expected[f"{block}.attn.{case.heads}"] = case.kind
    if case.heads == "tied":
        expected["patch_embed"] = "heads"
    if case.frozen is not None:
        assert case.reason in reasons(supernet)[case.frozen]
    found = kinds(supernet)
    if name == "fairseq":  # its last view ties the embedding to the heads
        del expected["patch_embed"]
    assert found == expected
    assert_exact(supernet, X)
    assert_exports(supernet, X)


BODIES: dict[str, tuple[Callable[[], a.Vit], str, str]] = {
    "gated-mlp": (lambda: a.make_vit(mlp=a.GatedMlp), "blocks.0.mlp.fc1", "channels"),
    "swiglu": (lambda: a.make_vit(mlp=a.SwiGlu), "blocks.0.mlp.w1", "channels"),
    "layer-scale": (lambda: a.make_vit(has_scale=True), "patch_embed", "heads"),
    "mean-of-tokens": (lambda: a.make_vit(pool=lambda x: x.mean(1)), "patch_embed", "heads"),
    "token-mixing": (lambda: a.make_vit(a.TokenMixing), "blocks.1.attn.fc1", "channels"),
}


@pytest.mark.parametrize("name", BODIES)
def test_what_stands_beside_attention(name: str) -> None:
    make, group, kind = BODIES[name]
    supernet = build_supernet(make(), X)

    assert kinds(supernet)[group] == kind
    assert {"blocks.0", "blocks.1"} <= set(kinds(supernet))
    # A linear layer over tokens runs at a number of places that must not change.
    parts = {f"blocks.{block}.attn.fc2[{part}]" for block in (0, 1) for part in (0, 1)}
    frozen = {"head", "patch_embed", *parts}
    assert set(reasons(supernet)) == (frozen if name == "token-mixing" else {"head"})
    if name == "token-mixing":
        assert "runs along another axis" in reasons(supernet)["patch_embed"]
    assert_exact(supernet, X)
    assert_exports(supernet, X)


class Encoder(nn.Module):
    """PyTorch's own layers, alone or in its encoder."""

    def __init__(self, *, is_stacked: bool, batch_first: bool, norm_first: bool, act: str) -> None:
        super().__init__()
        self.batch_first = batch_first

        def make() -> nn.TransformerEncoderLayer:
            return nn.TransformerEncoderLayer(
                a.DIM,
                a.HEADS,
                a.HIDDEN,
                dropout=1e-7,
                activation=act,
                batch_first=batch_first,
                norm_first=norm_first,
            )

        norm = nn.LayerNorm(a.DIM) if norm_first else None
        self.layers: nn.Module = (
            nn.TransformerEncoder(make(), 2, norm=norm, enable_nested_tensor=False)
            if is_stacked
            else nn.Sequential(make(), make())
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.batch_first:
            return self.layers(x)
        return self.layers(x.transpose(0, 1)).transpose(0, 1)


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize(("act", "is_stacked"), [("relu", True), ("gelu", False)])
def test_encoders_of_pytorch(
    norm_first: bool, batch_first: bool, act: str, is_stacked: bool
) -> None:
    torch.manual_seed(0)
    encoder = Encoder(
        is_stacked=is_stacked, batch_first=batch_first, norm_first=norm_first, act=act
    )
    supernet = build_supernet(a.scramble(a.Vit(encoder)), X)

    layers = "blocks.0.layers.layers" if is_stacked else "blocks.0.layers"
    expected = {"patch_embed": "channels"}
    for i in range(2):
        expected[f"{layers}.{i}.self_attn"] = "heads"
        expected[f"{layers}.{i}.linear1"] = "channels"
        # Behind a norm the identity is not left; the encoder asks its first layer for its make.
        if norm_first and (i or not is_stacked):
            expected[f"{layers}.{i}"] = "block"
    if norm_first and batch_first and not is_stacked:
        expected["blocks.0"] = "block"  # it only runs blocks one after the other
    assert kinds(supernet) == expected
    assert_exact(supernet, X)
    assert_exports(supernet, X)
    with torch.no_grad():  # PyTorch's fused kernels run without gradients only
        for widths in (supernet.space.smallest, supernet.space.uniform(0.5)):
            subnet = extract_subnet(supernet, widths)
            with supernet.active(widths):
                assert_close(supernet(X), subnet(X))


NOT_FOLLOWED: dict[str, tuple[Callable[[nn.MultiheadAttention, Tensor], Tensor], str]] = {
    "weights": (
        lambda attn, x: sum(attn(x, x, x)[::-1][1:], x),
        "gives its attention weights away",
    ),
}


@pytest.mark.parametrize("name", NOT_FOLLOWED)
def test_attention_that_is_not_followed_freezes_the_embedding(name: str) -> None:
    call, word = NOT_FOLLOWED[name]
    supernet = build_supernet(a.make_vit(lambda: a.Torch(call, batch_first=True)), X)

    assert set(kinds(supernet).values()) == {"channels", "block"}
    assert {"blocks.0.mlp.fc1", "blocks.0"} <= set(kinds(supernet))
    assert word in reasons(supernet)["patch_embed"]
    assert_exact(supernet, X, is_counted=False)


@pytest.mark.parametrize("bias", [True, False])
def test_what_is_extracted_of_pytorchs_attention(bias: bool) -> None:
    model = a.make_vit(lambda: a.Torch(bias=bias, batch_first=True))
    supernet = build_supernet(model, X, ratios=(0.25, 0.5, 0.75))
    attn, full = "blocks.0.attn.attn", supernet.space.full
    names = list(model.get_submodule(attn).state_dict())

    same = extract_subnet(supernet, {**full, "patch_embed": 8, attn: 2}).get_submodule(attn)
    assert type(same) is nn.MultiheadAttention
    assert (same.embed_dim, same.num_heads, same.head_dim) == (8, 2, 4)
    other = extract_subnet(supernet, {**full, attn: 3}).get_submodule(attn)
    assert isinstance(other, fx.GraphModule)
    assert {len(other.in_proj_weight), other.out_proj.in_features * 3} == {3 * 3 * 4}
    for module in (same, other):
        assert sorted(module.state_dict()) == sorted(names)


LOADS = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "dpod_search":
            raise ImportError("dpod_search is not here")

sys.meta_path.insert(0, Refuse())
import torch
folder = sys.argv[1]
x, expected = torch.load(f"{folder}/x.pt")
exported = torch.export.load(f"{folder}/net.pt2").module()(x)
torch.testing.assert_close(exported, expected, rtol=1e-4, atol=1e-5)
attn = torch.load(f"{folder}/attn.pt", weights_only=False)
torch.testing.assert_close(attn(*torch.load(f"{folder}/tokens.pt")[:1] * 3)[0],
                           torch.load(f"{folder}/tokens.pt")[1], rtol=1e-4, atol=1e-5)
layer = torch.nn.Linear(8, 5)
layer.load_state_dict(torch.load(f"{folder}/head.pt"))
assert not any(name.partition(".")[0] == "dpod_search" for name in sys.modules)
"""


def test_an_extracted_net_needs_no_dpod_search(tmp_path: Path) -> None:
    supernet = build_supernet(a.make_vit(lambda: a.Torch(batch_first=True)), X, ratios=(0.5,))
    widths = {**supernet.space.full, "patch_embed": 8}
    subnet = extract_subnet(supernet, widths)
    attn = subnet.get_submodule("blocks.0.attn.attn")
    assert isinstance(attn, fx.GraphModule)
    tokens = torch.randn(2, 3, 8)
    torch.export.save(torch.export.export(subnet, (X,)), tmp_path / "net.pt2")
    torch.save((X, subnet(X).detach()), tmp_path / "x.pt")
    torch.save(attn, tmp_path / "attn.pt")
    torch.save((tokens, attn(tokens, tokens, tokens)[0].detach()), tmp_path / "tokens.pt")
    torch.save(subnet.get_submodule("head").state_dict(), tmp_path / "head.pt")

    command = [sys.executable, "-c", LOADS, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_an_extracted_attention_can_be_copied_and_trained() -> None:
    supernet = build_supernet(a.make_vit(lambda: a.Torch(batch_first=True)), X, ratios=(0.5,))
    subnet = extract_subnet(supernet, {**supernet.space.full, "patch_embed": 8}).train()
    twin = copy.deepcopy(subnet)
    twin.load_state_dict(subnet.state_dict())
    twin(X).sum().backward()

    assert all(p.grad is not None for p in twin.parameters())
    assert_close(twin(X), subnet(X))
