"""The full net as a teacher whose answers are computed once and used for every subnet.

A small subnet's step costs less than the full net's forward pass on the same pictures. Answers to
pictures that were augmented otherwise are worse than none (Beyer et al., 2022, section 3.1), so
that a bounded number of views of each picture is made, and a view is always shown together with
the answer to that very view.

References:
    Beyer et al.: Knowledge distillation: A good teacher is patient and consistent, CVPR 2022
    (arXiv 2106.05237). Views in turn instead of new ones at every step are our own.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch import nn

from dpod_search.data.loader import Batch
from dpod_search.data.loader import Batches
from dpod_search.errors import ConfigError
from dpod_search.finetune.attention import watching
from dpod_search.finetune.settings import FinetuneSettings
from dpod_search.inputs import Samples
from dpod_search.inputs import count_samples
from dpod_search.placement import device_of
from dpod_search.placement import place_module
from dpod_search.placement import placement_of
from dpod_search.supernet import Supernet
from dpod_search.supernet import extract_subnet
from dpod_search.tasks import Classification
from dpod_search.tasks import Task
from dpod_search.tasks.batches import read_batch
from dpod_search.training import rewind
from dpod_search.training.batches import PositionedLoader
from dpod_search.training.batches import count_batches
from dpod_search.training.precision import compute_outputs


_logger = logging.getLogger(__name__)

# Answers that take more memory than this are not kept.
_MAX_BYTES = 1 << 30

FloatArray = npt.NDArray[np.float32]


class ViewsInTurn:
    """A loader whose epochs repeat: the first ``n_views`` of another, again and again.

    Args:
        loader: What gives the batches.
        n_views: Epochs until they repeat, >= 1.
    """

    def __init__(self, loader: PositionedLoader, n_views: int) -> None:
        """Stand at the first batch."""
        self._loader = loader
        self._n_views = n_views

    def __len__(self) -> int:
        """Return the batches of an epoch."""
        return len(self._loader)

    def set_position(self, epoch: int, batch: int = 0) -> None:
        """Choose the batch to go on with."""
        self._loader.set_position(epoch % self._n_views, batch)

    def __iter__(self) -> Iterator[Batch]:
        """Iterate from the position to the end of its epoch."""
        return iter(self._loader)


class Teacher:
    """The full net, and the answers it has given.

    Args:
        full_net: In evaluation mode, on its device; it is never trained.
        task: What it was trained for.
        precision: What it runs in.
        n_views: Epochs after which the same batches come again, so that their answers are kept;
            0 for never.
        n_batches: Batches of an epoch.
    """

    def __init__(
        self,
        full_net: nn.Module,
        *,
        task: Task | None = None,
        precision: str = "float32",
        n_views: int = 0,
        n_batches: int = 0,
    ) -> None:
        """Know no answers yet."""
        self._full_net = full_net
        self._task = task or Classification()
        self._precision = precision
        self._n_views = n_views
        self._period = n_views * n_batches
        self._answers: dict[int, FloatArray] = {}
        self.n_images = 0
        """Pictures the full net was run on."""

    @property
    def full_net(self) -> nn.Module:
        """The net that answers."""
        return self._full_net

    def show_views(self, loader: Batches) -> Batches:
        """Return a loader of the batches that :meth:`answer` expects, in their order.

        Args:
            loader: The one that the teacher was made for.

        Raises:
            ConfigError: If it is another one, as far as that can be seen.
        """
        if self._n_views == 0:
            return loader
        n_batches = self._period // self._n_views
        if not isinstance(loader, PositionedLoader) or len(loader) != n_batches:
            raise ConfigError(
                f"this teacher keeps answers to the {n_batches} batches of another loader; make one "
                "with make_teacher for the loader that the subnet is trained on"
            )
        return ViewsInTurn(loader, self._n_views)

    def answer(self, step: int, samples: Samples) -> Tensor:
        """Return the full net's answers to the samples of a step.

        Args:
            step: Of a training on :meth:`show_views`, from 0.
            samples: Shape (N, ...), or several inputs, on the full net's device.

        Returns:
            As the task has them, for classification shape (N, n_classes).

        Raises:
            ConfigError: If they are not as many as when the answer was kept.
        """
        if self._period == 0:
            return self._run(samples)
        place = step % self._period
        if place not in self._answers:
            self._answers[place] = self._run(samples).cpu().numpy()
        kept = self._answers[place]
        if len(kept) != count_samples(samples):
            raise ConfigError(
                f"step {step} shows {count_samples(samples)} samples, and this teacher keeps answers to "
                f"{len(kept)}; make one with make_teacher for the loader that is trained on"
            )
        # A copy: another process may have been lent the array to read.
        return torch.from_numpy(kept.copy()).to(device_of(self._full_net))

    def answer_all(self, loader: Batches, n_epochs: int) -> None:
        """Answer all that will be asked, where answers are kept; nothing is answered twice.

        Args:
            loader: The one that the teacher was made for.
            n_epochs: Of the longest training.
        """
        views = self.show_views(loader)
        placement = placement_of(self._full_net)
        for view in range(min(self._n_views, n_epochs)):
            assert isinstance(views, PositionedLoader)
            steps = range(view * len(views), (view + 1) * len(views))
            if all(step in self._answers for step in steps):
                continue
            views.set_position(view)
            for step, batch in zip(steps, views, strict=True):
                self.answer(step, placement.put(read_batch(batch)[0]))

    def watch(self, samples: Samples, names: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """Run the full net.

        Args:
            samples: Shape (N, ...), or several inputs, on its device.
            names: Layers of it.

        Returns:
            Its answers, and what the layers gave out, by name.
        """
        with watching(self._full_net, names) as seen:
            answers = self._run(samples)
        return answers, seen

    def _run(self, samples: Samples) -> Tensor:
        self.n_images += count_samples(samples)
        with torch.no_grad():
            return compute_outputs(self._full_net, samples, self._task, self._precision)


def make_teacher(
    supernet: Supernet,
    loader: Batches,
    settings: FinetuneSettings | None = None,
    *,
    task: Task | None = None,
) -> Teacher | None:
    """Make the teacher of a supernet's subnets.

    Args:
        supernet: Holds the full net's weights and BatchNorm statistics.
        loader: What the subnets will be trained on; it is rewound.
        settings: How they are finetuned. Where the loader cannot repeat its batches, features are
            compared, or the answers would take more than 1 GiB, the full net runs at each step.
        task: What it was trained for; classification by default.

    Returns:
        The teacher, or None if the settings give it no say.

    Raises:
        DataError: If the loader is empty.
    """
    chosen = settings or FinetuneSettings()
    if chosen.distillation == 0 and chosen.features == 0:
        return None
    full_net = extract_subnet(supernet, supernet.space.full).eval()
    is_channels_last = supernet.grouping.runs_channels_last
    place_module(full_net, device_of(supernet), is_channels_last=is_channels_last)
    full_net.requires_grad_(False)
    n_batches = count_batches(loader)
    n_views = 0 if chosen.features > 0 else chosen.n_views
    if n_views > 0 and isinstance(loader, PositionedLoader):
        rewind(loader)
        samples, _ = read_batch(next(iter(loader)))
        once = Teacher(full_net, task=task, precision=chosen.precision)
        answers = once.answer(0, placement_of(full_net).put(samples))
        n_bytes = n_views * n_batches * answers.numel() * answers.element_size()
        if n_bytes <= _MAX_BYTES:
            return Teacher(
                full_net,
                task=task,
                precision=chosen.precision,
                n_views=n_views,
                n_batches=n_batches,
            )
        _logger.info(
            "finetune: answers to %d views would take %.1f GiB; the full net runs at each step",
            *(n_views, n_bytes / (1 << 30)),
        )
    return Teacher(full_net, task=task, precision=chosen.precision)
