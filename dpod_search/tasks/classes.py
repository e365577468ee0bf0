"""Tasks that tell classes apart, one for each sample, pixel or token: what they have in common.

A task of this kind has logits with one axis of classes, and targets of the same shape without
that axis. One class number may mean that nothing is asked there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from dpod_search.errors import ConfigError
from dpod_search.errors import DataError
from dpod_search.tasks.batches import describe_value
from dpod_search.tasks.batches import find_answer
from dpod_search.tasks.batches import find_tensor
from dpod_search.tasks.outside import TakesMetrics


# Of outputs that are added up at once.
_MAX_ELEMENTS = 1 << 22

INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


@dataclass(frozen=True)
class ClassTask(TakesMetrics):
    """Telling classes apart at every place of a sample.

    Args:
        ignored: Target of places where nothing is asked.
    """

    ignored: int = -100

    name: ClassVar[str]
    shape: ClassVar[str]
    """What the outputs of a model must look like, for messages."""
    axis: ClassVar[int]
    """Axis of the classes."""
    n_axes: ClassVar[int]
    """Axes of the outputs."""

    def check_outputs(self, outputs: object, n_samples: int | None = None) -> Tensor:
        """Return the logits, as :class:`~dpod_search.tasks.Task` says."""
        answer = find_tensor(outputs, n_samples, self.n_axes)
        if answer is not None:
            return answer
        raise ConfigError(
            f"{self.name} takes logits of shape {self.shape} from the model, got "
            f"{describe_value(find_answer(outputs))}; wrap it in a module that returns them alone, take a net that answers so, or name another task"
        )

    def check_targets(self, targets: object, outputs: Tensor) -> Tensor:
        """Return the targets as int64, as :class:`~dpod_search.tasks.Task` says."""
        shape = [*outputs.shape]
        n_classes = shape.pop(self.axis)
        wanted = f"{self.name} takes integer targets of shape {tuple(shape)}"
        if not isinstance(targets, Tensor) or targets.dtype not in (*INTEGERS, torch.bool):
            raise DataError(f"{wanted}, got {describe_value(targets)}; mend the loader")
        if list(targets.shape) != shape:
            raise DataError(
                f"{wanted}, got {describe_value(targets)}; give targets of the outputs' size"
            )
        there = targets.to(torch.int64)
        asked = there[there != self.ignored]
        if asked.numel():
            lowest, highest = torch.stack(asked.aminmax()).tolist()
            if lowest < 0 or highest >= n_classes:
                raise DataError(
                    f"{wanted} from 0 to {n_classes - 1}, the model's classes, or {self.ignored} "
                    f"where nothing is asked, got {lowest if lowest < 0 else highest}; mend the "
                    "loader, or the model's number of classes"
                )
        return there

    def compute_loss(
        self, outputs: Tensor, targets: Tensor, *, label_smoothing: float = 0.0
    ) -> Tensor:
        """Return the mean cross-entropy of the places where something is asked."""
        if not (targets != self.ignored).any():  # the mean of nothing would be no number
            return outputs.sum() * 0
        if self.axis != 1:  # the last one: rows of logits lie in memory one after the other
            outputs, targets = outputs.flatten(0, -2), targets.flatten()
        return functional.cross_entropy(
            outputs, targets, ignore_index=self.ignored, label_smoothing=label_smoothing
        )

    def distill(
        self,
        outputs: Tensor,
        full_outputs: Tensor,
        temperature: float = 1.0,
        targets: Tensor | None = None,
    ) -> Tensor:
        """Return the mean of :func:`compute_divergence` over places where something is asked."""
        got, wanted = (t.movedim(self.axis, -1).flatten(0, -2) for t in (outputs, full_outputs))
        if targets is not None:
            is_asked = targets.flatten() != self.ignored
            got, wanted = got[is_asked], wanted[is_asked]
            if not len(got):  # the mean of nothing would be no number
                return outputs.sum() * 0
        return compute_divergence(got, wanted, temperature)

    def flatten(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits, shape (places, classes), and targets, shape (places,), where one is asked."""
        logits = outputs.movedim(self.axis, -1).flatten(0, -2)
        classes = targets.flatten()
        is_asked = classes != self.ignored
        return logits[is_asked], classes[is_asked]

    def compare(
        self, outputs: Tensor, targets: Tensor, *, whole: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Return log-probabilities and classes of the places where something is asked, or of all."""
        if not whole:
            return log_likelihood(*self.flatten(outputs, targets), axis=1)
        return log_likelihood(outputs, targets, axis=self.axis)


def log_likelihood(logits: Tensor, classes: Tensor, *, axis: int) -> tuple[Tensor, Tensor]:
    """Return logits as log-probabilities, which are logits too, and the classes as they are.

    None of torchmetrics takes them for probabilities, as it does with a batch of logits that happen
    to lie in [0, 1].
    """
    exact = torch.promote_types(logits.dtype, torch.float32)
    return functional.log_softmax(logits, dim=axis, dtype=exact), classes


def compute_divergence(scores: Tensor, full_scores: Tensor, temperature: float = 1.0) -> Tensor:
    """Compute the Kullback-Leibler divergence of a subnet's answers from the full net's.

    Args:
        scores: Logits of the subnet, shape (N, n_classes).
        full_scores: Logits of the full net, same shape; no gradient flows into them.
        temperature: Both are divided by it; the loss is multiplied by its square.

    Returns:
        The mean over rows, >= 0.

    References:
        Hinton et al.: Distilling the Knowledge in a Neural Network, 2015, section 2
        (arXiv 1503.02531). In place, from the same step's full net: Yu and Huang, 2019,
        section 3.3 (arXiv 1903.05134).
    """
    wanted = functional.log_softmax(full_scores.detach() / temperature, dim=1)
    got = functional.log_softmax(scores / temperature, dim=1)
    loss = functional.kl_div(got, wanted, reduction="batchmean", log_target=True)
    return loss * temperature**2


class Flattening(Protocol):
    """A task that lays its answers out, a place a row."""

    def flatten(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits, shape (places, classes), and targets, shape (places,)."""


class ClassTally:
    """Counts right answers, and adds up the probability given to what is right.

    Args:
        task: Tells where something is asked.
    """

    def __init__(self, task: Flattening) -> None:
        """Have seen nothing."""
        self._task = task
        self.n_samples = 0
        self.n_places = 0
        self._n_right = 0
        self._confidence = 0.0

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        """Add a batch."""
        self.n_samples += len(targets)
        # A few samples at a time: what is computed in float64 takes twice the outputs' memory.
        size = max(1, _MAX_ELEMENTS // max(1, outputs[:1].numel()))
        parts = zip(torch.split(outputs, size), torch.split(targets, size), strict=True)
        for part, wanted in parts:
            self.add_places(*self._task.flatten(part, wanted))

    def add_places(self, logits: Tensor, classes: Tensor) -> None:
        """Add places, shapes (places, classes) and (places,); answers that are NaN are wrong."""
        # Answers that are NaN are of no class: of one behind the last.
        n_classes = logits.shape[1]
        chosen = logits.argmax(dim=1).masked_fill(logits.isnan().any(dim=1), n_classes)
        self.count(chosen, classes, n_classes)
        likely = logits.double().softmax(dim=1).gather(1, classes[:, None])
        self._confidence += float(likely.sum())
        self.n_places += len(classes)

    def count(self, chosen: Tensor, classes: Tensor, n_classes: int) -> None:
        """Count what is right, of chosen and wanted classes, shape (places,)."""
        self._n_right += int((chosen == classes).sum())

    def measure(self) -> dict[str, float]:
        """Return the share of places that are right."""
        return {"accuracy": self._n_right / self.count_places()}

    def measure_quality(self) -> float:
        """Return the mean probability given to what is right."""
        return self._confidence / self.count_places()

    def count_places(self) -> int:
        """Return the places where something is asked.

        Raises:
            DataError: If there are none: nothing can be measured.
        """
        if not self.n_places:
            raise DataError(
                f"nothing is asked in any of {self.n_samples} samples: all their targets are "
                "those that are ignored; mend the loader, or the task's `ignored`"
            )
        return self.n_places
