"""A small causal transformer over rows of tokens, each layer of which can be narrower.

References:
    Vaswani et al. (2017), "Attention is all you need", arXiv 1706.03762; norms before the layers
    as in Radford et al. (2019), "Language models are unsupervised multitask learners", section 2.3.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch import nn

from dpod_search.errors import ConfigError
from dpod_search.errors import check_count


_STD = 0.02  # of weights, as in GPT-2


class CausalAttention(nn.Module):
    """Self-attention in which a token sees itself and those before it.

    Args:
        width: Features of a token, divisible by the heads.
        n_heads: Heads.
    """

    def __init__(self, width: int, n_heads: int) -> None:
        """Draw the weights."""
        super().__init__()
        self.n_heads = n_heads
        self.head_width = width // n_heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.project = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Mix the tokens of rows (N, length, width)."""
        query, key, value = self._split(self.query(x)), self._split(self.key(x)), self.value(x)
        mixed = F.scaled_dot_product_attention(query, key, self._split(value), is_causal=True)
        joined: Tensor = self.project(mixed.transpose(1, 2).flatten(2))
        return joined

    def _split(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.n_heads, self.head_width).transpose(1, 2)


class Block(nn.Module):
    """Attention, then two linear layers, each behind a norm and beside a shortcut.

    Args:
        width: Features of a token.
        n_heads: Heads of the attention.
    """

    def __init__(self, width: int, n_heads: int) -> None:
        """Draw the weights."""
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = CausalAttention(width, n_heads)
        self.norm2 = nn.LayerNorm(width)
        self.grow = nn.Linear(width, 4 * width)
        self.shrink = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Run the block on rows (N, length, width)."""
        x = x + self.attention(self.norm1(x))
        added: Tensor = self.shrink(F.gelu(self.grow(self.norm2(x))))
        return x + added


class GPT(nn.Module):
    """Embeddings of tokens and of their places, blocks, a norm, and a linear layer.

    Args:
        context: Tokens of a row, the most that it takes.
        vocabulary: Tokens there are.
        width: Features of a token.
        n_layers: Blocks.
        n_heads: Heads of each attention.
        ties_weights: The last layer has the weights of the tokens' embedding.
    """

    def __init__(
        self,
        context: int,
        vocabulary: int,
        *,
        width: int,
        n_layers: int,
        n_heads: int,
        ties_weights: bool,
    ) -> None:
        """Draw the weights."""
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.places = nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(width, n_heads) for _ in range(n_layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                # What is added to the stream is scaled down by the number of additions.
                is_added = name.endswith(("project.weight", "shrink.weight"))
                nn.init.normal_(parameter, std=_STD / ((2 * n_layers) ** 0.5 if is_added else 1))
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)
        if ties_weights:
            self.head.weight = self.tokens.weight

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits (N, length, vocabulary) of the tokens that come next.

        Args:
            tokens: int64 (N, length), of at most the context.
        """
        places = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.tokens(tokens) + self.places(places)
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.head(self.norm(x))
        return logits


def build_gpt(
    *,
    input_shape: tuple[int, ...],
    n_classes: int,
    width: int = 96,
    n_layers: int = 4,
    n_heads: int = 4,
    ties_weights: bool = False,
) -> nn.Module:
    """Build a causal transformer; the context is the length of the data's rows.

    Args:
        input_shape: Tokens of a row, as a tuple of one.
        n_classes: Tokens there are.
        width: Features of a token, 1 to 10,000, divisible by the heads.
        n_layers: Blocks, 1 to 100.
        n_heads: Heads of each attention, 1 to 1,000.
        ties_weights: Read the tokens out by the weights of their embedding.

    Raises:
        ConfigError: If a number is out of range.
    """
    check_count("model.arguments.width", width, low=1, high=10_000)
    check_count("model.arguments.n_layers", n_layers, low=1, high=100)
    check_count("model.arguments.n_heads", n_heads, low=1, high=1_000)
    if width % n_heads:
        raise ConfigError(
            f"model.arguments.width must be divisible by n_heads, {n_heads}, got {width}"
        )
    return GPT(
        input_shape[0],
        n_classes,
        width=width,
        n_layers=n_layers,
        n_heads=n_heads,
        ties_weights=ties_weights,
    )
