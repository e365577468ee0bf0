"""What the stages of one run share: data, the model, the supernet. Each is made when needed."""

from __future__ import annotations

import logging
import os
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dpod_search.callbacks import Callbacks
from dpod_search.config import StudyConfig
from dpod_search.data import DataSplits
from dpod_search.data import ImageDataset
from dpod_search.data import SeededLoader
from dpod_search.data import gather_images
from dpod_search.data import load_data
from dpod_search.data.datasets import DatasetView
from dpod_search.data.datasets import fetch_batch
from dpod_search.data.loader import Batch
from dpod_search.errors import ConfigError
from dpod_search.errors import shorten
from dpod_search.files import expand_path
from dpod_search.files import hash_file
from dpod_search.files import hash_value
from dpod_search.footprint import FootprintModel
from dpod_search.footprint import build_footprint
from dpod_search.inputs import Samples
from dpod_search.inputs import call_with_samples
from dpod_search.latency import LatencyModel
from dpod_search.latency import LatencyTable
from dpod_search.latency import make_request
from dpod_search.latency import read_table
from dpod_search.latency.model import TimedFootprint
from dpod_search.pipeline import latency_table
from dpod_search.pipeline.folder import RunFolder
from dpod_search.pipeline.nets import build_study
from dpod_search.placement import place_module
from dpod_search.progress import Progress
from dpod_search.search import Objective
from dpod_search.search import resolve_objectives
from dpod_search.search.store import hide_password
from dpod_search.search.task import Footprint
from dpod_search.supernet import Supernet
from dpod_search.tasks import Metric
from dpod_search.tasks import Task
from dpod_search.tasks.batches import read_batch
from dpod_search.training import Ranks
from dpod_search.training import choose_device
from dpod_search.weights import load_weights


# Sets up to this size are batched once and kept, instead of fetched for every subnet.
_KEEP_IMAGES = 20_000
_KEEP_BYTES = 2**32

WEIGHTS = "supernet.safetensors"

_logger = logging.getLogger(__name__)

Batches = list[Batch] | SeededLoader


