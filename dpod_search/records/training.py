"""How the supernet was trained: ``training.json`` and ``path.json``."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from typing import Annotated
from typing import ClassVar

from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

from dpod_search.records.metrics import CLASSIFICATION
from dpod_search.records.metrics import Metrics
from dpod_search.records.metrics import Purpose
from dpod_search.records.metrics import check_metrics
from dpod_search.records.record import Count
from dpod_search.records.record import FileRecord
from dpod_search.records.record import Number
from dpod_search.records.record import Positive
from dpod_search.records.record import Record
from dpod_search.records.record import Text
from dpod_search.records.search import Widths


@dataclass(frozen=True, kw_only=True)
class TrainingStep(Record):
    """One entry of a history.

    Args:
        step: Its number, from 0.
        lr: Learning rate.
        losses: By name, which are the entry's other keys: ``loss`` of the full net,
            ``partial_loss`` of the partial ones, and ``group_lasso`` if there is one.
    """

    SPREAD: ClassVar[str] = "losses"

    step: Count
    lr: Number
    losses: Mapping[str, Number | None]


def list_steps(history: Iterable[Mapping[str, float]]) -> tuple[TrainingStep, ...]:
    """Return a history of ``step``, ``lr`` and losses as a file has it."""
    return TypeAdapter(tuple[TrainingStep, ...]).validate_python(tuple(history))


@dataclass(frozen=True, kw_only=True)
class Pictures(Record):
    """The pictures that a run was made with.

    Args:
        sizes: Number of pictures by split: train, calibration, validation, test.
        n_classes: Number of classes.
        class_names: A name for each class.
        input_shape: Shape of one sample.
        fingerprint: Tells data apart: a hash of the pictures, their labels and who went where.
    """

    sizes: Mapping[str, Count]
    n_classes: Positive
    class_names: tuple[Text, ...]
    input_shape: tuple[Positive, ...]
    fingerprint: Text

    @property
    def noun(self) -> str:
        """What one of them is called: a picture, if it has channels, height and width."""
        return "picture" if len(self.input_shape) == 3 else "sample"


@dataclass(frozen=True, kw_only=True)
class TrainedNet(Record):
    """The full net after training; ``metrics`` on validation, which are the entry's keys."""

    SPREAD: ClassVar[str] = "metrics"

    metrics: Metrics


@dataclass(frozen=True, kw_only=True)
class Training(FileRecord):
    """How the supernet was trained: ``training.json``, written by ``train``.

    Args:
        seconds: The sum over all processes that trained.
        n_steps: Number of steps.
        macs: Multiply-adds of the forward passes of all steps.
        scoring_macs: Those by which the shrinks of the path were judged.
        policy: Name of the training policy.
        n_ranks: Processes that trained together.
        history: About 200 steps, evenly spread.
        full: The full net.
        data: The pictures.
        task: What was trained for.
        warning: What speaks against the training: the full net ended near chance.
    """

    FILE: ClassVar[str] = "training.json"

    seconds: Number
    n_steps: Count
    macs: Number
    scoring_macs: Number
    policy: Text
    n_ranks: Positive
    history: tuple[TrainingStep, ...]
    full: TrainedNet
    data: Pictures
    task: Purpose = CLASSIFICATION
    warning: Text | None = None


@dataclass(frozen=True, kw_only=True)
class Profile(Record):
    """One profile of the path.

    Args:
        widths: Active width by channel group.
        macs: Multiply-adds for each sample.
        metrics: After training, on validation, by name, which are the entry's other keys; None for
            those that were not measured.
    """

    SPREAD: ClassVar[str] = "metrics"

    widths: Widths
    macs: Positive
    metrics: Annotated[Mapping[str, float | None], check_metrics(may_lack=True)]


@dataclass(frozen=True, kw_only=True)
class ShrinkingPath(FileRecord):
    """The path of progressive shrinking: ``path.json``, written by ``train``.

    Args:
        profiles: From the full net to the floor.
    """

    FILE: ClassVar[str] = "path.json"

    profiles: tuple[Profile, ...]
