"""The settings of a supernet's training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from typing import Any

from dpod_search.data.augmentation import CROP_FLIP
from dpod_search.data.augmentation import check_augmentation
from dpod_search.data.settings import MAX_PIXELS
from dpod_search.errors import MAX_PROCESSES
from dpod_search.errors import MAX_SECONDS
from dpod_search.errors import check_choice
from dpod_search.errors import check_count
from dpod_search.errors import check_range
from dpod_search.training.optimizers import OptimizerSettings
from dpod_search.training.policies import make_options
from dpod_search.training.precision import PRECISIONS


@dataclass(frozen=True)
class _Leading:
    """What stands before the optimizer's settings: fields of the last base come first."""

    policy: str = "dpod"
    policy_options: Mapping[str, Any] = field(default_factory=dict)
    distillation: float = 1.0
    temperature: float = 1.0
    group_lasso: float = 0.0
    n_scoring: int = 2000
    max_scoring_share: float = 0.1
    epochs: int = 30
    batch_size: int = 64


@dataclass(frozen=True)
class TrainingSettings(OptimizerSettings, _Leading):
    """How the supernet is trained; with the settings of its optimizer.

    Args:
        policy: Which subnets each step trains: a name (``dpod`` is progressive shrinking), or
            your own class as ``package.module:name``.
        policy_options: Options of that policy.
        distillation: Weight of the full net's answers in a partial net's loss, in [0, 1]; the
            labels have the rest. At 0 policies do not run the full net for its answers' sake.
        temperature: Of distillation, 0.001 to 1,000.
        group_lasso: Strength of the hierarchical group lasso, which lets whole suffixes of
            channels go to zero, 0 to 1,000; 0 for none.
        n_scoring: Pictures of the calibration split that judge the shrinks of the path, at most, 1
            to 10,000,000.
        max_scoring_share: Multiply-adds that judging them may take, as a share of those that
            training the full net alone for as many epochs would take, forward and backward, 0 to
            1,000. To stay within it fewer pictures judge, fewer shrinks are judged, or none of a
            profile. 0 judges nothing.
        epochs: Passes over the training pictures, 0 to 1,000,000. With 0 the weights of
            ``model.weights`` are taken as they are, the units of large weights first.
        batch_size: Pictures in a batch, 2 to 1,000,000.
        precision: ``float32``, or ``bfloat16`` for convolutions and matrix products.
        label_smoothing: Of the cross-entropy on labels, 0 to 0.999.
        crop_padding: Random shifts by up to so many pixels, less than a picture has and at most
            16,384; 0 for none.
        flip: Random left-right mirroring.
        augmentation: What is done to pictures after that: ``crop-flip`` for nothing;
            ``trivialaugment``, ``randaugment``, ``randomerasing``, or several joined by ``+``; or
            a function of your own as ``package.module:function``, which returns a transform of
            ``torchvision.transforms.v2``.
        n_workers: Processes that load pictures, at most 1,024 and as many as the machine can
            bear; 0 loads in the training process.
        checkpoint_seconds: Time between two checkpoints, 0 to 1,000,000,000.
    """

    precision: str = "float32"
    label_smoothing: float = 0.0
    crop_padding: int = 0
    flip: bool = False
    augmentation: str = CROP_FLIP
    n_workers: int = 0
    checkpoint_seconds: float = 10.0

    def __post_init__(self) -> None:
        """Check the ranges and the policy."""
        check_range("training.distillation", self.distillation, low=0, high=1)
        check_range("training.temperature", self.temperature, low=1e-3, high=1_000)
        check_range("training.group_lasso", self.group_lasso, low=0, high=1_000)
        check_count("training.n_scoring", self.n_scoring, low=1, high=10_000_000)
        check_range("training.max_scoring_share", self.max_scoring_share, low=0, high=1_000)
        check_count("training.epochs", self.epochs, low=0, high=1_000_000)
        check_count("training.batch_size", self.batch_size, low=2, high=1_000_000)
        self.check_optimizer("training")
        check_choice("training.precision", self.precision, PRECISIONS)
        check_range("training.label_smoothing", self.label_smoothing, low=0, high=0.999)
        check_count("training.crop_padding", self.crop_padding, low=0, high=MAX_PIXELS)
        check_augmentation("training.augmentation", self.augmentation)
        check_count("training.n_workers", self.n_workers, low=0, high=MAX_PROCESSES)
        check_range(
            "training.checkpoint_seconds", self.checkpoint_seconds, low=0, high=MAX_SECONDS
        )
        make_options(self.policy, self.policy_options)
