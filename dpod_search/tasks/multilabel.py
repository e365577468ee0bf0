"""Any number of classes for each sample."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from dpod_search.errors import ConfigError
from dpod_search.errors import DataError
from dpod_search.tasks.batches import describe_value
from dpod_search.tasks.batches import find_answer
from dpod_search.tasks.batches import find_tensor
from dpod_search.tasks.outside import TakenMetrics
from dpod_search.tasks.outside import TakesMetrics
from dpod_search.tasks.task import Metric


@dataclass(frozen=True)
class Multilabel(TakesMetrics):
    """A logit for each label, (N, labels), and targets of 0 and 1 of that shape.

    The loss is the binary cross-entropy, its mean over samples and labels. A label is given where
    its logit is above 0.

    Args:
        metrics: What is measured besides, of torchmetrics or your own, as docs/tasks.md says.
    """

    name: ClassVar[str] = "multilabel"
    metrics: TakenMetrics = field(
        default=TakenMetrics(
            Metric("f1", "maximize", high=1.0),
            Metric("label_accuracy", "maximize", high=1.0),
            Metric("exact_match", "maximize", high=1.0),
        ),
        kw_only=True,
        repr=False,
    )

    def check_outputs(self, outputs: object, n_samples: int | None = None) -> Tensor:
        """Return logits (N, labels)."""
        answer = find_tensor(outputs, n_samples, 2)
        if answer is not None:
            return answer
        raise ConfigError(
            f"multilabel takes a logit for each label, shape (N, labels), from the model, got "
            f"{describe_value(find_answer(outputs))}; wrap it in a module that returns the logits alone"
        )

    def check_targets(self, targets: object, outputs: Tensor) -> Tensor:
        """Return targets (N, labels) in the outputs' type."""
        wanted = f"multilabel takes targets of 0 and 1, shape {tuple(outputs.shape)}"
        if not isinstance(targets, Tensor) or targets.shape != outputs.shape:
            raise DataError(f"{wanted}, got {describe_value(targets)}; mend the loader")
        if targets.is_complex() or not bool(((targets == 0) | (targets == 1)).all()):
            raise DataError(f"{wanted}, got other numbers; mend the loader")
        return targets.to(outputs.dtype)

    def compute_loss(
        self, outputs: Tensor, targets: Tensor, *, label_smoothing: float = 0.0
    ) -> Tensor:
        """Return the mean binary cross-entropy."""
        wanted = targets * (1 - label_smoothing) + label_smoothing / 2
        return functional.binary_cross_entropy_with_logits(outputs, wanted)

    def distill(
        self,
        outputs: Tensor,
        full_outputs: Tensor,
        temperature: float = 1.0,
        targets: Tensor | None = None,
    ) -> Tensor:
        """Return the mean Kullback-Leibler divergence of each label from the full net's answer."""
        wanted = full_outputs.detach() / temperature
        got, likely = outputs / temperature, wanted.sigmoid()
        given = likely * (functional.logsigmoid(wanted) - functional.logsigmoid(got))
        denied = (1 - likely) * (functional.logsigmoid(-wanted) - functional.logsigmoid(-got))
        return (given + denied).mean() * temperature**2

    def compare(
        self, outputs: Tensor, targets: Tensor, *, whole: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Return probabilities (N, labels), and targets as integers."""
        exact = torch.promote_types(outputs.dtype, torch.float32)
        return outputs.to(exact).sigmoid(), targets.long()

    def make_tally(self) -> LabelTally:
        """Return a tally of labels given and denied."""
        return LabelTally()


class LabelTally:
    """Counts labels that are rightly and wrongly given."""

    def __init__(self) -> None:
        """Have seen nothing."""
        self.n_samples = 0
        self._n_labels = self._n_right = self._n_given_rightly = self._n_either = self._n_exact = 0
        self._confidence = 0.0

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        """Add a batch."""
        given, wanted = outputs > 0, targets > 0
        is_right = (given == wanted) & ~outputs.isnan()  # what is NaN is not denied
        self.n_samples += len(targets)
        self._n_labels += targets.numel()
        self._n_right += int(is_right.sum())
        self._n_given_rightly += int((given & wanted).sum())
        self._n_either += int(given.sum()) + int(wanted.sum())
        self._n_exact += int(is_right.all(dim=1).sum())
        likely = torch.where(wanted, outputs, -outputs).double().sigmoid()
        self._confidence += float(likely.sum())

    def measure(self) -> dict[str, float]:
        """Return F1 of all labels together, the share of labels and of samples that are right."""
        # Where no label is given nor wanted, F1 is 1 if nothing is wrong.
        is_right = float(self._n_right == self._n_labels)
        f1 = 2 * self._n_given_rightly / self._n_either if self._n_either else is_right
        return {
            "f1": f1,
            "label_accuracy": self._n_right / max(1, self._n_labels),
            "exact_match": self._n_exact / max(1, self.n_samples),
        }

    def measure_quality(self) -> float:
        """Return the mean probability given to what is right."""
        return self._confidence / max(1, self._n_labels)
