"""The experiments of ``nats_supernet.py``, as studies of the package."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
from pathlib import Path

from nats_net import RATIOS

from dpod_search.config import StudyConfig
from dpod_search.data import DataSettings
from dpod_search.evaluation import EvaluationSettings
from dpod_search.models import ModelSettings
from dpod_search.search import SearchSettings
from dpod_search.supernet import SupernetSettings
from dpod_search.training import TrainingSettings


SEED = 0


@dataclass(frozen=True)
class Preset:
    """One experiment.

    Args:
        side: Height and width of the pictures, in pixels; the table's networks had 32.
        training: How the supernet is trained.
        evaluation: How subnets are evaluated.
        device: Where.
        n_evaluated: Subnets that the search evaluates.
        held_out: Share of the training pictures that accuracy is measured on.
    """

    side: int
    training: TrainingSettings
    evaluation: EvaluationSettings = field(
        default_factory=lambda: EvaluationSettings(n_calibration=512, batch_size=250)
    )
    device: str = "cpu"
    n_evaluated: int = 150
    held_out: float = 0.04


PRESETS = {
    # A check that everything runs, in about a minute; its figures mean nothing.
    "tiny": Preset(
        side=8,
        training=TrainingSettings(
            policy="independent",
            distillation=0.0,
            epochs=1,
            batch_size=512,
            crop_padding=1,
            flip=True,
            precision="bfloat16",
        ),
        evaluation=EvaluationSettings(n_calibration=64, batch_size=250),
        n_evaluated=20,
        held_out=0.01,
    ),
    "cpu": Preset(
        side=16,
        training=TrainingSettings(
            policy="independent",
            policy_options={"warmup_share": 0.5},
            epochs=8,
            batch_size=128,
            crop_padding=2,
            flip=True,
            precision="bfloat16",
        ),
        evaluation=EvaluationSettings(n_calibration=256, batch_size=250),
        held_out=0.02,
    ),
    "gpu": Preset(
        side=32,
        training=TrainingSettings(
            policy="independent",
            policy_options={"warmup_share": 0.5, "n_subnets": 2},
            epochs=100,
            batch_size=256,
            crop_padding=4,
            flip=True,
            precision="bfloat16",
            n_workers=8,
        ),
        evaluation=EvaluationSettings(n_calibration=2048, batch_size=1000),
        device="cuda",
        n_evaluated=200,
        held_out=0.1,
    ),
}


def make_study(name: str, pictures: Path, *, threads: int) -> StudyConfig:
    """Describe an experiment as a study.

    Args:
        name: A key of ``PRESETS``.
        pictures: What :func:`nats_data.unpack_pictures` returned.
        threads: CPU threads of PyTorch.
    """
    preset = PRESETS[name]
    return StudyConfig(
        name=f"nats-{name}",
        seed=SEED,
        device=preset.device,
        threads=threads,
        data=DataSettings(
            name="nats_data:load_cifar",
            arguments={"file": str(pictures), "side": preset.side},
            validation_share=preset.held_out,
            calibration_share=0.02,
        ),
        model=ModelSettings(name="nats_net:build_full_net"),
        supernet=SupernetSettings(
            ratios=RATIOS, removes_blocks=False, handlers="nats_net:HANDLERS"
        ),
        training=preset.training,
        evaluation=preset.evaluation,
        search=SearchSettings(n_evaluated=preset.n_evaluated, n_trials=20 * preset.n_evaluated),
    )
