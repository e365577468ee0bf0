"""Nets of sequences as users write them, for the wide zoo."""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any

import torch
from torch import Tensor
from torch import nn
from torch.nn import functional
from zoo_nets import ZooNet
from zoo_nets import draw_pictures
from zoo_nets import draw_words


N_WORDS = 200
LENGTH = 16
WIDTH = 64


class Recurrent(nn.Module):
    """Words, a recurrent net, the mean over time, classes."""

    def __init__(self, kind: str, **arguments: Any) -> None:
        """Build from the name of a layer of PyTorch."""
        super().__init__()
        self.words = nn.Embedding(N_WORDS, WIDTH, padding_idx=0)
        self.recurrent = getattr(nn, kind)(WIDTH, WIDTH, batch_first=True, **arguments)
        n_features = WIDTH * (2 if arguments.get("bidirectional") else 1)
        self.head = nn.Linear(arguments.get("proj_size", 0) or n_features, 5)

    def forward(self, words: Tensor) -> Tensor:
        """From (N, L) to (N, 5)."""
        features, _ = self.recurrent(self.words(words))
        return self.head(features.mean(1))


class LastState(nn.Module):
    """Forecasts a series from the last hidden state of a recurrent net."""

    def __init__(self) -> None:
        """Build it."""
        super().__init__()
        self.recurrent = nn.LSTM(8, WIDTH, num_layers=2, batch_first=True)
        self.head = nn.Sequential(nn.Linear(WIDTH, 32), nn.ReLU(), nn.Linear(32, 4))

    def forward(self, series: Tensor) -> Tensor:
        """From (N, L, 8) to (N, 4)."""
        _, (hidden, _) = self.recurrent(series)
        return self.head(hidden[-1])


class ConvolutionsThenRecurrent(nn.Module):
    """A CRNN: convolutions over a picture, a recurrent net over its columns."""

    def __init__(self) -> None:
        """Build it."""
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d((1, None)),
        )
        self.recurrent = nn.LSTM(64, 48, bidirectional=True)
        self.head = nn.Linear(96, 11)

    def forward(self, pictures: Tensor) -> Tensor:
        """From (N, 1, H, W) to (N, W / 2, 11)."""
        columns = self.features(pictures).squeeze(2).permute(2, 0, 1)
        return self.head(self.recurrent(columns)[0]).transpose(0, 1)


class TextCnn(nn.Module):
    """Convolutions of three lengths over words, the largest of each over time."""

    def __init__(self) -> None:
        """Build it."""
        super().__init__()
        self.words = nn.Embedding(N_WORDS, WIDTH)
        self.convolutions = nn.ModuleList(nn.Conv1d(WIDTH, 48, k) for k in (3, 4, 5))
        self.head = nn.Linear(144, 5)

    def forward(self, words: Tensor) -> Tensor:
        """From (N, L) to (N, 5)."""
        x = self.words(words).transpose(1, 2)
        pooled = [functional.relu(conv(x)).max(dim=2).values for conv in self.convolutions]
        return self.head(torch.cat(pooled, 1))


class CausalBlock(nn.Module):
    """Two causal convolutions with a residual path around them."""

    def __init__(self, n_in: int, n_out: int, dilation: int) -> None:
        """Build it."""
        super().__init__()
        self.padding = 2 * dilation
        self.first = nn.Conv1d(n_in, n_out, 3, padding=self.padding, dilation=dilation)
        self.second = nn.Conv1d(n_out, n_out, 3, padding=self.padding, dilation=dilation)
        self.shortcut = nn.Conv1d(n_in, n_out, 1) if n_in != n_out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """From (N, n_in, L) to (N, n_out, L)."""
        y = functional.relu(self.first(x)[:, :, : -self.padding])
        y = functional.relu(self.second(y)[:, :, : -self.padding])
        return functional.relu(y + self.shortcut(x))


class TemporalConvolutions(nn.Module):
    """A temporal convolution net: dilated causal blocks, the last step to the head."""

    def __init__(self) -> None:
        """Build it."""
        super().__init__()
        widths = (8, 32, 32, 64)
        self.blocks = nn.Sequential(
            *(CausalBlock(a, b, 2**i) for i, (a, b) in enumerate(itertools.pairwise(widths)))
        )
        self.head = nn.Linear(64, 4)

    def forward(self, series: Tensor) -> Tensor:
        """From (N, 8, L) to (N, 4)."""
        return self.head(self.blocks(series)[:, :, -1])


class CausalAttention(nn.Module):
    """Causal attention as small GPTs have it, with the mask in a buffer."""

    def __init__(self, width: int, n_heads: int) -> None:
        """Build it."""
        super().__init__()
        self.n_heads = n_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        mask = torch.tril(torch.ones(LENGTH, LENGTH)).view(1, 1, LENGTH, LENGTH)
        self.register_buffer("mask", mask)

    def forward(self, x: Tensor) -> Tensor:
        """From (N, L, C) to (N, L, C)."""
        n, length, width = x.shape
        q, k, v = (
            part.view(n, length, self.n_heads, width // self.n_heads).transpose(1, 2)
            for part in self.qkv(x).split(width, dim=2)
        )
        scores = q @ k.transpose(-2, -1) / math.sqrt(k.size(-1))
        scores = scores.masked_fill(self.mask[:, :, :length, :length] == 0, float("-inf"))
        y = functional.softmax(scores, dim=-1) @ v
        return self.out(y.transpose(1, 2).contiguous().view(n, length, width))


class GptBlock(nn.Module):
    """Attention and a feed-forward part, each with its norm."""

    def __init__(self, width: int, n_heads: int) -> None:
        """Build it."""
        super().__init__()
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = CausalAttention(width, n_heads)
        self.feed = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """From (N, L, C) to (N, L, C)."""
        x = x + self.attention(self.norm_1(x))
        return x + self.feed(self.norm_2(x))


class SmallGpt(nn.Module):
    """A small GPT whose head is tied to its embedding."""

    def __init__(self) -> None:
        """Build it."""
        super().__init__()
        self.words = nn.Embedding(N_WORDS, WIDTH)
        self.places = nn.Embedding(LENGTH, WIDTH)
        self.blocks = nn.ModuleList(GptBlock(WIDTH, 4) for _ in range(2))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, N_WORDS, bias=False)
        self.head.weight = self.words.weight

    def forward(self, words: Tensor) -> Tensor:
        """From (N, L) to (N, L, words)."""
        places = torch.arange(words.shape[1], device=words.device)
        x = self.words(words) + self.places(places)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


