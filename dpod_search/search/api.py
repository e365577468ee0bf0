"""The search as one call: a supernet and objectives in, a front out."""

from __future__ import annotations

import time
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage

from dpod_search.bars import Audience
from dpod_search.bars import watched
from dpod_search.callbacks import Callback
from dpod_search.callbacks import Callbacks
from dpod_search.errors import ConfigError
from dpod_search.programs import WidthTables
from dpod_search.search.evaluations import call_objectives
from dpod_search.search.front import Front
from dpod_search.search.objectives import Objective
from dpod_search.search.outcome import list_trials
from dpod_search.search.resolving import resolve_objectives
from dpod_search.search.samplers.sampler import make_sampler
from dpod_search.search.seeds import Proposal
from dpod_search.search.seeds import ProposalRequest
from dpod_search.search.seeds import propose_seeds
from dpod_search.search.settings import SearchSettings
from dpod_search.search.study import open_study
from dpod_search.search.study import run_study
from dpod_search.search.task import Footprint
from dpod_search.search.task import SearchTask
from dpod_search.widths import Widths


if TYPE_CHECKING:
    from dpod_search.supernet import Supernet

MAX_CALIBRATION_IMAGES = 2048


def search(
    supernet: Supernet,
    objectives: Sequence[object],
    *,
    n_trials: int | None = None,
    n_evaluated: int | None = None,
    seconds: float | None = None,
    constraints: Mapping[str, str] | None = None,
    seed: int = 0,
    storage: str | Path | BaseStorage | None = None,
    study_name: str = "dpod",
    sampler: BaseSampler | None = None,
    calibration_images: Any = None,
    repair: bool = False,
    seeds: Sequence[Proposal | Widths] = (),
    tables: WidthTables | None = None,
    settings: SearchSettings | None = None,
    progress: Audience = "auto",
    callbacks: Iterable[Callback] = (),
) -> Front:
    """Search a trained supernet for its Pareto front.

    Args:
        supernet: The trained supernet.
        objectives: One to four of ``Accuracy(loader)``, ``Macs()``, ``Params()``,
            ``WeightBytes()``, ``PeakBytes()``, ``LatencyMs()``, any other footprint by its name,
            callables with ``name`` and ``direction``, and those of an ``Evaluation``.
        n_trials: Trials in all; calling again on the same storage with more continues. Overrides
            ``settings.n_trials``.
        n_evaluated: Evaluated subnets in all; overrides ``settings.n_evaluated``.
        seconds: Wall seconds of searching in all; overrides ``settings.seconds``. The first of the
            three limits that is reached ends the search.
        constraints: Bounds on footprints and objectives, for instance ``{"macs": "<= 40%",
            "accuracy": ">= 0.9"}``; overrides ``settings.constraints``.
        seed: Seed of every random choice.
        storage: Path of a journal, URL of a database, or an open storage; None keeps the
            study in memory.
        study_name: Name of the study in the storage.
        sampler: Any Optuna sampler, in place of the one the settings name.
        calibration_images: Images on which BatchNorm statistics are estimated again. None takes
            the training images that ``train_supernet`` left with the supernet, else those (not
            the labels) that accuracy is measured on. For a model of several inputs give all of
            them, a tuple or a dictionary as ``build_supernet`` takes; a model without BatchNorm
            needs none.
        repair: Solve the layers of each subnet in closed form before it is measured, for a net
            that was trained at full width alone.
        seeds: Subnets to try first, such as the path of the training; then comes the ladder.
        tables: What widths keep and cost, for the seeds that ``settings.n_mdp`` asks for.
        settings: How, otherwise.
        progress: Told of every finished trial; ``"auto"`` draws a bar in a terminal and a line in a
            notebook, and nothing elsewhere; None draws nothing.
        callbacks: Told of every trial that this process finishes, and of the end.

    Returns:
        The front; each member holds its subnet, and ``front.study`` is Optuna's study.

    Raises:
        ConfigError: If an argument is not valid, ``settings.n_mdp`` lacks its tables, or an objective
            gives no number.
        ObjectiveError: If an objective raises; once it is mended, the same call on the same storage
            goes on with that trial.
        InfeasibleError: If no subnet meets the constraints.
        RunFolderError: If the storage holds another study under this name.
    """
    from dpod_search.supernet import Subnet
    from dpod_search.supernet import check_supernet

    check_supernet(supernet)
    settings = settings or SearchSettings()
    if n_trials is not None:
        settings = replace(settings, n_trials=n_trials)
    if n_evaluated is not None:
        settings = replace(settings, n_evaluated=n_evaluated)
    if seconds is not None:
        settings = replace(settings, seconds=seconds)
    if constraints is not None:
        settings = replace(settings, constraints=dict(constraints))
    if settings.n_mdp and tables is None:
        raise ConfigError(
            "settings.n_mdp needs to know what widths keep and cost; pass tables=WidthTables(...)"
        )
    task = make_task(
        supernet,
        resolve_objectives(objectives),
        constraints=settings.constraints,
        seed=seed,
        calibration_images=calibration_images,
        repair=repair,
    )
    given = [s if isinstance(s, Proposal) else Proposal(s, "user") for s in seeds]
    proposed = propose_seeds(ProposalRequest(task, settings, tables=tables))
    sampler = sampler or make_sampler(settings, task)
    study = open_study(study_name, storage, task.objectives, sampler)
    told, start = Callbacks(callbacks), time.monotonic()
    with watched(progress) as bars:
        result = run_study(study, task, settings, [*given, *proposed], bars, callbacks=told)
    found = {"n_trials": len(result.trials), "n_front": len(result.front)}
    told.on_stage("search", time.monotonic() - start, found)
    front = result.front.attach(lambda widths: Subnet(supernet, widths))
    return replace(front, study=study, trials=tuple(list_trials(result)))


