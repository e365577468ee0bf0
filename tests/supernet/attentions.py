"""Self-attention in the many ways that people write it, and the small net that each stands in."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch import nn
from torch.nn import functional as F


DIM, HEADS, HIDDEN, TOKENS = 16, 4, 12, 10
HEAD_DIM = DIM // HEADS


class Timm(nn.Module):
    """As in timm's vision_transformer.py until 0.8: one product to three, scaled by hand."""

    def __init__(self, dim: int = DIM, num_heads: int = HEADS) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.scale = (dim // num_heads) ** -0.5
        self.qkv = nn.Linear(dim, dim * 3, bias=True)
        self.attn_drop = nn.Dropout(0.0)
        self.proj = nn.Linear(dim, dim)

    def cut(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        b, n, c = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, self.num_heads, c // self.num_heads)
        qkv = qkv.permute(2, 0, 3, 1, 4)
        return qkv[0], qkv[1], qkv[2]

    def weigh(self, scores: Tensor) -> Tensor:
        return scores.softmax(dim=-1)

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        q, k, v = self.cut(x)
        attn = self.attn_drop(self.weigh((q @ k.transpose(-2, -1)) * self.scale))
        return self.proj((attn @ v).transpose(1, 2).reshape(b, n, c))


class TimmUnbound(Timm):
    def cut(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        b, n, c = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, self.num_heads, c // self.num_heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        return q, k, v


class TimmFused(nn.Module):
    """As in timm since 0.9: PyTorch's fused attention, a width for the head, norms inside."""

    def __init__(self) -> None:
        super().__init__()
        self.num_heads = HEADS
        self.head_dim = DIM // HEADS
        self.qkv = nn.Linear(DIM, DIM * 3, bias=False)
        self.q_norm, self.k_norm = nn.LayerNorm(self.head_dim), nn.LayerNorm(self.head_dim)
        self.proj = nn.Linear(DIM, DIM)

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        x = F.scaled_dot_product_attention(self.q_norm(q), self.k_norm(k), v)
        return self.proj(x.transpose(1, 2).reshape(b, n, c))


class TimmFlat(TimmFused):
    """The same with a flatten at its end, which does not tie the embedding to the heads."""

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        x = F.scaled_dot_product_attention(q, k, v, dropout_p=0.0)
        return self.proj(x.transpose(1, 2).flatten(2))


class NanoGpt(nn.Module):
    """As in nanoGPT: split by the embedding's width, then views; causal."""

    def __init__(self) -> None:
        super().__init__()
        self.n_head, self.n_embd = HEADS, DIM
        self.c_attn = nn.Linear(DIM, 3 * DIM)
        self.c_proj = nn.Linear(DIM, DIM)
        self.resid_dropout = nn.Dropout(0.0)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=None, is_causal=True)

    def forward(self, x: Tensor) -> Tensor:
        b, t, c = x.size()
        q, k, v = self.c_attn(x).split(self.n_embd, dim=2)
        k = k.view(b, t, self.n_head, c // self.n_head).transpose(1, 2)
        q = q.view(b, t, self.n_head, c // self.n_head).transpose(1, 2)
        v = v.view(b, t, self.n_head, c // self.n_head).transpose(1, 2)
        y = self.attend(q, k, v).transpose(1, 2).contiguous().view(b, t, c)
        return self.resid_dropout(self.c_proj(y))


class NanoGptMasked(NanoGpt):
    """Its slow way: a mask in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        mask = torch.tril(torch.ones(TOKENS, TOKENS)).view(1, 1, TOKENS, TOKENS)
        self.register_buffer("bias", mask)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        t = q.size(2)
        att = (q @ k.transpose(-2, -1)) * k.size(-1) ** -0.5
        att = att.masked_fill(self.bias[:, :, :t, :t] == 0, float("-inf"))
        return F.softmax(att, dim=-1) @ v


class NanoGptSquareRoot(NanoGpt):
    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        att = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1)))
        return F.softmax(att, dim=-1) @ v


class Separate(nn.Module):
    """Three linear layers to a width of their own, with more than the embedding has."""

    def __init__(self) -> None:
        super().__init__()
        self.heads, self.inner_dim = HEADS, 2 * DIM
        self.to_q = nn.Linear(DIM, self.inner_dim, bias=False)
        self.to_k = nn.Linear(DIM, self.inner_dim, bias=False)
        self.to_v = nn.Linear(DIM, self.inner_dim)
        self.to_out = nn.Linear(self.inner_dim, DIM)

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        shape = (b, n, self.heads, self.inner_dim // self.heads)
        q, k, v = (
            layer(x).view(shape).transpose(1, 2) for layer in (self.to_q, self.to_k, self.to_v)
        )
        scores = torch.matmul(q, k.transpose(2, 3)) / (2 * HEAD_DIM) ** 0.5
        out = torch.matmul(torch.softmax(scores, -1), v)
        return self.to_out(out.permute(0, 2, 1, 3).reshape(b, n, self.inner_dim))


class Lucidrains(nn.Module):
    """As in vit-pytorch: chunk and einsum; rearrange is a view and a transpose here."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = HEADS
        self.scale = HEAD_DIM**-0.5
        self.to_qkv = nn.Linear(DIM, 3 * DIM, bias=False)
        self.to_out = nn.Sequential(nn.Linear(DIM, DIM), nn.Dropout(0.0))

    def forward(self, x: Tensor) -> Tensor:
        b, n, _, h = *x.shape, self.heads
        qkv = self.to_qkv(x).chunk(3, dim=-1)
        q, k, v = (t.reshape(b, n, h, t.shape[2] // h).transpose(1, 2) for t in qkv)
        dots = torch.einsum("b h i d, b h j d -> b h i j", q, k) * self.scale
        out = torch.einsum("b h i j, b h j d -> b h i d", dots.softmax(dim=-1), v)
        return self.to_out(out.transpose(1, 2).flatten(2))


class LucidrainsInferred(Lucidrains):
    """With the head's width inferred, so that the number of heads is a plain number."""

    def forward(self, x: Tensor) -> Tensor:
        b, n, _, h = *x.shape, self.heads
        q, k, v = (t.view(b, n, h, -1).transpose(1, 2) for t in self.to_qkv(x).chunk(3, dim=-1))
        dots = torch.einsum("bhid,bhjd->bhij", q, k) * self.scale
        out = torch.einsum("bhij,bhjd->bhid", dots.softmax(dim=-1), v)
        return self.to_out(out.transpose(1, 2).reshape(b, n, -1))


class Fairseq(nn.Module):
    """As in fairseq: time first, heads folded into the batch, bmm."""

    def __init__(self) -> None:
        super().__init__()
        self.embed_dim, self.num_heads, self.head_dim = DIM, HEADS, HEAD_DIM
        self.scaling = self.head_dim**-0.5
        self.q_proj, self.k_proj = nn.Linear(DIM, DIM), nn.Linear(DIM, DIM)
        self.v_proj, self.out_proj = nn.Linear(DIM, DIM), nn.Linear(DIM, DIM)

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(0, 1)
        t, b, c = x.size()
        q, k, v = self.q_proj(x) * self.scaling, self.k_proj(x), self.v_proj(x)
        q = q.contiguous().view(t, b * self.num_heads, self.head_dim).transpose(0, 1)
        k = k.contiguous().view(-1, b * self.num_heads, self.head_dim).transpose(0, 1)
        v = v.contiguous().view(-1, b * self.num_heads, self.head_dim).transpose(0, 1)
        weights = F.softmax(torch.bmm(q, k.transpose(1, 2)), dim=-1)
        attn = torch.bmm(weights, v).transpose(0, 1).contiguous().view(t, b, c)
        return self.out_proj(attn).transpose(0, 1)


class HardHeads(Timm):
    """Numbers for the heads and for their width."""

    def cut(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        qkv = self.qkv(x).reshape(x.shape[0], x.shape[1], 3, HEADS, HEAD_DIM)
        return tuple(qkv.permute(2, 0, 3, 1, 4))  # type: ignore[return-value]

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, HEADS, HEAD_DIM).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        attn = ((q @ k.transpose(-2, -1)) * self.scale).softmax(dim=-1)
        return self.proj((attn @ v).transpose(1, 2).reshape(b, n, DIM))


class HardNumberOfHeads(HardHeads):
    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, HEADS, -1).permute(2, 0, 3, 1, 4).unbind(0)
        attn = ((q @ k.transpose(-2, -1)) * self.scale).softmax(dim=-1)
        return self.proj((attn @ v).transpose(1, 2).reshape(b, n, -1))


class HardHeadWidth(HardHeads):
    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, -1, HEAD_DIM).permute(2, 0, 3, 1, 4).unbind(0)
        attn = ((q @ k.transpose(-2, -1)) * self.scale).softmax(dim=-1)
        return self.proj((attn @ v).transpose(1, 2).reshape(b, n, -1))


class PositionBias(Timm):
    """A learnt bias for every head and pair of places."""

    def __init__(self) -> None:
        super().__init__()
        self.position_bias = nn.Parameter(torch.randn(HEADS, TOKENS, TOKENS))

    def weigh(self, scores: Tensor) -> Tensor:
        return (scores + self.position_bias).softmax(dim=-1)


class Swin(Timm):
    """A table of biases, looked up by relative position, as in Swin."""

    def __init__(self) -> None:
        super().__init__()
        self.relative_position_bias_table = nn.Parameter(torch.randn(7, HEADS))
        places = torch.arange(TOKENS**2).view(TOKENS, TOKENS) % 7
        self.register_buffer("relative_position_index", places)

    def weigh(self, scores: Tensor) -> Tensor:
        bias = self.relative_position_bias_table[self.relative_position_index.view(-1)]
        bias = bias.view(TOKENS, TOKENS, -1).permute(2, 0, 1).contiguous()
        return (scores + bias.unsqueeze(0)).softmax(dim=-1)


class Temperature(Timm):
    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.temperature = nn.Parameter(torch.rand(shape) + 0.5)

    def weigh(self, scores: Tensor) -> Tensor:
        return (scores * self.temperature).softmax(dim=-1)


class Masked(Timm):
    """A mask in a buffer, added to the scores."""

    def __init__(self) -> None:
        super().__init__()
        mask = torch.full((TOKENS, TOKENS), float("-inf")).triu(1)
        self.register_buffer("mask", mask)

    def weigh(self, scores: Tensor) -> Tensor:
        return (scores + self.mask).softmax(dim=-1)


class CrossCovariance(Timm):
    """Attention between channels, as in XCiT: the transposed product."""

    def __init__(self) -> None:
        super().__init__()
        self.temperature = nn.Parameter(torch.rand(HEADS, 1, 1) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, self.num_heads, c // self.num_heads)
        q, k, v = qkv.permute(2, 0, 3, 4, 1).unbind(0)
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        attn = ((q @ k.transpose(-2, -1)) * self.temperature).softmax(dim=-1)
        return self.proj((attn @ v).permute(0, 3, 1, 2).reshape(b, n, c))


class MultiQuery(nn.Module):
    """All heads share keys and values."""

    def __init__(self) -> None:
        super().__init__()
        self.num_heads, self.head_dim = HEADS, HEAD_DIM
        self.q = nn.Linear(DIM, DIM)
        self.kv = nn.Linear(DIM, 2 * HEAD_DIM)
        self.proj = nn.Linear(DIM, DIM)

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        q = self.q(x).view(b, n, self.num_heads, self.head_dim).transpose(1, 2)
        k, v = self.kv(x).unsqueeze(1).chunk(2, dim=-1)
        attn = (q @ k.transpose(-2, -1) * HEAD_DIM**-0.5).softmax(dim=-1)
        return self.proj((attn @ v).transpose(1, 2).flatten(2))


class Torch(nn.Module):
    """PyTorch's own module; ``call`` says how it is called."""

    def __init__(
        self,
        call: Callable[[nn.MultiheadAttention, Tensor], Tensor] | None = None,
        **options: object,
    ) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(DIM, HEADS, **options)  # type: ignore[arg-type]
        self.call = call or (lambda attn, x: attn(x, x, x)[0])

    def forward(self, x: Tensor) -> Tensor:
        if not self.attn.batch_first:
            x = x.transpose(0, 1)
        x = self.call(self.attn, x)
        return x if self.attn.batch_first else x.transpose(0, 1)


class ClassAttention(nn.Module):
    """Queries from the class token alone, keys and values from all, as in CaiT."""

    def __init__(self) -> None:
        super().__init__()
        self.num_heads = HEADS
        self.scale = HEAD_DIM**-0.5
        self.q, self.k, self.v = nn.Linear(DIM, DIM), nn.Linear(DIM, DIM), nn.Linear(DIM, DIM)
        self.proj = nn.Linear(DIM, DIM)

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        q = self.q(x[:, 0]).unsqueeze(1).reshape(b, 1, self.num_heads, c // self.num_heads)
        q = q.permute(0, 2, 1, 3) * self.scale
        k = self.k(x).reshape(b, n, self.num_heads, c // self.num_heads).permute(0, 2, 1, 3)
        v = self.v(x).reshape(b, n, self.num_heads, c // self.num_heads).permute(0, 2, 1, 3)
        attn = (q @ k.transpose(-2, -1)).softmax(dim=-1)
        return self.proj((attn @ v).transpose(1, 2).reshape(b, 1, c))


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(DIM, HIDDEN), nn.Linear(HIDDEN, DIM)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class GatedMlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(DIM, 2 * HIDDEN), nn.Linear(HIDDEN, DIM)

    def forward(self, x: Tensor) -> Tensor:
        x, gate = self.fc1(x).chunk(2, dim=-1)
        return self.fc2(x * F.gelu(gate))


class SwiGlu(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w1, self.w2 = nn.Linear(DIM, HIDDEN, bias=False), nn.Linear(HIDDEN, DIM, bias=False)
        self.w3 = nn.Linear(DIM, HIDDEN, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class TokenMixing(nn.Module):
    """An MLP over tokens, as in MLP-Mixer."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(TOKENS, HIDDEN), nn.Linear(HIDDEN, TOKENS)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x.transpose(1, 2)))).transpose(1, 2)


class Block(nn.Module):
    """Pre-norm, with or without a scale for every channel of each branch."""

    def __init__(self, attn: nn.Module, mlp: nn.Module, *, has_scale: bool = False) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(DIM), nn.LayerNorm(DIM)
        self.attn, self.mlp = attn, mlp
        self.gamma = nn.Parameter(torch.rand(DIM) + 0.5) if has_scale else None

    def forward(self, x: Tensor) -> Tensor:
        if self.gamma is None:
            x = x + self.attn(self.norm1(x))
            return x + self.mlp(self.norm2(x))
        x = x + self.gamma * self.attn(self.norm1(x))
        return x + self.gamma * self.mlp(self.norm2(x))


class Vit(nn.Module):
    """Tokens from patches, a class token, learnt positions, blocks, a norm and a head."""

    def __init__(self, *blocks: nn.Module, pool: Callable[[Tensor], Tensor] | None = None) -> None:
        super().__init__()
        self.patch_embed = nn.Conv2d(3, DIM, 2, 2)
        self.cls_token = nn.Parameter(torch.randn(1, 1, DIM))
        self.pos_embed = nn.Parameter(torch.randn(1, TOKENS, DIM))
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.LayerNorm(DIM)
        self.head = nn.Linear(DIM, 5)
        self.pool = pool or (lambda x: x[:, 0])

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], dim=1)
        x = self.blocks(x + self.pos_embed)
        return self.head(self.pool(self.norm(x)))


def make_vit(
    attention: Callable[[], nn.Module] = Timm,
    mlp: Callable[[], nn.Module] = Mlp,
    *,
    has_scale: bool = False,
    pool: Callable[[Tensor], Tensor] | None = None,
) -> Vit:
    """Two blocks of one kind, with weights and norms that differ from channel to channel."""
    torch.manual_seed(0)
    blocks = [Block(attention(), mlp(), has_scale=has_scale) for _ in range(2)]
    return scramble(Vit(*blocks, pool=pool))


def scramble(model: Vit) -> Vit:
    """Give vectors random values, where they begin as zeros or ones."""
    for parameter in model.parameters():
        if parameter.dim() == 1:
            nn.init.uniform_(parameter, 0.2, 1.2)
    return model.eval()
