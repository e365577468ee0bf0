"""Judging subnets by the quality of their answers, on all pictures that are there for it or on fewer."""

from __future__ import annotations

from collections.abc import Iterator

from dpod_search.data.loader import Batch
from dpod_search.data.loader import Batches
from dpod_search.evaluation.evaluator import Evaluator
from dpod_search.inputs import Samples
from dpod_search.inputs import count_samples
from dpod_search.inputs import take_samples
from dpod_search.supernet import Supernet
from dpod_search.tasks import Classification
from dpod_search.tasks import Task
from dpod_search.tasks.batches import read_batch
from dpod_search.widths import Widths


class Judge:
    """Measures the quality of subnets of one supernet.

    Args:
        supernet: The weight-sharing parent; it is left as it was after every call.
        calibration_images: Shape (n, *example_shape): what BatchNorm statistics are estimated on.
        batches: Samples with the task's targets.
        batch_size: Pictures run at once in calibration.
        task: What they are judged at; classification by default.
    """

    def __init__(
        self,
        supernet: Supernet,
        calibration_images: Samples,
        batches: Batches,
        *,
        batch_size: int = 1024,
        task: Task | None = None,
    ) -> None:
        """Count the pictures once."""
        self._supernet = supernet
        self._images = calibration_images
        self._batches = batches
        self._batch_size = batch_size
        self._task = task or Classification()
        self._n_calibrating = count_samples(calibration_images)
        self._n_judging = sum(count_samples(read_batch(batch)[0]) for batch in batches)
        self._evaluators: dict[int, Evaluator] = {}

    @property
    def n_images(self) -> int:
        """Pictures that a subnet is run on, those that calibrate it included."""
        return self._n_calibrating + self._n_judging

    def __call__(self, widths: Widths, n_images: int | None = None) -> float:
        """Return the quality of a calibrated subnet's answers, in [0, 1].

        It moves with every sample, where accuracy on a few hundred moves in steps: for tasks of
        classes it is the mean probability given to the right one.

        Args:
            widths: Of the supernet's space.
            n_images: Look at only so many pictures, >= 2: the first ones, half of them to
                calibrate the subnet and half to judge it, as far as there are as many of both.
        """
        n_images = min(n_images or self.n_images, self.n_images)
        n_judging = min(self._n_judging, max(n_images // 2, n_images - self._n_calibrating))
        n_calibrating = n_images - n_judging
        if n_calibrating not in self._evaluators:
            self._evaluators[n_calibrating] = Evaluator(
                self._supernet,
                take_samples(self._images, slice(n_calibrating)),
                batch_size=self._batch_size,
            )
        batches = _take_first(self._batches, n_judging)
        return self._evaluators[n_calibrating].evaluate(widths, batches, self._task).quality


def _take_first(batches: Batches, n_images: int) -> Iterator[Batch]:
    left = n_images
    for batch in batches:
        samples, targets = read_batch(batch)
        if left > 0:
            yield take_samples(samples, slice(left)), targets[:left]
        left -= count_samples(samples)
        if left <= 0:
            return
