"""Several subnets finetuned side by side, each in a process of its own, through joblib."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from pickle import PicklingError  # noqa: TID251  # the error alone

import torch
from joblib import Parallel
from joblib import delayed
from joblib import parallel_config

from dpod_search.bars import Audience
from dpod_search.bars import watched
from dpod_search.callbacks import Callback
from dpod_search.callbacks import Callbacks
from dpod_search.data.loader import Batches
from dpod_search.errors import ConfigError
from dpod_search.errors import DataError
from dpod_search.errors import TrainingError
from dpod_search.finetune.chain import list_levels
from dpod_search.finetune.chain import plan_parents
from dpod_search.finetune.finetuned import FinetunedSubnet
from dpod_search.finetune.job import FinetuneContext
from dpod_search.finetune.job import FinetuneJob
from dpod_search.finetune.settings import FinetuneSettings
from dpod_search.finetune.teacher import make_teacher
from dpod_search.finetune.tuner import Tuner
from dpod_search.finetune.tuning import find_subnet
from dpod_search.finetune.tuning import prepare_finetuning
from dpod_search.inputs import Samples
from dpod_search.orphans import end_with
from dpod_search.placement import check_parallel
from dpod_search.placement import limit_threads
from dpod_search.rng import derive_seed
from dpod_search.rng import seeded
from dpod_search.search import Candidate
from dpod_search.supernet import Subnet
from dpod_search.tasks import Task
from dpod_search.tasks import resolve_task


def run_jobs(
    jobs: Iterable[FinetuneJob],
    *,
    n_jobs: int = 1,
    n_threads: int | None = None,
    names: Sequence[object] | None = None,
    callbacks: Callbacks | None = None,
) -> Iterator[tuple[int, FinetunedSubnet]]:
    """Finetune subnets, several at a time.

    One that fails ends the others; what their checkpoints hold is not lost. With ``n_jobs > 1``
    teachers give all their answers first, in this process, or each would give the same ones.

    Args:
        jobs: What to do, taken as they are needed in one process; with ``n_jobs > 1`` their
            loaders must be picklable. What these draw from PyTorch's global generator is there
            seeded by the job's seed and number.
        n_jobs: Processes, at most; 1 stays in this one.
        n_threads: PyTorch's threads in each; None gives each its share of what this process has.
        names: What callbacks know the subnets by; their numbers if it is None.
        callbacks: Who is told of the steps of each subnet, and of its end. With ``n_jobs > 1`` these
            are the steps of its history, when it has ended.

    Yields:
        The number of a job and its result, in the order they end.

    Raises:
        TrainingError: If a loss or the gradients of one are not finite, or a process was lost.
        CheckpointError: If a checkpoint is damaged, of another run, or cannot be written.
        DataError: If a loader cannot be handed to another process.
    """
    told = callbacks or Callbacks()
    if n_jobs == 1:
        for number, job in enumerate(jobs):
            stage = _name_stage(number, names)
            tuned = job.run(on_step=told.steps_of(stage))
            told.on_stage(stage, tuned.seconds, tuned.figures)
            yield number, tuned
        return
    # At once: joblib would take them in a thread of its own, while the caller uses the supernet.
    waiting = list(jobs)
    if not waiting:
        return
    _answer_all(waiting)
    n_processes = min(n_jobs, len(waiting))
    threads = n_threads or max(1, torch.get_num_threads() // n_processes)
    with parallel_config(
        backend="loky",
        inner_max_num_threads=threads,
        initializer=end_with,
        initargs=(os.getpid(),),
    ):
        pool = Parallel(n_processes, return_as="generator_unordered", pre_dispatch=n_processes)
    # Out of the block: what the caller does between two results is none of its business.
    try:
        for number, tuned in pool(
            delayed(_run_one)(*item, threads) for item in enumerate(waiting)
        ):
            _tell_history(told, _name_stage(number, names), tuned)
            yield number, tuned
    except PicklingError as error:
        reason = str(error.__cause__ or error).strip('"\n ').splitlines()[-1]  # of a traceback
        raise DataError(
            f"a subnet cannot be handed to another process ({reason}); give loaders and a model "
            "that can be pickled, or finetune with n_jobs=1"
        ) from error
    except BrokenProcessPool as error:
        raise TrainingError(
            f"a process that finetuned was lost ({str(error).split('.')[0]}); if memory was "
            "short, finetune fewer at once: a lower n_jobs, or --jobs"
        ) from error


def _name_stage(number: int, names: Sequence[object] | None) -> str:
    return f"finetune/{number if names is None else names[number]}"


def _tell_history(told: Callbacks, stage: str, tuned: FinetunedSubnet) -> None:
    for entry in tuned.history:
        values = {name: value for name, value in entry.items() if name != "step"}
        told.on_step(stage, int(entry["step"]), values)
    told.on_stage(stage, tuned.seconds, tuned.figures)


def _answer_all(jobs: list[FinetuneJob]) -> None:
    """Have each teacher answer what it will be asked at most."""
    n_epochs: dict[int, float] = {}
    for job in jobs:
        key = id(job.context.teacher)
        n_epochs[key] = max(n_epochs.get(key, 0), job.n_epochs)
    for job in jobs:
        teacher = None if job.has_tuner else job.context.teacher
        if teacher is not None:  # a second time costs nothing
            teacher.answer_all(job.context.train_loader, math.ceil(n_epochs[id(teacher)]))


def _run_one(number: int, job: FinetuneJob, n_threads: int) -> tuple[int, FinetunedSubnet]:
    # For loaders that shuffle by it: which process does which job is chance.
    seed = derive_seed(job.context.seed, "side by side", number)
    with limit_threads(n_threads), seeded(seed):
        return number, job.run()


def finetune_all(
    subnets: Iterable[Candidate | Subnet],
    train_loader: Batches,
    *,
    n_jobs: int = 1,
    validation_loader: Batches | None = None,
    calibration_images: Samples | None = None,
    calibration_batch_size: int = 1024,
    settings: FinetuneSettings | None = None,
    seed: int = 0,
    repair: bool = False,
    task: str | Task = "classification",
    tuner: Tuner | str | None = None,
    progress: Audience = "auto",
    callbacks: Iterable[Callback] = (),
) -> list[FinetunedSubnet]:
    """Finetune several subnets of one supernet, with one teacher for all.

    Args:
        subnets: Members of a front, or any subnets.
        train_loader: Batches of samples (N, *example_shape) and the task's targets; picklable if
            ``n_jobs > 1``.
        n_jobs: Subnets that are finetuned side by side, each in a process of its own. A script
            that asks for more than one needs ``if __name__ == "__main__":``.
        validation_loader: Batches that its metrics are measured on, before and after.
        calibration_images: What BatchNorm statistics are estimated on; by default those the
            supernet was trained with, else the loader's first 512.
        calibration_batch_size: Those of them that are run at once.
        settings: How.
        seed: Seed of what the modules themselves draw, such as dropout.
        repair: Whether they are measured before after a closed-form repair, as ``search`` did.
        task: What the supernet was trained for, as for ``train_supernet``.
        tuner: Trains in place of our loop, as for ``finetune``; picklable if ``n_jobs > 1``.
        progress: Told of each subnet that is done; ``"auto"`` draws a bar in a terminal and a line
            in a notebook, and nothing elsewhere; None draws nothing.
        callbacks: Who is told of the steps and the end of each, as stage ``finetune/<its place>``;
            with ``n_jobs > 1`` of about 200 steps, when it has ended.

    Returns:
        The finetuned modules, in the order of the subnets.

    Raises:
        ConfigError: If ``n_jobs`` is below 1 or more than this machine can bear, a candidate has
            no supernet, or they are of several; if the tuner returns another module.
        TrainingError: If a loss or the gradients of one are not finite, the tuner raises, or a process
            was lost.
        DataError: If a loader is empty, or cannot be handed to another process.
    """
    check_parallel("n_jobs", n_jobs)
    chosen = settings or FinetuneSettings()
    wanted = [find_subnet(subnet) for subnet in subnets]
    if any(subnet.supernet is not wanted[0].supernet for subnet in wanted):
        raise ConfigError(
            "the subnets are of several supernets, and the full net of one would teach all; "
            "call finetune_all for each supernet"
        )
    aim = resolve_task(task)
    listeners, start = Callbacks(callbacks), time.monotonic()
    context = FinetuneContext(
        train_loader,
        validation_loader,
        calibration_images,
        calibration_batch_size,
        chosen,
        seed,
        make_teacher(wanted[0].supernet, train_loader, chosen, task=aim) if wanted else None,
        repair,
        aim,
        tuner,
    )
    parents = plan_parents(wanted, chosen)
    finetuned: dict[int | None, FinetunedSubnet] = {}
    with watched(progress) as told:
        told.start("finetune", len(wanted))
        for level in list_levels(parents):
            jobs = (
                prepare_finetuning(wanted[place], context, parent=finetuned.get(parents[place]))
                for place in level
            )
            for number, result in run_jobs(jobs, n_jobs=n_jobs, names=level, callbacks=listeners):
                finetuned[level[number]] = result
                told.advance()
        told.finish()
    listeners.on_stage("finetune", time.monotonic() - start, {"n_subnets": len(wanted)})
    return [finetuned[number] for number in range(len(wanted))]