class Translator(nn.Module):
    """An encoder and a decoder with PyTorch's own transformer."""

    def __init__(self) -> None:
        """Build it."""
        super().__init__()
        self.sources, self.targets = nn.Embedding(N_WORDS, WIDTH), nn.Embedding(N_WORDS, WIDTH)
        self.transformer = nn.Transformer(WIDTH, 4, 2, 2, 128, batch_first=True)
        self.head = nn.Linear(WIDTH, N_WORDS)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """From (N, S) and (N, T) to (N, T, words)."""
        mask = nn.Transformer.generate_square_subsequent_mask(target.shape[1])
        x = self.transformer(
            self.sources(source), self.targets(target), tgt_mask=mask, tgt_is_causal=True
        )
        return self.head(x)


class WordEncoder(nn.Module):
    """PyTorch's transformer encoder with a padding mask, the mean over the words that are there."""

    def __init__(self, *, norm_first: bool) -> None:
        """Build it."""
        super().__init__()
        self.words = nn.Embedding(N_WORDS, WIDTH, padding_idx=0)
        layer = nn.TransformerEncoderLayer(WIDTH, 4, 128, batch_first=True, norm_first=norm_first)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(WIDTH, 5)

    def forward(self, words: Tensor) -> Tensor:
        """From (N, L) to (N, 5)."""
        is_padding = words == 0
        x = self.encoder(self.words(words), src_key_padding_mask=is_padding)
        x = x.masked_fill(is_padding.unsqueeze(-1), 0.0)
        return self.head(x.sum(1) / (~is_padding).sum(1, keepdim=True))


class SeriesForecaster(nn.Module):
    """Patches of a series, a transformer encoder, and one linear head for all of them."""

    def __init__(self) -> None:
        """Build it."""
        super().__init__()
        self.patches = nn.Conv1d(4, WIDTH, 8, stride=8)
        self.places = nn.Parameter(0.02 * torch.randn(1, 8, WIDTH))
        layer = nn.TransformerEncoderLayer(WIDTH, 4, 128, batch_first=True, activation="gelu")
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(8 * WIDTH, 12)

    def forward(self, series: Tensor) -> Tensor:
        """From (N, 4, 64) to (N, 12)."""
        x = self.patches(series).transpose(1, 2) + self.places
        return self.head(self.encoder(x).flatten(1))


class AttentivePooling(nn.Module):
    """A GRU over words, and attention that weighs its steps."""

    def __init__(self) -> None:
        """Build it."""
        super().__init__()
        self.words = nn.Embedding(N_WORDS, WIDTH)
        self.recurrent = nn.GRU(WIDTH, WIDTH, bidirectional=True, batch_first=True)
        self.score = nn.Sequential(nn.Linear(2 * WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, 1))
        self.head = nn.Linear(2 * WIDTH, 5)

    def forward(self, words: Tensor) -> Tensor:
        """From (N, L) to (N, 5)."""
        x, _ = self.recurrent(self.words(words))
        return self.head((self.score(x).softmax(1) * x).sum(1))


def _words(n: int) -> Tensor:
    return draw_words(n, LENGTH, N_WORDS)


def _padded(n: int) -> Tensor:
    words = _words(n)
    words[-1, LENGTH - 4 :] = 0
    return words


def list_nets() -> list[ZooNet]:
    """Return the nets."""
    make = functools.partial
    rows = [
        ("lstm", make(Recurrent, "LSTM"), _words),
        ("lstm_bidirectional", make(Recurrent, "LSTM", num_layers=2, bidirectional=True), _words),
        ("lstm_projected", make(Recurrent, "LSTM", proj_size=24), _words),
        ("gru", make(Recurrent, "GRU", num_layers=2), _words),
        ("rnn", make(Recurrent, "RNN"), _words),
        ("gru_attention", AttentivePooling, _words),
        ("lstm_last_state", LastState, lambda n: draw_pictures(n, LENGTH, 8)),
        ("crnn", ConvolutionsThenRecurrent, lambda n: draw_pictures(n, 1, 16, 32)),
        ("text_cnn", TextCnn, _words),
        ("tcn", TemporalConvolutions, lambda n: draw_pictures(n, 8, 32)),
        ("small_gpt", SmallGpt, _words),
        ("transformer", Translator, lambda n: (_words(n), draw_words(n, LENGTH - 4, N_WORDS))),
        ("transformer_encoder", make(WordEncoder, norm_first=False), _padded),
        ("transformer_encoder_pre_norm", make(WordEncoder, norm_first=True), _padded),
        ("patch_forecaster", SeriesForecaster, lambda n: draw_pictures(n, 4, 64)),
    ]
    return [ZooNet(f"own:{name}", build, example) for name, build, example in rows]
