"""Training a supernet once, so that all its subnets work."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass

from dpod_search.errors import ConfigError
from dpod_search.placement import device_of
from dpod_search.placement import place_module
from dpod_search.progress import Progress
from dpod_search.progress import SilentProgress
from dpod_search.supernet import Supernet
from dpod_search.training.batches import Batches
from dpod_search.training.batches import count_batches
from dpod_search.training.batches import count_images
from dpod_search.training.checkpoint import CheckpointFile
from dpod_search.training.learner import SupernetLearner
from dpod_search.training.loop import Loop
from dpod_search.training.optimizers import OptimizerSettings
from dpod_search.training.policies import MakePolicy
from dpod_search.training.policies import Policy
from dpod_search.training.policies import PolicyContext
from dpod_search.training.policies import Scorer
from dpod_search.training.policies import make_policy
from dpod_search.training.ranks import Ranks
from dpod_search.training.scoring import CountedScorer
from dpod_search.training.scoring import limit_scoring
from dpod_search.training.settings import TrainingSettings
from dpod_search.widths import Widths
from dpod_search.widths import WidthSpace


@dataclass(frozen=True)
class TrainingResult:
    """What training a supernet leaves behind, besides the weights.

    Args:
        path: Profiles from the full net to the floor (empty if the policy has none).
        history: Step, lr and losses at about 200 steps.
        n_steps: Steps of the whole training.
        seconds: Time it took, in all processes that worked on it up to their last checkpoints.
        macs: Multiply-adds of the forward passes of all steps, on all ranks. A backward pass has
            twice as many, which adds ``2 * macs``.
        scoring_macs: Multiply-adds of what the policy had scored, to let its path grow; there is
            no backward pass. Policies are compared at equal ``3 * macs + scoring_macs``.
    """

    path: tuple[Widths, ...]
    history: tuple[Mapping[str, float], ...]
    n_steps: int
    seconds: float
    macs: float
    scoring_macs: float


def train_supernet(
    supernet: Supernet,
    loader: Batches,
    settings: TrainingSettings,
    *,
    cost: Callable[[Widths], float],
    score: Scorer,
    seed: int,
    checkpoint: CheckpointFile | None = None,
    progress: Progress | None = None,
    policy: MakePolicy | None = None,
    n_scored: int = 0,
) -> TrainingResult:
    """Train a supernet in place.

    In a process group of PyTorch all ranks must call it, each with its own share of every batch;
    then they train one supernet together, and all have it in the end. The first one scores, and
    only its checkpoint is read and written.

    Args:
        supernet: On its device; left in evaluation mode at full width.
        loader: Batches of pictures (N, *example_shape) and labels (N,).
        settings: How.
        cost: Macs of a subnet.
        score: Quality of a subnet in [0, 1], larger is better, on pictures kept apart: on all of
            them, or on as many as its second argument says.
        seed: Seed of the study.
        checkpoint: Where the state is kept; training goes on from it if it exists.
        progress: Who is told.
        policy: A policy's class, used instead of the one that the settings name; called with a
            ``PolicyContext`` alone. Bind options of its own with ``functools.partial``.
        n_scored: Pictures that ``score`` runs a subnet on, those that calibrate it included. With
            0 scores count as free.

    Returns:
        The path and the history.

    Raises:
        ConfigError: If the policy or its options are unknown, the settings have options and the
            policy is given as a class, or the model does not return one logit a class.
        TrainingError: If a loss or the gradients are not finite, or another rank was lost.
        CheckpointError: If the checkpoint is damaged, of another run, or cannot be written.
        DataError: If the loader is empty, or labels are no classes of the model.
    """
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
    progress = progress or SilentProgress()
    with ranks.noticing_losses():
        scorer = CountedScorer(ranks.agree(score), cost, ranks.share(n_scored))
        context = make_context(
            supernet.space, loader, settings, scorer, seed=seed, ranks=ranks, progress=progress
        )
        ranks.check_same(
            context.n_steps, "steps to train; give their loaders equally many batches"
        )
        chosen = make_policy(policy or settings.policy, settings.policy_options, context)
        learner = make_learner(supernet, chosen, settings, scorer, ranks=ranks)
        loop = Loop(
            module=supernet,
            loader=loader,
            n_epochs=settings.epochs,
            learner=learner,
            optimizer=OptimizerSettings.part_of(settings, "training"),
            task="train",
            checkpoint=checkpoint if ranks.is_first else None,
            progress=progress,
            seed=seed,
            ranks=ranks,
        )
        history = loop.run()
        ranks.share_tensors(supernet)  # BatchNorm's statistics are of each rank's own pictures
    supernet.eval()
    return TrainingResult(
        path=learner.path(),
        history=tuple(history),
        n_steps=context.n_steps,
        seconds=loop.seconds,
        macs=learner.macs,
        scoring_macs=scorer.macs,
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
    limit = limit_scoring(settings.max_scoring_share, n_images, scorer.cost(space.full))
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


def make_learner(
    supernet: Supernet,
    policy: Policy,
    settings: TrainingSettings,
    scorer: CountedScorer,
    *,
    ranks: Ranks | None = None,
) -> SupernetLearner:
    """Make what runs a policy's plans as the settings say.

    Args:
        supernet: The net in training.
        policy: Chooses the subnets.
        settings: How they are trained.
        scorer: What the policy judges subnets with.
        ranks: The processes that train together.
    """
    return SupernetLearner(
        supernet,
        policy,
        cost=scorer.cost,
        label_smoothing=settings.label_smoothing,
        distillation=settings.distillation,
        temperature=settings.temperature,
        precision=settings.precision,
        group_lasso=settings.group_lasso,
        ranks=ranks,
        scorer=scorer,
    )
