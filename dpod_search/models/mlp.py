"""Linear layers with rectifiers between, for rows of numbers."""

from __future__ import annotations

from itertools import pairwise

from torch import nn

from dpod_search.errors import check_count


def build_mlp(
    *, input_shape: tuple[int, ...], n_classes: int, hidden: int = 64, n_layers: int = 2
) -> nn.Module:
    """Build a net of linear layers.

    Args:
        input_shape: Numbers of a row, as a tuple of one.
        n_classes: Length of the output: classes, labels or targets.
        hidden: Hidden units of a layer, 1 to 100,000.
        n_layers: Hidden layers, 1 to 100.

    Raises:
        ConfigError: If a number is out of range.
    """
    check_count("model.arguments.hidden", hidden, low=1, high=100_000)
    check_count("model.arguments.n_layers", n_layers, low=1, high=100)
    parts: list[nn.Module] = []
    for n_in, n_out in pairwise([input_shape[0], *[hidden] * n_layers]):
        parts += [nn.Linear(n_in, n_out), nn.ReLU()]
    return nn.Sequential(*parts, nn.Linear(hidden, n_classes))
