"""Evaluating subnets: calibrate the statistics, then measure on pictures kept apart."""

from __future__ import annotations

import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import field
from functools import cached_property
from typing import Any
from typing import Protocol

import torch
from torch import nn

from dpod_search.data.loader import Batches
from dpod_search.errors import DataError
from dpod_search.errors import check_count
from dpod_search.evaluation.calibration import calibrated
from dpod_search.evaluation.calibration import in_evaluation_mode
from dpod_search.evaluation.normed_layer import FoldedStand
from dpod_search.evaluation.normed_layer import NormedLayer
from dpod_search.evaluation.normed_layer import RanOtherwiseError
from dpod_search.evaluation.normed_layer import standing_in
from dpod_search.evaluation.watching import find_normed_layers
from dpod_search.inputs import Example
from dpod_search.inputs import ModelCall
from dpod_search.inputs import call_on
from dpod_search.inputs import call_with_samples
from dpod_search.inputs import count_samples
from dpod_search.placement import Placement
from dpod_search.placement import evaluating
from dpod_search.placement import placement_of
from dpod_search.supernet import Subnet
from dpod_search.supernet import Supernet
from dpod_search.supernet import check_inputs
from dpod_search.tasks import Classification
from dpod_search.tasks import Task
from dpod_search.tasks.asking import add_batch
from dpod_search.tasks.asking import ask_metrics
from dpod_search.tasks.asking import start_tally
from dpod_search.tasks.batches import move_targets
from dpod_search.tasks.batches import read_batch
from dpod_search.widths import Widths


# Pictures of the run in which layers are watched.
_N_WATCHED = 2

_CLASSIFICATION = Classification()


@dataclass(frozen=True)
class EvaluationSettings:
    """How subnets are evaluated.

    Args:
        n_calibration: Training pictures that BatchNorm statistics are estimated on, 2 to
            1,000,000.
        batch_size: Pictures run at once, in calibration and when accuracy is measured, 2 to
            1,000,000. Below ``n_calibration`` the layers in the middle are normalised batch by
            batch.
        repair: Solve the layers of each subnet in closed form before it is measured, so that it
            comes near to what the full net gives: for a net that was trained at full width alone.
            The calibration pictures are run at once then, and more of them help.
    """

    n_calibration: int = 512
    batch_size: int = 512
    repair: bool = False

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_count("evaluation.n_calibration", self.n_calibration, low=2, high=1_000_000)
        check_count("evaluation.batch_size", self.batch_size, low=2, high=1_000_000)


@dataclass(frozen=True)
class Measurement:
    """What one evaluation found.

    Args:
        metrics: The task's metrics by name, the first one first.
        quality: How good the answers are, in [0, 1], larger is better; moves with every sample,
            where accuracy moves in steps. For tasks of classes the mean probability given to the
            right one.
        n_samples: Samples looked at.
        seconds: Time taken, without calibration.
    """

    metrics: Mapping[str, float]
    quality: float
    n_samples: int
    seconds: float

    @property
    def first(self) -> float:
        """The task's first metric."""
        return next(iter(self.metrics.values()))


@dataclass(frozen=True)
class CalibratedSubnet(Subnet):
    """A subnet as an :class:`Evaluator` lends it, whose accuracy is measured faster.

    Args:
        normed_layers: The layers of the supernet that are run as one with their norms.
    """

    normed_layers: tuple[NormedLayer, ...] = field(default=(), repr=False, compare=False)

    @contextmanager
    def folded(self) -> Iterator[Callable[..., Any]]:
        """Give a function that runs the subnet, without gradients.

        The norms are folded into the layers before them as they are on entering the block.
        """
        with torch.no_grad(), self.supernet.active(self.widths):
            stands = [FoldedStand(pair) for pair in self.normed_layers]

        def run(*args: Any, **kwargs: Any) -> Any:
            with torch.no_grad():
                try:
                    with standing_in(stands):
                        outputs = self(*args, **kwargs)
                    for stand in stands:
                        stand.check_end()
                except RanOtherwiseError:
                    stands.clear()
                    outputs = self(*args, **kwargs)
            return outputs

        yield run