def make_task(
    supernet: Supernet,
    objectives: Sequence[Objective],
    *,
    constraints: Mapping[str, str] | None = None,
    seed: int = 0,
    calibration_images: Any = None,
    calibration_batch_size: int = 1024,
    repair: bool = False,
    footprint: Footprint | None = None,
    provenance: Mapping[str, str] | None = None,
) -> SearchTask:
    """Make the task of searching a supernet.

    Args:
        supernet: The trained supernet.
        objectives: One to four objectives.
        constraints: Bounds on footprints and objectives.
        seed: Seed of every random choice.
        calibration_images: As for :func:`search`.
        calibration_batch_size: Those of them that are run at once.
        repair: As for :func:`search`.
        footprint: What subnets cost in closed form; by default all but the latency.
        provenance: What else the measurements depend on, as ``SearchTask`` has it.

    Returns:
        A task whose subnets are calibrated once each and then given to all objectives.

    Raises:
        ConfigError: If there are no images to calibrate on.
    """
    # Only here does the search meet a supernet; the rest of it runs on numbers alone.
    from dpod_search.footprint import build_footprint

    measured = [objective for objective in objectives if objective.is_measured]
    return SearchTask(
        supernet.space,
        tuple(objectives),
        footprint or build_footprint(supernet),
        _make_evaluate(
            supernet, measured, calibration_images, calibration_batch_size, repair=repair
        ),
        constraints or {},
        seed,
        {**(provenance or {}), "repair": "closed form" if repair else "none"},
    )


def _make_evaluate(
    supernet: Supernet,
    measured: Sequence[Objective],
    images: Any,
    batch_size: int,
    *,
    repair: bool,
) -> Callable[[Widths], dict[str, Any]]:
    import torch

    from dpod_search.evaluation import make_evaluator
    from dpod_search.evaluation.calibration import has_statistics

    if not measured:
        return lambda widths: {}
    if images is None:
        images = supernet.calibration_images
    if images is None and (repair or has_statistics(supernet) or _has_batches(measured)):
        images = _gather_images(measured)
    if images is None:
        images = supernet.example  # there is nothing to calibrate
    evaluator = make_evaluator(
        supernet, images, batch_size=batch_size, repair=repair, is_told=True
    )

    def evaluate(widths: Widths) -> dict[str, Any]:
        with torch.no_grad(), evaluator.calibrated(widths) as subnet:
            return call_objectives(measured, subnet, widths)

    return evaluate


def _has_batches(measured: Sequence[Objective]) -> bool:
    return any(objective.batches is not None for objective in measured)


def _gather_images(measured: Sequence[Objective]) -> Any:
    from dpod_search.data import gather_images

    for objective in measured:
        if objective.batches is not None:
            return gather_images(iter(objective.batches), MAX_CALIBRATION_IMAGES)
    raise ConfigError(
        "no objective has images to calibrate BatchNorm on; pass calibration_images (for a model of "
        "several inputs a tuple of them, or a dictionary)"
    )
