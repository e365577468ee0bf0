"""How the chosen subnets are finetuned, and for how long each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dpod_search.bounds import split_bounds
from dpod_search.errors import MAX_SECONDS
from dpod_search.errors import ConfigError
from dpod_search.errors import check_choice
from dpod_search.errors import check_count
from dpod_search.errors import check_list
from dpod_search.errors import check_range
from dpod_search.errors import show
from dpod_search.imports import is_import_path
from dpod_search.training import OptimizerSettings
from dpod_search.training.precision import PRECISIONS


@dataclass(frozen=True)
class _Leading:
    """What stands before the optimizer's settings: fields of the last base come first."""

    n_subnets: int | Literal["all"] = 12
    budgets: tuple[str, ...] = ()
    epochs: float = 10.0
    equal_cost: float = 0.5
    max_epochs: int = 200
    tunes_full: bool = True
    chain: bool = True
    repair_steps: int = 300
    batch_size: int = 64


@dataclass(frozen=True)
class FinetuneSettings(OptimizerSettings, _Leading):
    """How the chosen subnets are finetuned; with the settings of their optimizer.

    Args:
        n_subnets: Subnets of the front to finetune, those that keep most hypervolume, 1 to
            1,000,000, or ``all`` of the front; the full net is finetuned besides, as what they are
            compared with.
        budgets: In place of ``n_subnets`` the largest of the best subnets under each of these, for
            instance ``["macs<=2M", "macs<=25% and params<=50k"]``; at most 1,000.
        epochs: Passes of the full net over the training pictures, 0 to 1,000,000, whole or not;
            with 0 subnets are delivered as they were measured.
        equal_cost: How evenly the compute is shared, in [0, 1]. 1 gives every subnet the
            multiply-adds that ``epochs`` of the full net take: one of a tenth of the full net's
            macs sees the pictures ten times as often. 0 gives all the same epochs. Between them,
            epochs grow with (full macs / macs) to this power. Small nets need the epochs, but
            take more time for a multiply-add.
        max_epochs: No subnet gets more, ``epochs`` to 1,000,000.
        tunes_full: Train the full net on too, as the subnets are; off where its weights were given
            as they shall be.
        chain: Cut each subnet from the smallest finetuned one that it lies in, the largest first,
            so that it begins with what that has learnt; else from the supernet.
        repair_steps: A subnet that is measured after a repair, and trained for fewer steps than
            this, begins repaired as well: near to the full net, or in a chain to what it is cut
            from; else as it was cut, from where long training gets as far. 0 to 1,000,000,000.
        batch_size: Pictures in a batch, 2 to 1,000,000.
        precision: ``float32``, or ``bfloat16`` for convolutions and matrix products.
        distillation: Weight of the full net's answers in the loss, in [0, 1]; the labels have
            the rest.
        temperature: Of distillation, 0.001 to 1,000.
        features: Weight of the difference between where the subnet looks and where the full net
            does, at the last layer of each resolution, 0 to 1,000,000. Above 0 the full net runs
            at each step, whatever ``n_views`` says.
        patience: Looks at validation, of twenty that are spread over the epochs, without a new
            best accuracy after which finetuning ends, 0 to 1,000,000; the best weights are
            delivered. 0 looks at nothing and delivers the last ones. A falling learning rate often
            has the best at the end, and accuracy on validation is then too good: judge by test.
        n_views: Augmented copies of every picture, seen again and again in turn, whose answers by
            the full net are computed once for all subnets, 1 to 10,000; 0 augments anew in every
            epoch and runs the full net at each step, which costs more than a small subnet itself.
        checkpoint_seconds: Time between two checkpoints, 0 to 1,000,000,000.
        tuner: ``package.module:function`` of your own that trains in place of our loop, called with a
            module and a ``TunerContext``; of the settings above those of
            the optimizer, ``precision``, ``distillation`` and ``temperature`` are then its own
            business, and so are checkpoints.
    """

    lr: float = 0.05
    precision: str = "float32"
    distillation: float = 0.5
    temperature: float = 2.0
    features: float = 0.0
    patience: int = 0
    n_views: int = 10
    checkpoint_seconds: float = 10.0
    tuner: str | None = None

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.n_subnets != "all":
            check_count("finetune.n_subnets", self.n_subnets, low=1, high=1_000_000)
        _check_budgets(self.budgets)
        check_range("finetune.epochs", self.epochs, low=0, high=1_000_000)
        check_range("finetune.equal_cost", self.equal_cost, low=0, high=1)
        low = max(1, math.ceil(self.epochs))
        check_count("finetune.max_epochs", self.max_epochs, low=low, high=1_000_000)
        check_count("finetune.repair_steps", self.repair_steps, low=0, high=1_000_000_000)
        check_count("finetune.batch_size", self.batch_size, low=2, high=1_000_000)
        self.check_optimizer("finetune")
        check_choice("finetune.precision", self.precision, PRECISIONS)
        check_range("finetune.distillation", self.distillation, low=0, high=1)
        check_range("finetune.temperature", self.temperature, low=1e-3, high=1_000)
        check_range("finetune.features", self.features, low=0, high=1_000_000)
        check_count("finetune.patience", self.patience, low=0, high=1_000_000)
        check_count("finetune.n_views", self.n_views, low=0, high=10_000)
        check_range(
            "finetune.checkpoint_seconds", self.checkpoint_seconds, low=0, high=MAX_SECONDS
        )
        if self.tuner is not None and not is_import_path(self.tuner):
            raise ConfigError(
                f"finetune.tuner must read package.module:function, got {show(self.tuner)}"
            )

    def epochs_of(self, macs_share: float) -> float:
        """Return the epochs of a subnet; the last one may be a part.

        Args:
            macs_share: Its macs over those of the full net, in (0, 1].
        """
        if self.epochs == 0 or (macs_share >= 1 and not self.tunes_full):
            return 0
        if macs_share == 0:  # nothing to compute, for as long as is allowed
            return self.max_epochs if self.equal_cost else self.epochs
        wished = self.epochs * float(macs_share**-self.equal_cost)
        return min(self.max_epochs, wished)


def _check_budgets(budgets: Sequence[str]) -> None:
    check_list("finetune.budgets", budgets, low=0, high=1_000)
    for budget in budgets:
        try:
            split_bounds(budget)  # what they name is known when there is a net
        except ConfigError as error:
            raise ConfigError(f"finetune.budgets: {error}") from error
