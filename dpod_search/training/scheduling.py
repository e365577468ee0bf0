"""From a supernet, a loader and settings to the schedule of a training."""

from __future__ import annotations

from dataclasses import replace

from dpod_search.data import gather_images
from dpod_search.data.loader import Batches
from dpod_search.data.loader import take_batches
from dpod_search.errors import ConfigError
from dpod_search.errors import check_count
from dpod_search.evaluation import Judge
from dpod_search.footprint import build_footprint
from dpod_search.inputs import Samples
from dpod_search.inputs import call_with_samples
from dpod_search.placement import device_of
from dpod_search.placement import place_module
from dpod_search.progress import Progress
from dpod_search.progress import SilentProgress
from dpod_search.supernet import Supernet
from dpod_search.supernet import check_inputs
from dpod_search.supernet import check_supernet
from dpod_search.tasks import Task
from dpod_search.tasks import resolve_task
from dpod_search.training.batches import count_batches
from dpod_search.training.batches import count_images
from dpod_search.training.batches import rewind
from dpod_search.training.policies import MakePolicy
from dpod_search.training.policies import PolicyContext
from dpod_search.training.policies import make_policy
from dpod_search.training.ranks import Ranks
from dpod_search.training.schedule import CountedScorer
from dpod_search.training.schedule import SubnetSchedule
from dpod_search.training.settings import TrainingSettings
from dpod_search.widths import WidthSpace


# Multiply-adds of a training step for each of its forward pass: the backward pass has two.
_STEP_MACS = 3


def make_schedule(
    supernet: Supernet,
    train_loader: Batches,
    *,
    policy: str | MakePolicy | None = None,
    epochs: int | None = None,
    settings: TrainingSettings | None = None,
    scoring_loader: Batches | None = None,
    calibration_images: Samples | None = None,
    calibration_batch_size: int = 1024,
    seed: int = 0,
    task: str | Task = "classification",
) -> SubnetSchedule:
    """Make what a training loop of your own asks which subnets to run.

    Arguments and errors are those of :func:`train_supernet`, of which this does all but the loop:
    the losses, the optimizer, its rates and the checkpoints are yours. Of the settings the policy,
    its options, ``epochs``, ``distillation`` (is it above 0, policies run the full net at each
    step) and ``max_scoring_share`` are looked at.

    Args:
        supernet: From ``build_supernet``, on its device; it remembers the calibration pictures.
        train_loader: What you will train on: it is counted and, without a ``scoring_loader`` and
            ``calibration_images``, its first batches are looked at.
        policy: Which subnets each step trains.
        epochs: Passes over the loader.
        settings: How, otherwise.
        scoring_loader: Batches that judge the shrinks of the path.
        calibration_images: Pictures that BatchNorm statistics are estimated on.
        calibration_batch_size: Those of them that are run at once.
        seed: Seed of the policy's choices.
        task: What subnets are judged at.

    Returns:
        The schedule, before its first step.
    """
    chosen, aim = choose_settings(settings, policy, epochs), resolve_task(task)
    scorer = prepare_scorer(
        supernet,
        train_loader,
        aim,
        judged=scoring_loader,
        images=calibration_images,
        batch_size=calibration_batch_size,
    )
    given = None if isinstance(policy, str) else policy
    return plan_schedule(
        supernet,
        train_loader,
        chosen,
        scorer,
        seed=seed,
        policy=given,
        calibration_batch_size=calibration_batch_size,
    )


def choose_settings(
    settings: TrainingSettings | None, policy: str | MakePolicy | None, epochs: int | None
) -> TrainingSettings:
    """Return settings, with what is given besides in its place.

    Raises:
        ConfigError: If there is nothing to train.
    """
    chosen = settings or TrainingSettings()
    if isinstance(policy, str):
        chosen = replace(chosen, policy=policy)
    if epochs is not None:
        chosen = replace(chosen, epochs=epochs)
    check_count("training.epochs", chosen.epochs, low=1, high=1_000_000)
    return chosen


