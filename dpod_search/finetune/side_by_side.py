"""Several subnets finetuned side by side, each in a process of its own, through joblib."""

from __future__ import annotations

import os
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import torch
from joblib import Parallel
from joblib import delayed
from joblib import parallel_config
from torch import Tensor

from dpod_search.errors import check_count
from dpod_search.finetune.finetuned import FinetunedSubnet
from dpod_search.finetune.settings import FinetuneSettings
from dpod_search.finetune.tuning import FinetuneJob
from dpod_search.finetune.tuning import prepare_finetuning
from dpod_search.placement import limit_threads
from dpod_search.progress import Progress
from dpod_search.progress import SilentProgress
from dpod_search.search import Candidate
from dpod_search.supernet import Subnet


Batches = Iterable[tuple[Tensor, Tensor]]


class _Parent:
    """Progress of a process that ends when the one that started it has ended.

    Else, after the parent was killed, its children would go on to write checkpoints under the next
    one's feet.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def start(self, task: str, total: int, done: int = 0) -> None:
        """Nothing is shown."""

    def advance(self, n: int = 1, note: str = "") -> None:
        """Look whether the parent is there; on Windows its loss goes unnoticed."""
        if os.name == "posix" and os.getppid() != self._pid:
            os._exit(1)

    def finish(self) -> None:
        """Nothing is shown."""


def run_jobs(
    jobs: Iterable[FinetuneJob], *, n_jobs: int = 1, n_threads: int | None = None
) -> Iterator[tuple[int, FinetunedSubnet]]:
    """Finetune subnets, several at a time.

    One that fails ends the others; what their checkpoints hold is not lost.

    Args:
        jobs: What to do, taken as they are needed in one process; with ``n_jobs > 1`` their
            loaders must be picklable.
        n_jobs: Processes; 1 stays in this one.
        n_threads: PyTorch's threads in each; None gives each its share of what this process has.

    Yields:
        The number of a job and its result, in the order they end.

    Raises:
        TrainingError: If a loss or the gradients of one are not finite.
        CheckpointError: If a checkpoint is damaged, of another run, or cannot be written.
    """
    if n_jobs == 1:
        for number, job in enumerate(jobs):
            yield number, job.run()
        return
    threads = n_threads or max(1, torch.get_num_threads() // n_jobs)
    pid = os.getpid()
    # At once: joblib would take them in a thread of its own, while the caller uses the supernet.
    waiting = list(enumerate(jobs))
    with parallel_config(backend="loky", inner_max_num_threads=threads):
        pool = Parallel(n_jobs=n_jobs, return_as="generator_unordered", pre_dispatch=n_jobs)
        yield from pool(delayed(_run_one)(*item, pid, threads) for item in waiting)


def _run_one(
    number: int, job: FinetuneJob, parent: int, n_threads: int
) -> tuple[int, FinetunedSubnet]:
    with limit_threads(n_threads):
        return number, job.run(_Parent(parent))


def finetune_all(
    subnets: Iterable[Candidate | Subnet],
    train_loader: Batches,
    *,
    n_jobs: int = 1,
    settings: FinetuneSettings | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> list[FinetunedSubnet]:
    """Finetune several subnets of one supernet, with one teacher for all.

    Args:
        subnets: Members of a front, or any subnets.
        train_loader: Batches of pictures (N, *example_shape) and labels (N,); picklable if
            ``n_jobs > 1``.
        n_jobs: Subnets that are finetuned side by side, each in a process of its own. A script
            that asks for more than one needs ``if __name__ == "__main__":``.
        settings: How.
        progress: Who is told of each subnet that is done.
        options: Further keyword arguments of :func:`finetune`: ``validation_loader``,
            ``calibration_images``, ``calibration_batch_size``, ``seed``.

    Returns:
        The finetuned modules, in the order of the subnets.

    Raises:
        ConfigError: If ``n_jobs`` is below 1 or a candidate has no supernet.
        TrainingError: If a loss or the gradients of one are not finite.
        DataError: If a loader is empty.
    """
    check_count("n_jobs", n_jobs, low=1)
    chosen = settings or FinetuneSettings()
    wanted = list(subnets)
    told = progress or SilentProgress()
    jobs = _prepare_all(wanted, train_loader, chosen, n_jobs > 1, options)
    finetuned: dict[int, FinetunedSubnet] = {}
    told.start("finetune", len(wanted))
    for number, result in run_jobs(jobs, n_jobs=n_jobs):
        finetuned[number] = result
        told.advance()
    told.finish()
    return [finetuned[number] for number in range(len(wanted))]


def _prepare_all(
    subnets: Sequence[Candidate | Subnet],
    train_loader: Batches,
    settings: FinetuneSettings,
    is_shared: bool,
    options: dict[str, Any],
) -> Iterator[FinetuneJob]:
    teacher = None
    for subnet in subnets:
        job = prepare_finetuning(
            subnet, train_loader, settings=settings, teacher=teacher, **options
        )
        if teacher is None and job.teacher is not None:
            teacher = job.teacher
            if is_shared:  # else each process would compute the same answers
                teacher.answer_all(train_loader)
        yield job
