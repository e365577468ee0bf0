"""Numbers: one or several for each sample."""

from __future__ import annotations

import math
from dataclasses import dataclass
from dataclasses import field
from typing import ClassVar
from typing import Literal
from typing import get_args

import torch
from torch import Tensor
from torch.nn import functional

from dpod_search.errors import ConfigError
from dpod_search.errors import DataError
from dpod_search.errors import check_choice
from dpod_search.tasks.batches import describe_value
from dpod_search.tasks.batches import find_answer
from dpod_search.tasks.batches import find_tensor
from dpod_search.tasks.outside import TakenMetrics
from dpod_search.tasks.outside import TakesMetrics
from dpod_search.tasks.task import Metric
from dpod_search.tasks.task import refuse_smoothing


Loss = Literal["squared", "absolute", "huber"]

_LOSSES = {
    "squared": functional.mse_loss,
    "absolute": functional.l1_loss,
    "huber": functional.smooth_l1_loss,
}


@dataclass(frozen=True)
class Regression(TakesMetrics):
    """Numbers (N,) or (N, targets), and targets of that shape; a column of one may be missing.

    Targets are rounded to the type of the outputs: standardise those that are large beside their
    differences.

    Args:
        loss: ``squared`` error, ``absolute`` error, or ``huber``: squared where it is below 1.
        metrics: What is measured besides, of torchmetrics or your own, as docs/tasks.md says.
    """

    loss: Loss = "squared"

    name: ClassVar[str] = "regression"
    metrics: TakenMetrics = field(
        default=TakenMetrics(
            Metric("rmse", "minimize"),
            Metric("mae", "minimize"),
            Metric("r2", "maximize", low=-math.inf, high=1.0),
        ),
        kw_only=True,
        repr=False,
    )

    def __post_init__(self) -> None:
        """Check the choice."""
        check_choice("loss", self.loss, get_args(Loss))

    def check_outputs(self, outputs: object, n_samples: int | None = None) -> Tensor:
        """Return numbers (N, targets)."""
        answer = find_tensor(outputs, n_samples, 1, 2)
        if answer is not None and answer.is_floating_point():
            return answer[:, None] if answer.ndim == 1 else answer
        raise ConfigError(
            "regression takes numbers of shape (N,) or (N, targets) from the model, got "
            f"{describe_value(find_answer(outputs))}; wrap it in a module that returns them alone, take a net that answers so, or name another task"
        )

    def check_targets(self, targets: object, outputs: Tensor) -> Tensor:
        """Return targets (N, targets) in the outputs' type."""
        wanted = f"regression takes finite targets of shape {tuple(outputs.shape)}"
        if not isinstance(targets, Tensor) or targets.is_complex():
            raise DataError(f"{wanted}, got {describe_value(targets)}; mend the loader")
        there = targets[:, None] if targets.ndim == 1 else targets
        if there.shape != outputs.shape:
            raise DataError(f"{wanted}, got {describe_value(targets)}; mend the loader")
        there = there.to(outputs.dtype)
        if not bool(there.isfinite().all()):
            raise DataError(
                f"{wanted} in {outputs.dtype}, got NaN, infinity or what is too large for it; drop, "
                "fill or rescale"
            )
        return there

    def compute_loss(
        self, outputs: Tensor, targets: Tensor, *, label_smoothing: float = 0.0
    ) -> Tensor:
        """Return the mean loss over samples and targets."""
        refuse_smoothing(self, label_smoothing)
        if outputs.shape != targets.shape:  # which PyTorch would stretch to each other
            raise DataError(
                f"regression compares numbers of one shape, got {tuple(outputs.shape)} and "
                f"{tuple(targets.shape)}; give both as check_outputs and check_targets return them"
            )
        return _LOSSES[self.loss](outputs, targets)

    def distill(
        self,
        outputs: Tensor,
        full_outputs: Tensor,
        temperature: float = 1.0,
        targets: Tensor | None = None,
    ) -> Tensor:
        """Return the loss with the full net's numbers as targets."""
        return _LOSSES[self.loss](outputs, full_outputs.detach())

    def compare(
        self, outputs: Tensor, targets: Tensor, *, whole: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Return both, shape (N, targets), or (N,) where there is one target."""
        if whole or outputs.shape[1] > 1:
            return outputs, targets
        return outputs[:, 0], targets[:, 0]

    def make_tally(self) -> ErrorTally:
        """Return a tally of errors."""
        return ErrorTally()


class ErrorTally:
    """Adds up errors, and what the targets vary by, in float64."""

    def __init__(self) -> None:
        """Have seen nothing."""
        self.n_samples = 0
        self._absolute = 0.0
        # Of each target: the sum of squared errors, the mean, and the sum of squares about it.
        self._squared = self._mean = self._spread = torch.zeros(1, dtype=torch.float64)

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        """Add a batch.

        Means and spreads of batches are joined as in Chan et al.: Algorithms for computing the
        sample variance, 1983, equation 2.1: sums of squares of large numbers would cancel.
        """
        got, wanted = outputs.double().cpu(), targets.double().cpu()
        n_new, n_before = len(wanted), self.n_samples
        if n_new == 0:
            return
        errors = got - wanted
        self._absolute += float(errors.abs().mean(dim=1).sum())
        self._squared = self._squared + errors.square().sum(dim=0)
        mean = wanted.mean(dim=0)
        spread = (wanted - mean).square().sum(dim=0)
        step = mean - self._mean
        self.n_samples = n = n_before + n_new
        self._spread = self._spread + spread + step.square() * (n_before * n_new / n)
        self._mean = self._mean + step * (n_new / n)

    def measure(self) -> dict[str, float]:
        """Return errors over all targets, and the mean over targets of what is explained."""
        n = max(1, self.n_samples)
        return {
            "rmse": math.sqrt(float(self._squared.mean()) / n),
            "mae": self._absolute / n,
            "r2": float(self._explained().mean()),
        }

    def measure_quality(self) -> float:
        """Return 1 for no error, 1/2 for errors as large as those of the mean, towards 0 beyond."""
        return float((1 / (2 - self._explained())).mean())

    def _explained(self) -> Tensor:
        # Of a target that is always the same nothing is explained, unless there is no error.
        is_flat = self._spread == 0
        share = 1 - self._squared / torch.where(
            is_flat, torch.ones_like(self._spread), self._spread
        )
        return torch.where(is_flat, (self._squared == 0).to(share.dtype), share)
