"""How gradients move the weights: the optimizer, its learning rate, clipping and averaging.

The rate is a pure function of the step, so that a training resumes exactly with nothing saved.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from dpod_search.errors import check_choice
from dpod_search.errors import check_range


# AdamW's second moment; its first is `momentum`.
_ADAM_BETA2 = 0.999
# One-cycle starts at 1/25 of the highest rate and ends at 1/10,000 of the start, as PyTorch's does.
_CYCLE_START = 1 / 25
_CYCLE_END = _CYCLE_START / 10_000


@dataclass(frozen=True)
class OptimizerSettings:
    """The optimizer and all that goes with a step of it, in every training.

    ``cosine`` rises linearly and falls as a cosine to 0; ``one-cycle`` rises as a cosine from 1/25
    of the highest rate and falls to 1/250,000 of it, and has a ``warmup_share`` of 0.3 usually.
    The weight decay of ``adamw`` is decoupled from the gradients.

    Args:
        optimizer: ``sgd`` (with Nesterov momentum) or ``adamw``, which needs a lower ``lr``.
        schedule: How the learning rate moves after its rise: ``cosine`` or ``one-cycle``.
        lr: Highest learning rate, 1e-12 to 1,000.
        momentum: Of ``sgd``, and the first beta of ``adamw``, 0 to 0.9999.
        weight_decay: 0 to 1,000.
        decays_norms: Weight decay also on vectors: scales and shifts of norms, biases.
        warmup_share: Share of the steps over which the learning rate rises, 0 to 0.99.
        max_grad_norm: Gradients are scaled down to this norm, at most 1,000,000; 0 leaves them.
        ema_decay: Of the average of the weights that is delivered in place of the last ones, 0 to
            0.999999; 0 for none.

    References:
        Loshchilov and Hutter: SGDR, 2017 (arXiv 1608.03983), and Decoupled Weight Decay, 2019
        (arXiv 1711.05101). Smith and Topin: Super-Convergence, 2018 (arXiv 1708.07120); the
        momentum stays as it is here.
    """

    optimizer: str = "sgd"
    schedule: str = "cosine"
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    decays_norms: bool = True
    warmup_share: float = 0.05
    max_grad_norm: float = 5.0
    ema_decay: float = 0.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        self.check_optimizer("optimizer")

    def check_optimizer(self, section: str) -> None:
        """Check what is told of the optimizer.

        Args:
            section: Where the settings stand, for messages.

        Raises:
            ConfigError: If a name is unknown or a value is out of range.
        """
        check_choice(f"{section}.optimizer", self.optimizer, _OPTIMIZERS)
        check_choice(f"{section}.schedule", self.schedule, _SCHEDULES)
        check_range(f"{section}.lr", self.lr, low=1e-12, high=1_000)
        check_range(f"{section}.momentum", self.momentum, low=0, high=0.9999)
        check_range(f"{section}.weight_decay", self.weight_decay, low=0, high=1_000)
        check_range(f"{section}.warmup_share", self.warmup_share, low=0, high=0.99)
        check_range(f"{section}.max_grad_norm", self.max_grad_norm, low=0, high=1_000_000)
        check_range(f"{section}.ema_decay", self.ema_decay, low=0, high=0.999999)

    def make_optimizer(self, module: nn.Module) -> torch.optim.Optimizer:
        """Make the optimizer of a module's parameters."""
        return _OPTIMIZERS[self.optimizer](self, self._parameter_groups(module))

    def rate_at(self, step: int, n_steps: int) -> float:
        """Return the learning rate of a step, in (0, ``lr``]."""
        return self.lr * _SCHEDULES[self.schedule](step, n_steps, self.warmup_share)

    def _parameter_groups(self, module: nn.Module) -> list[_ParameterGroup]:
        parameters = list(module.parameters())
        if self.decays_norms:
            return [{"params": parameters, "weight_decay": self.weight_decay}]
        parts = [
            ([p for p in parameters if p.ndim > 1], self.weight_decay),
            ([p for p in parameters if p.ndim <= 1], 0.0),
        ]
        return [{"params": part, "weight_decay": decay} for part, decay in parts if part]


_ParameterGroup = dict[str, list[nn.Parameter] | float]


def _make_sgd(settings: OptimizerSettings, groups: list[_ParameterGroup]) -> torch.optim.Optimizer:
    return torch.optim.SGD(
        groups, lr=settings.lr, momentum=settings.momentum, nesterov=settings.momentum > 0
    )


def _make_adamw(
    settings: OptimizerSettings, groups: list[_ParameterGroup]
) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, lr=settings.lr, betas=(settings.momentum, _ADAM_BETA2))


def _cosine(step: int, n_steps: int, warmup_share: float) -> float:
    n_warmup = math.ceil(warmup_share * n_steps)
    if step < n_warmup:
        return (step + 1) / n_warmup
    done = (step - n_warmup) / max(1, n_steps - n_warmup)
    return 0.5 * (1 + math.cos(math.pi * done))


def _one_cycle(step: int, n_steps: int, warmup_share: float) -> float:
    peak = max(0.0, warmup_share * n_steps - 1)
    if step <= peak:
        return _anneal(_CYCLE_START, 1.0, step / peak if peak > 0 else 1.0)
    return _anneal(1.0, _CYCLE_END, (step - peak) / (n_steps - 1 - peak))


def _anneal(start: float, end: float, done: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * done))


_MakeOptimizer = Callable[[OptimizerSettings, list[_ParameterGroup]], torch.optim.Optimizer]

# A new one is a function and a line.
_OPTIMIZERS: dict[str, _MakeOptimizer] = {"sgd": _make_sgd, "adamw": _make_adamw}
_SCHEDULES: dict[str, Callable[[int, int, float], float]] = {
    "cosine": _cosine,
    "one-cycle": _one_cycle,
}
