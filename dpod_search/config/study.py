"""The whole of a study's settings: one section for each room, each defined in its room."""

from __future__ import annotations

import re
from dataclasses import dataclass
from dataclasses import field
from dataclasses import is_dataclass
from typing import Any
from typing import get_type_hints

from dpod_search.data import DataSettings
from dpod_search.data.augmentation import check_crop_padding
from dpod_search.errors import MAX_PROCESSES
from dpod_search.errors import ConfigError
from dpod_search.errors import check_count
from dpod_search.errors import show
from dpod_search.evaluation import EvaluationSettings
from dpod_search.export import ExportSettings
from dpod_search.finetune import FinetuneSettings
from dpod_search.latency import LatencySettings
from dpod_search.loggers import LoggingSettings
from dpod_search.models import ModelSettings
from dpod_search.oneshot import OneShotSettings
from dpod_search.placement import parse_device
from dpod_search.search import SearchSettings
from dpod_search.supernet import SupernetSettings
from dpod_search.tasks import TaskSettings
from dpod_search.training import TrainingSettings


_MAX_PIXELS = 10_000_000_000  # of all pictures that are in memory at once


@dataclass(frozen=True)
class StudyConfig:
    """A study, everything decided.

    Args:
        name: Names the run folder and the Optuna study: at most 100 letters, digits, hyphens,
            underscores and dots.
        seed: Every random number of the study derives from it; 0 to 2^63 - 1.
        device: Where nets run, as PyTorch spells it: ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        threads: CPU threads of PyTorch, 1 to 1,024 and as many as the machine can bear; without it
            PyTorch decides.
        data: Which pictures, and how they are split.
        task: What the model is trained for.
        model: Which model the supernet is made of.
        supernet: Which widths it offers.
        training: How it is trained.
        evaluation: How subnets are measured.
        latency: How latency is measured and modelled.
        search: How the Pareto front is searched.
        oneshot: What ``dpod-search mdp`` does in place of a search.
        finetune: How the chosen subnets are finetuned.
        export: What is written for use elsewhere.
        logging: Who else is told of the run.

    Raises:
        ConfigError: If a setting is out of range.
    """

    name: str
    seed: int = 0
    device: str = "cpu"
    threads: int | None = None
    data: DataSettings = field(default_factory=DataSettings)
    task: TaskSettings = field(default_factory=TaskSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    supernet: SupernetSettings = field(default_factory=SupernetSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)
    latency: LatencySettings = field(default_factory=LatencySettings)
    search: SearchSettings = field(default_factory=SearchSettings)
    oneshot: OneShotSettings = field(default_factory=OneShotSettings)
    finetune: FinetuneSettings = field(default_factory=FinetuneSettings)
    export: ExportSettings = field(default_factory=ExportSettings)
    logging: LoggingSettings = field(default_factory=LoggingSettings)

    def __post_init__(self) -> None:
        """Check what belongs to no room."""
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", self.name):
            raise ConfigError(
                f"name must be at most 100 letters, digits, '-', '_' and '.', for it names a "
                f"folder; got {show(self.name)}"
            )
        check_count("seed", self.seed, low=0, high=2**63 - 1)
        if self.threads is not None:
            check_count("threads", self.threads, low=1, high=MAX_PROCESSES)
        parse_device(self.device)
        if self.training.epochs == 0 and not self.model.is_trained:
            raise ConfigError(
                f"training.epochs = 0 takes trained weights as they are; {self.model.advice}"
            )
        if self.data.image_size is not None:
            self._check_pixels(self.data.image_size)

    def _check_pixels(self, size: int) -> None:
        """Check what is only too large together with the size of the pictures."""
        check_crop_padding("training.crop_padding", self.training.crop_padding, (size, size))
        counts = {
            "training.batch_size": self.training.batch_size,
            "evaluation.n_calibration": self.evaluation.n_calibration,
            "evaluation.batch_size": self.evaluation.batch_size,
            "latency.batch_size": self.latency.batch_size,
            "finetune.batch_size": self.finetune.batch_size,
        }
        limit = max(1, _MAX_PIXELS // size**2)
        for name, n in counts.items():
            if n > limit:
                raise ConfigError(
                    f"{name} must be <= {limit:,} with pictures of {size} x {size}, got {n:,}"
                )


def find_sections(settings: type[Any]) -> dict[str, type[Any]]:
    """Return the fields of a settings class that are settings classes themselves."""
    kinds: dict[str, Any] = get_type_hints(settings)
    return {
        name: kind for name, kind in kinds.items() if isinstance(kind, type) and is_dataclass(kind)
    }
