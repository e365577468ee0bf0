"""The next token of a text."""

from __future__ import annotations

import math
from dataclasses import dataclass
from dataclasses import field
from typing import ClassVar

from torch import Tensor
from torch.nn import functional

from dpod_search.errors import check_range
from dpod_search.tasks.classes import ClassTally
from dpod_search.tasks.classes import ClassTask
from dpod_search.tasks.outside import TakenMetrics
from dpod_search.tasks.task import Metric


# Of which the exponential is a float still.
_MAX_LOSS = 709.0


@dataclass(frozen=True)
class LanguageModel(ClassTask):
    """Logits (N, length, vocabulary), tokens that come next (N, length); cross-entropy.

    Targets are the samples shifted by one: the loader shifts them, as the model sees none of it.

    Args:
        ignored: Target of tokens that neither loss nor metrics look at, such as padding.
        characters_per_token: Of the text, on average, for bits per character, 0.001 to 1,000; 1
            where tokens are characters.
        metrics: What is measured besides, of torchmetrics or your own, as docs/tasks.md says.
    """

    characters_per_token: float = 1.0

    name: ClassVar[str] = "language-model"
    shape: ClassVar[str] = "(N, length, vocabulary)"
    axis: ClassVar[int] = 2
    n_axes: ClassVar[int] = 3
    metrics: TakenMetrics = field(
        default=TakenMetrics(
            Metric("bits_per_character", "minimize"),
            Metric("loss", "minimize"),
            Metric("perplexity", "minimize", low=1.0),
        ),
        kw_only=True,
        repr=False,
    )

    def __post_init__(self) -> None:
        """Check the range."""
        check_range("characters_per_token", self.characters_per_token, low=1e-3, high=1_000)

    def make_tally(self) -> TokenTally:
        """Return a tally of the loss."""
        return TokenTally(self)


class TokenTally(ClassTally):
    """Adds up the loss of tokens.

    Args:
        task: Tells which tokens are looked at, and how long they are.
    """

    def __init__(self, task: LanguageModel) -> None:
        """Have seen nothing."""
        super().__init__(task)
        self._characters = task.characters_per_token
        self._loss = 0.0

    def add_places(self, logits: Tensor, classes: Tensor) -> None:
        """Add tokens."""
        super().add_places(logits, classes)
        losses = functional.cross_entropy(logits.float(), classes, reduction="none")
        self._loss += float(losses.double().sum())

    def measure(self) -> dict[str, float]:
        """Return the mean loss in nats, and what follows from it."""
        loss = self._loss / self.count_places()
        # A number that is too large for a float is the largest: worst, and not a failure.
        perplexity = math.exp(min(loss, _MAX_LOSS))
        bits = loss / math.log(2) / self._characters
        return {"bits_per_character": bits, "loss": loss, "perplexity": perplexity}