class Evaluator:
    """Measures subnets of one supernet.

    Args:
        supernet: The weight-sharing parent; it is left as it was after every call.
        calibration_images: Shape (n, *example_shape): what BatchNorm statistics are estimated on;
            of a model of several inputs all of them, as ``build_supernet`` takes an example.
        batch_size: Pictures run at once in calibration.

    Raises:
        ConfigError: If the model cannot be called with them.
    """

    def __init__(
        self,
        supernet: Supernet,
        calibration_images: Example | ModelCall,
        *,
        batch_size: int = 1024,
    ) -> None:
        """Move the calibration pictures to the supernet's device once."""
        call = call_with_samples(calibration_images)
        check_inputs(supernet, call)
        self.supernet = supernet
        self._call = call.map(placement_of(supernet).put)
        self._batch_size = batch_size

    @cached_property
    def _normed_layers(self) -> tuple[NormedLayer, ...]:
        if not self._call.n_samples:
            return ()  # calibration will say so
        with self.supernet.active(self.supernet.space.full):
            return find_normed_layers(self.supernet, self._call.take(slice(_N_WATCHED)))

    @contextmanager
    def calibrated(self, widths: Widths) -> Iterator[CalibratedSubnet]:
        """Run the supernet as a calibrated subnet, in evaluation mode, inside the block.

        Args:
            widths: Of the supernet's space.

        Yields:
            The subnet.

        Raises:
            ConfigError: If the widths are not of the space.
            CalibrationError: If the statistics cannot be estimated.
        """
        normed_layers = self._normed_layers
        with (
            in_evaluation_mode(self.supernet),
            self.supernet.active(widths),
            calibrated(
                self.supernet,
                self._call,
                batch_size=self._batch_size,
                normed_layers=normed_layers,
            ),
        ):
            yield CalibratedSubnet(self.supernet, widths, normed_layers)

    def evaluate(
        self, widths: Widths, batches: Batches, task: Task = _CLASSIFICATION
    ) -> Measurement:
        """Calibrate and measure one subnet.

        Args:
            widths: Of the supernet's space.
            batches: Samples (N, *example_shape) with the task's targets.
            task: What is measured.

        Raises:
            ConfigError: If the widths are not of the space, or the model returns what the task
                cannot read.
            CalibrationError: If the statistics cannot be estimated.
            DataError: If there are no samples, or targets do not fit.
        """
        with self.calibrated(widths) as subnet, subnet.folded() as run:
            return measure(run, batches, subnet.placement, task)


def measure(
    model: Callable[..., object],
    batches: Batches,
    placement: Placement,
    task: Task = _CLASSIFICATION,
) -> Measurement:
    """Measure a model as it is, without calibration.

    Args:
        model: Gives what the task takes for samples (N, ...), or for several inputs. Put modules
            in evaluation mode first.
        batches: Samples with the task's targets.
        placement: Where both are moved to.
        task: What is measured.

    Raises:
        ConfigError: If the model returns what the task cannot read.
        DataError: If there are no samples, or targets do not fit.
    """
    start = time.perf_counter()
    tally = start_tally(task)
    with torch.no_grad():
        for batch in batches:
            samples, targets = read_batch(batch)
            answers = call_on(model, placement.put(samples))
            outputs = task.check_outputs(answers, count_samples(samples))
            there = move_targets(targets, placement.device)
            add_batch(task, tally, outputs, there)
    if tally.n_samples == 0:
        raise DataError(f"there are no samples to measure {task.metrics[0].name} on")
    seconds = time.perf_counter() - start
    metrics, quality = ask_metrics(task, tally), tally.measure_quality()
    return Measurement(metrics, quality, tally.n_samples, seconds)


class Answering(Protocol):
    """Something that answers as it is: a calibrated or a finetuned subnet."""

    @property
    def placement(self) -> Placement:
        """Where its samples must be."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return its outputs for samples, or for all inputs of a model."""


def measure_metrics(
    model: nn.Module | Answering, batches: Batches, task: Task = _CLASSIFICATION
) -> Mapping[str, float]:
    """Return a task's metrics of a model, as it is, by name.

    Args:
        model: A module, which is run in evaluation mode, or a subnet that was calibrated.
        batches: Samples with the task's targets.
        task: What is measured.

    Raises:
        ConfigError: If the model returns what the task cannot read.
        DataError: If there are no samples, or targets do not fit.
    """
    if isinstance(model, CalibratedSubnet):
        with model.folded() as run:
            return measure(run, batches, model.placement, task).metrics
    if not isinstance(model, nn.Module):
        return measure(model, batches, model.placement, task).metrics
    with evaluating(model):
        return measure(model, batches, placement_of(model), task).metrics


def measure_accuracy(model: nn.Module | Answering, batches: Batches) -> float:
    """Return the share of samples a classifier gets right, as it is, in [0, 1].

    Args:
        model: A module, which is run in evaluation mode, or a subnet that was calibrated.
        batches: Samples with labels (N,).

    Raises:
        ConfigError: If the model does not return one logit a class.
        DataError: If there are no samples, or labels are no classes of the model.
    """
    return measure_metrics(model, batches)["accuracy"]