def prepare_scorer(
    supernet: Supernet,
    loader: Batches,
    task: Task,
    *,
    judged: Batches | None,
    images: Samples | None,
    batch_size: int,
) -> CountedScorer:
    """Return the judge of a training's subnets; the supernet remembers the calibration pictures.

    Args:
        supernet: What is trained.
        loader: On what; it is rewound, and its first batches stand for what is not given.
        task: What subnets are judged at.
        judged: Batches to judge on.
        images: Pictures to calibrate on.
        batch_size: Those of them that are run at once.

    Raises:
        ConfigError: If it is no supernet, or its model cannot be called with the samples.
    """
    check_supernet(supernet)
    rewind(loader)  # where an interrupted training left it, other pictures would judge
    if images is None:
        images = gather_images(iter(loader), 512)
    check_inputs(supernet, call_with_samples(images))
    supernet.calibration_images = images
    if judged is None:
        judged = list(take_batches(loader, 512))
    judge = Judge(supernet, images, judged, batch_size=batch_size, task=task)
    footprint = build_footprint(supernet)
    return CountedScorer(judge, lambda widths: footprint.measure(widths)["macs"], judge.n_images)


def plan_schedule(
    supernet: Supernet,
    loader: Batches,
    settings: TrainingSettings,
    scorer: CountedScorer,
    *,
    seed: int,
    policy: MakePolicy | None,
    calibration_batch_size: int = 1024,
    progress: Progress | None = None,
) -> SubnetSchedule:
    """Make the schedule of a training; all ranks that there are judge as the first one does."""
    if len(supernet.groups) == 0:
        raise ConfigError("the supernet has no channel group to train")
    place_module(
        supernet, device_of(supernet), is_channels_last=supernet.grouping.runs_channels_last
    )
    if policy is not None and settings.policy_options:
        raise ConfigError(
            f"training.policy_options are those of training.policy = {settings.policy!r}, and the "
            f"policy was given as a class; got {dict(settings.policy_options)}, leave them out and "
            "bind the class's own with functools.partial"
        )
    ranks = Ranks.joined()
    scorer = CountedScorer(ranks.agree(scorer.score), scorer.cost, ranks.share(scorer.n_images))
    context = make_context(
        supernet.space, loader, settings, scorer, seed=seed, ranks=ranks, progress=progress
    )
    ranks.check_same(context.n_steps, "steps to train; give their loaders equally many batches")
    chosen = make_policy(policy or settings.policy, settings.policy_options, context)
    return SubnetSchedule(
        supernet,
        chosen,
        scorer,
        n_steps=context.n_steps,
        calibration_batch_size=calibration_batch_size,
        ranks=ranks,
    )


def make_context(
    space: WidthSpace,
    loader: Batches,
    settings: TrainingSettings,
    scorer: CountedScorer,
    *,
    seed: int,
    ranks: Ranks | None = None,
    progress: Progress | None = None,
) -> PolicyContext:
    """Gather what a policy may know.

    Args:
        space: The widths of the supernet.
        loader: Batches of pictures and labels.
        settings: How it is trained.
        scorer: What the policy judges subnets with.
        seed: Seed of the study.
        ranks: The processes that train together.
        progress: Who is told.

    Raises:
        DataError: If the loader is empty.
    """
    ranks = ranks or Ranks()
    n_images = settings.epochs * count_images(loader, ranks.n_ranks)
    full_macs = scorer.cost(space.full)
    limit = settings.max_scoring_share * _STEP_MACS * n_images * full_macs
    return PolicyContext(
        space,
        scorer.cost,
        scorer,
        n_steps=settings.epochs * count_batches(loader),
        seed=seed,
        distills=settings.distillation > 0,
        n_scored=scorer.n_images,
        # What is scored decides what is trained, so that all ranks must go by the same number.
        scoring_macs=ranks.share(limit),
        progress=progress or SilentProgress(),
    )