@dataclass
class Session:
    """One run of a study in one folder.

    Args:
        config: The study.
        folder: Where its files are; locked by this process.
        progress: Who is told.
        storage: URL or path of Optuna's storage; None is the journal in the run folder.
        n_jobs: Processes that search, this one included; and those that finetune.
        is_guest: The folder is another process's, and only read.
        callbacks: Who is told of steps, trials and stages.
        spelling: How the storage was spelled at first, its password hidden; None is as it is now.
    """

    config: StudyConfig
    folder: RunFolder
    progress: Progress
    storage: str | None = None
    n_jobs: int = 1
    is_guest: bool = False
    callbacks: Callbacks = field(default_factory=Callbacks)
    spelling: str | None = None

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.folder.path

    @property
    def study_storage(self) -> str:
        """URL or path of Optuna's storage, wherever it is."""
        return self.storage or str(self.path / "study.journal")

    @property
    def storage_spelling(self) -> str | None:
        """What stages depend on of the storage: its URL without a password, or None."""
        return self.spelling or (self.storage and hide_password(self.storage))

    @property
    def seed(self) -> int:
        """Seed of everything random."""
        return self.config.seed

    @property
    def n_threads(self) -> int:
        """PyTorch's threads in each of the processes that work side by side."""
        return self.config.threads or max(1, (os.cpu_count() or 1) // self.n_jobs)

    @cached_property
    def device(self) -> torch.device:
        """Where nets are trained and evaluated.

        Raises:
            ConfigError: If the device is not there.
        """
        try:
            device = choose_device(self.config.device)
            torch.zeros(1, device=device)
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            reason = shorten(str(error).splitlines()[0], 300)
            raise ConfigError(
                f'device {self.config.device!r} cannot be used ({reason}); set device = "cpu"'
            ) from error
        return device

    @cached_property
    def task(self) -> Task:
        """What the model is trained for.

        Raises:
            ConfigError: If a task of the user's own cannot be made.
        """
        return self.config.task.make()

    @property
    def metric(self) -> Metric:
        """The task's first metric, by which nets are compared."""
        return self.task.metrics[0]

    @cached_property
    def data(self) -> DataSplits:
        """The four splits."""
        return load_data(self.config.data, self.seed)

    @cached_property
    def calibration_images(self) -> Samples:
        """Training samples, not augmented, that BatchNorm statistics are estimated on."""
        return gather_images(self.data.train, self.config.evaluation.n_calibration)

    @cached_property
    def scoring_batches(self) -> Batches:
        """The calibration split: it judges the shrinks of the path."""
        split = self.data.calibration
        n_images = min(len(split), self.config.training.n_scoring)
        return self.batches(DatasetView(split, np.arange(n_images)))

    @cached_property
    def validation_batches(self) -> Batches:
        """The validation split: it gives the metrics that are searched on."""
        return self.batches(self.data.validation)

    @cached_property
    def objectives(self) -> tuple[Objective, ...]:
        """The objectives of the search."""
        return resolve_objectives(
            self.config.search.objectives,
            loader=self.validation_batches,
            latency=self.config.latency,
            task=self.task,
        )

    @cached_property
    def blank_supernet(self) -> Supernet:
        """The supernet with the model's initial weights."""
        supernet = build_study(self.config, self.data)
        supernet.calibration_images = self.calibration_images
        place_module(supernet, self.device, is_channels_last=supernet.grouping.runs_channels_last)
        return supernet

    @cached_property
    def weights(self) -> str:
        """The hash of the trained supernet's weights, which may have gigabytes.

        Raises:
            RunFolderError: If it has not been trained.
            CheckpointError: If they are not what the training wrote.
        """
        return self.folder.require_hash(WEIGHTS, "train")

    @cached_property
    def supernet(self) -> Supernet:
        """The trained supernet, read from the run folder.

        Raises:
            RunFolderError: If it has not been trained.
            CheckpointError: If its file is damaged.
        """
        load_weights(self.blank_supernet.net, self.folder.require(WEIGHTS, "train"))
        self.blank_supernet.eval()
        return self.blank_supernet

    @cached_property
    def sizes(self) -> FootprintModel:
        """Closed-form footprints of the supernet's subnets, all but the latency."""
        return build_footprint(self.blank_supernet)

    @cached_property
    def latency_table(self) -> tuple[Path, LatencyTable]:
        """The file of the run's latency table and what is in it; measured if there is none.

        One that the study names comes first, then that of the run folder.

        Raises:
            DataError: If a table is damaged, or the run folder's lacks something and was measured
                elsewhere.
            RunFolderError: If a guest finds none.
        """
        settings = self.config.latency
        if settings.table is not None:
            path = expand_path(settings.table)
            return path, read_table(path)
        table = latency_table.find_table(
            self.folder,
            make_request(self.blank_supernet, settings, seed=self.seed),
            self.blank_supernet,
            device=self.device,
            progress=self.progress,
            is_guest=self.is_guest,
        )
        return self.path / latency_table.TABLE, table

    @cached_property
    def latency(self) -> LatencyModel | None:
        """The modelled latency of the supernet's subnets; None if the study does not ask for it.

        How right it is stands in the run folder then.

        Raises:
            DataError: If the table is damaged or of another model, or the model is too wrong.
        """
        if not latency_table.is_asked(self.config):
            return None
        is_told = self.path.is_dir() and not self.is_guest
        path, table = self.latency_table
        return latency_table.fit_model(
            self.blank_supernet,
            path,
            table,
            self.config.latency,
            device=self.device,
            folder=self.folder if is_told else None,
        )

    def describe_task(self) -> dict[str, Any]:
        """Return what results depend on of the task; nothing of the default one."""
        settings = self.config.task
        return {} if settings.is_default else {"task": asdict(settings)}

    def describe_latency(self) -> dict[str, str]:
        """Return what modelled latencies depend on; nothing if none are asked for."""
        if not latency_table.is_asked(self.config):
            return {}
        path, _ = self.latency_table
        # Of one table other nets may be held out, and what is left fitted to.
        return {"latency": hash_value([hash_file(path), self.config.latency.n_held_out])}

    @cached_property
    def footprint(self) -> Footprint:
        """Closed-form footprints of the supernet's subnets, and ``latency`` if it is asked for."""
        return self.sizes if self.latency is None else TimedFootprint(self.sizes, self.latency)

    def batches(self, dataset: ImageDataset) -> Batches:
        """Return a split in its own order, kept in memory if it is small."""
        loader = SeededLoader(
            dataset,
            batch_size=self.config.evaluation.batch_size,
            seed=self.seed,
            n_workers=self.config.training.n_workers,
        )
        is_small = len(dataset) <= _KEEP_IMAGES and _count_bytes(dataset) <= _KEEP_BYTES
        return list(loader) if is_small else loader

    def training_loader(self, batch_size: int, ranks: Ranks | None = None) -> SeededLoader:
        """Return the training split, shuffled and augmented as the study says.

        Args:
            batch_size: Pictures in a batch, of all ranks together.
            ranks: The processes that share every batch; the loader gives this one's part.

        Raises:
            ConfigError: If the ranks cannot share a batch evenly.
        """
        training = self.config.training
        ranks = ranks or Ranks()
        ranks.check_batch(batch_size)
        n_images = len(self.data.train) // ranks.n_ranks * ranks.n_ranks
        return SeededLoader(
            self.data.train,
            batch_size=min(batch_size, n_images),
            seed=self.seed,
            shuffle=True,
            # A last batch of one picture would break BatchNorm.
            drop_last=True,
            crop_padding=training.crop_padding,
            flip=training.flip,
            augmentation=training.augmentation,
            n_workers=training.n_workers,
            rank=ranks.rank,
            n_ranks=ranks.n_ranks,
        )


def _count_bytes(dataset: ImageDataset) -> int:
    """Return the memory that all samples and targets of a set take, judged by its first."""
    samples, targets = read_batch(fetch_batch(dataset, [0]))
    tensors = (*call_with_samples(samples).tensors, targets)
    n_bytes: int = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    return len(dataset) * n_bytes
