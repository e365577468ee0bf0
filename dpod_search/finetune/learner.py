"""What a step of finetuning is about: labels, and what the full net says of the same pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from typing import Any

import torch
from torch import Tensor
from torch import nn

from dpod_search.finetune.attention import compare_attention
from dpod_search.finetune.attention import watching
from dpod_search.finetune.settings import FinetuneSettings
from dpod_search.finetune.teacher import Teacher
from dpod_search.inputs import Samples
from dpod_search.tasks import Classification
from dpod_search.tasks import Task
from dpod_search.tasks.asking import ask_distance
from dpod_search.tasks.asking import ask_loss
from dpod_search.training.precision import compute_outputs


@dataclass
class DistillationLearner:
    """Trains a plain module on labels and on a teacher's answers.

    Args:
        module: The net in training.
        teacher: What answers; None for labels alone.
        settings: Losses and precision.
        stages: Layers where they are compared, of the same names in both.
        task: What it is trained for.
    """

    module: nn.Module
    teacher: Teacher | None = None
    settings: FinetuneSettings = field(default_factory=FinetuneSettings)
    stages: Sequence[str] = ()
    task: Task = field(default_factory=Classification)

    def begin_step(self, step: int) -> None:
        """Nothing to prepare."""

    def compute_gradients(self, step: int, samples: Samples, targets: Tensor) -> dict[str, float]:
        """Run the module and, if it has a say, ask the teacher."""
        settings = self.settings
        with watching(self.module, self.stages) as seen:
            outputs = compute_outputs(self.module, samples, self.task, settings.precision)
        weight = settings.distillation if self.teacher is not None else 0.0
        loss = (1 - weight) * ask_loss(self.task, outputs, targets)
        if self.teacher is not None and self.stages:
            wanted, full = self.teacher.watch(samples, self.stages)
            loss = loss + weight * self._compare(outputs, wanted, targets)
            differences = [compare_attention(seen[name], full[name]) for name in self.stages]
            loss = loss + settings.features * torch.stack(differences).mean()
        elif self.teacher is not None and weight > 0:
            wanted = self.teacher.answer(step, samples)
            loss = loss + weight * self._compare(outputs, wanted, targets)
        torch.autograd.backward(loss)
        return {"loss": loss.item()}

    def _compare(self, outputs: Tensor, wanted: Tensor, targets: Tensor) -> Tensor:
        return ask_distance(self.task, outputs, wanted, self.settings.temperature, targets)

    def describe_step(self, step: int) -> str:
        """Say that this was finetuning."""
        return "finetuning"

    def state(self) -> Any:
        """Nothing is kept besides the weights."""
        return None

    def restore(self, state: Any) -> None:
        """Nothing is kept besides the weights."""
