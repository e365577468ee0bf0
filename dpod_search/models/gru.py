"""A recurrent net that reads a picture from top to bottom, a row at a step."""

from __future__ import annotations

from torch import Tensor
from torch import nn

from dpod_search.errors import check_count


class RowGRU(nn.Module):
    """Gated recurrent units over the rows of a picture, and a linear layer on the last state.

    Args:
        input_shape: Channels, height and width of a picture.
        n_classes: Outputs.
        hidden: Hidden units of a layer.
        n_layers: Layers.

    References:
        Cho et al.: Learning Phrase Representations using RNN Encoder-Decoder, 2014
        (arXiv 1406.1078), section 2.3.
    """

    def __init__(
        self, input_shape: tuple[int, int, int], n_classes: int, hidden: int, n_layers: int
    ) -> None:
        """Draw the weights."""
        super().__init__()
        channels, _, width = input_shape
        self.rows = nn.GRU(channels * width, hidden, n_layers, batch_first=True)
        self.classifier = nn.Linear(hidden, n_classes)

    def forward(self, pictures: Tensor) -> Tensor:
        """Return logits (N, n_classes) of pictures (N, C, H, W)."""
        steps, _ = self.rows(pictures.transpose(1, 2).flatten(2))
        logits: Tensor = self.classifier(steps[:, -1])
        return logits


def build_gru(
    *, input_shape: tuple[int, int, int], n_classes: int, hidden: int = 64, n_layers: int = 2
) -> nn.Module:
    """Build a net of recurrent layers over the rows of pictures.

    Args:
        input_shape: Channels, height and width of a picture.
        n_classes: Length of the output.
        hidden: Hidden units of a layer, 1 to 10,000.
        n_layers: Layers, 1 to 100.

    Raises:
        ConfigError: If a number is out of range.
    """
    check_count("model.arguments.hidden", hidden, low=1, high=10_000)
    check_count("model.arguments.n_layers", n_layers, low=1, high=100)
    return RowGRU(input_shape, n_classes, hidden, n_layers)
