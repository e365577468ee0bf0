"""Training a supernet once, so that all its subnets work."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dpod_search.bars import Audience
from dpod_search.bars import watched
from dpod_search.callbacks import Callback
from dpod_search.callbacks import Callbacks
from dpod_search.callbacks import OnStep
from dpod_search.data.loader import Batches
from dpod_search.evaluation import calibrate
from dpod_search.inputs import Samples
from dpod_search.progress import Progress
from dpod_search.progress import SilentProgress
from dpod_search.quantities import count
from dpod_search.quantities import number
from dpod_search.quantities import seconds
from dpod_search.showing import Sheet
from dpod_search.showing import Shown
from dpod_search.supernet import Supernet
from dpod_search.tasks import Task
from dpod_search.tasks import resolve_task
from dpod_search.training.checkpoint import CheckpointFile
from dpod_search.training.learner import SupernetLearner
from dpod_search.training.loop import Loop
from dpod_search.training.policies import MakePolicy
from dpod_search.training.ranks import Ranks
from dpod_search.training.schedule import CountedScorer
from dpod_search.training.scheduling import choose_settings
from dpod_search.training.scheduling import plan_schedule
from dpod_search.training.scheduling import prepare_scorer
from dpod_search.training.settings import TrainingSettings
from dpod_search.widths import Widths


if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True, repr=False)
class TrainingResult(Shown):
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

    def _describe(self) -> Sheet:
        facts = [("steps", count(self.n_steps)), ("time", seconds(self.seconds))]
        facts.append(("forward MACs", number(self.macs)))
        if self.path:
            facts.append(("profiles of the path", count(len(self.path))))
        ends = (self.history[0], self.history[-1]) if self.history else ()
        rows = [
            (name, *(number(end[name]) if name in end else "–" for end in ends))
            for name in (ends[-1] if ends else {})
            if name != "step"
        ]
        columns = ("", *(f"step {count(end['step'])}" for end in ends)) if ends else ()
        return Sheet("TrainingResult", facts, columns, rows)

    def plot(self) -> go.Figure:
        """Draw the report's figure of the training: its losses and the learning rate.

        Returns:
            A figure of Plotly's, which shows itself in a notebook and has ``write_html``.
        """
        # Plotly takes a while to import, and a training draws nothing.
        from dpod_search.figures.training import draw_history
        from dpod_search.records.training import list_steps

        return draw_history(list_steps(self.history))


def train_supernet(
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
    checkpoint: CheckpointFile | None = None,
    progress: Audience = "auto",
    callbacks: Iterable[Callback] = (),
) -> TrainingResult:
    """Train a supernet once, in place, so that all its subnets work.

    Afterwards the supernet is in evaluation mode at full width, holds the full net's BatchNorm
    statistics, and remembers the calibration pictures for the search and for finetuning.

    In a script under ``torchrun`` with a process group, all ranks call it, each with its share of
    every batch, and train the supernet together; go on with the first rank alone.

    Args:
        supernet: From ``build_supernet``, on its device.
        train_loader: Batches of samples (N, ...) and the task's targets.
        policy: Which subnets each step trains, by name or as a class of your own, called with a
            ``PolicyContext`` (bind options of its own with ``functools.partial``); overrides
            ``settings.policy``.
        epochs: Passes over the loader; overrides ``settings.epochs``.
        settings: How, otherwise.
        scoring_loader: Such batches that judge the shrinks of the path. Samples kept
            apart from training are better; by default the loader's own first batches are used.
        calibration_images: Pictures that BatchNorm statistics are estimated on; by default the
            loader's first 512.
        calibration_batch_size: Those of them that are run at once.
        seed: Seed of the policy's choices.
        task: What it is trained for: losses, targets and what is measured; a name, the import
            path of a class, or a task.
        checkpoint: Where the state is kept; training goes on from it if it exists.
        progress: Who is told; ``"auto"`` draws bars in a terminal and a line in a notebook, and
            nothing elsewhere; None draws nothing.
        callbacks: Who is told of each step, on the first rank alone, and of the end.

    Returns:
        The path and the history.

    Raises:
        ConfigError: If the policy, the task or a setting is not known or out of range, or the
            model returns what the task cannot read.
        TrainingError: If a loss or the gradients are not finite, or another rank was lost.
        CheckpointError: If the checkpoint is damaged, of another run, or cannot be written.
        DataError: If the loader is empty, or targets do not fit.
    """
    chosen, aim = choose_settings(settings, policy, epochs), resolve_task(task)
    told = Callbacks(callbacks)
    scorer = prepare_scorer(
        supernet,
        train_loader,
        aim,
        judged=scoring_loader,
        images=calibration_images,
        batch_size=calibration_batch_size,
    )
    is_first = Ranks.joined().is_first
    with watched(progress if is_first or progress != "auto" else None) as bars:
        result = train_by_policy(
            supernet,
            train_loader,
            chosen,
            scorer,
            seed=seed,
            task=aim,
            checkpoint=checkpoint,
            progress=bars,
            policy=None if isinstance(policy, str) else policy,
            on_step=told.steps_of("train"),
        )
    assert supernet.calibration_images is not None
    calibrate(supernet, supernet.calibration_images, batch_size=calibration_batch_size)
    ranks = Ranks.joined()
    ranks.share_tensors(supernet)  # whose pictures for calibration may differ
    if ranks.is_first:
        spent = {"macs": result.macs, "scoring_macs": result.scoring_macs}
        told.on_stage("train", result.seconds, {"n_steps": result.n_steps, **spent})
    return result


def train_by_policy(
    supernet: Supernet,
    loader: Batches,
    settings: TrainingSettings,
    scorer: CountedScorer,
    *,
    seed: int,
    task: Task | None = None,
    checkpoint: CheckpointFile | None = None,
    progress: Progress | None = None,
    policy: MakePolicy | None = None,
    on_step: OnStep | None = None,
) -> TrainingResult:
    """Do the steps of :func:`train_supernet`, whose other arguments, result and errors it has.

    Args:
        supernet: Left in evaluation mode at full width, with the statistics of its last steps.
        loader: As ``train_loader``.
        settings: How.
        scorer: What the policy judges subnets with. The first rank's is asked on all.
        seed: Seed of the study.
        task: What it is trained for; classification by default.
        checkpoint: Read and written by the first rank alone.
        progress: Who is told.
        policy: A policy's class, used instead of the one that the settings name.
        on_step: Called by the first rank after each step.
    """
    ranks = Ranks.joined()
    progress = progress or SilentProgress()
    with ranks.noticing_losses():
        schedule = plan_schedule(
            supernet, loader, settings, scorer, seed=seed, policy=policy, progress=progress
        )
        learner = SupernetLearner(supernet, schedule, settings, task=task, ranks=ranks)
        loop = Loop(
            module=supernet,
            loader=loader,
            n_epochs=settings.epochs,
            learner=learner,
            optimizer=settings,
            task="train",
            checkpoint=checkpoint if ranks.is_first else None,
            progress=progress,
            seed=seed,
            ranks=ranks,
            on_step=on_step if ranks.is_first else None,
        )
        history = loop.run()
        ranks.share_tensors(supernet)  # BatchNorm's statistics are of each rank's own pictures
    supernet.eval()
    return TrainingResult(
        path=schedule.path(),
        history=tuple(history),
        n_steps=schedule.n_steps,
        seconds=loop.seconds,
        macs=schedule.macs,
        scoring_macs=schedule.scoring_macs,
    )
