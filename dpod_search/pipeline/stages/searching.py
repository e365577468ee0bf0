"""The second stage: search the widths, and keep the trials and the front."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable
from collections.abc import Mapping
from functools import partial
from typing import Any

from dpod_search.bounds import Bound
from dpod_search.errors import ConfigError
from dpod_search.footprint.shares import measure_shares
from dpod_search.pipeline.latency_table import is_searched
from dpod_search.pipeline.session import Session
from dpod_search.pipeline.stages import oneshot
from dpod_search.pipeline.stages.affording import limit_search
from dpod_search.pipeline.stages.filling import fills_all
from dpod_search.pipeline.stages.filling import list_closing
from dpod_search.pipeline.stages.importance import keep_seeds
from dpod_search.records import trials
from dpod_search.records.oneshot import OneShot
from dpod_search.records.search import Search
from dpod_search.records.training import ShrinkingPath
from dpod_search.records.trials import Trial
from dpod_search.search import Proposal
from dpod_search.search import ProposalRequest
from dpod_search.search import SearchResult
from dpod_search.search import SearchTask
from dpod_search.search import make_sampler
from dpod_search.search import make_task
from dpod_search.search import open_storage
from dpod_search.search import open_study
from dpod_search.search import propose_seeds
from dpod_search.search import run_study
from dpod_search.search import write_records
from dpod_search.search.identity import grow_seeds
from dpod_search.search.store.status import count_trials
from dpod_search.search.store.status import require_written
from dpod_search.search.worker.crew import check_shareable
from dpod_search.supernet import Supernet
from dpod_search.tasks import Metric


_logger = logging.getLogger(__name__)


def describe_inputs(session: Session) -> dict[str, Any]:
    """Return all that the trials depend on.

    Not the budgets of the finetuning, which the last of them fill: other budgets later choose among
    what was tried, and make no search that has ended another one.
    """
    return {
        "supernet": session.weights,
        "path": session.folder.require_hash("path.json", "train"),
        "data": session.data.fingerprint,
        # Not its password: that changes nothing, and does not belong into a folder.
        "storage": session.storage_spelling,
        "search": dataclasses.asdict(session.config.search),
        "evaluation": dataclasses.asdict(session.config.evaluation),
        **session.describe_task(),
        **_describe_length(session),
        **_describe_latency(session),
        **oneshot.describe_inputs(session),
    }


def _describe_length(session: Session) -> dict[str, int]:
    # Of a search that gets a share of the finetuning: another finetuning is worth another one.
    if session.config.search.finetune_share is None or session.config.oneshot.method:
        return {}
    task = make_search_task(session, session.blank_supernet)
    return {"n_trials": limit_search(session, is_filled=fills_all(session, task)).n_trials}


def _describe_latency(session: Session) -> dict[str, str]:
    # A budget of the finetuning alone must not make a search that has ended another one.
    return session.describe_latency() if is_searched(session.config) else {}


def run(session: Session, _: Mapping[str, Any]) -> list[str]:
    """Search until the study has its trials; return the files written."""
    result = search_study(session)
    weighed = measure_shares(session.supernet, session.sizes)
    shares = [group.in_layers for group in weighed]
    write_records(
        result,
        session.path,
        shares=shares,
        uncounted=session.supernet.grouping.uncounted,
        seed=session.seed,
    )
    warning = describe_empty_front(Search.read(session.path))
    if warning:
        _logger.warning("search: %s", warning)
    chosen = [OneShot.FILE] if session.config.oneshot.method else []
    return [Search.FILE, trials.FILE, *chosen]


def describe_empty_front(found: Search) -> str | None:
    """Say that a search has found no subnet, and what to do, or return None if it has."""
    if found.front:
        return None
    fates = ", ".join(f"{n} {fate}" for fate, n in found.counts.items() if n)
    bounds = ", ".join(f"{name} {bound}" for name, bound in found.constraints.items())
    why = f"met the bounds {bounds}" if bounds else "completed"
    fix = "loosen search.constraints" if bounds else "trials.csv has the reasons"
    return (
        f"the front is empty: no trial {why} ({fates}); finetuning and export have the full net "
        f"only; {fix}, or raise search.n_trials"
    )


def check_task(session: Session) -> None:
    """Check what is searched, before anything is trained for it.

    Raises:
        ConfigError: If an objective or a constraint cannot be read.
        InfeasibleError: If not even the smallest subnet meets the constraints.
        GroupingError: If the model cannot be made a supernet.
        DataError: If pictures are missing.
    """
    _check_constrained(session)
    task = make_search_task(session, session.blank_supernet)
    task.check_reachable()
    _check_range(session.task.metrics, task.bounds)
    oneshot.check_budgets(session, task)


def _check_constrained(session: Session) -> None:
    """Raise if a constraint is on a metric that would be known, were it only measured."""
    objectives = [objective.name for objective in session.objectives]
    could_be = {*(metric.name for metric in session.task.metrics), "latency_ms"}
    for name in session.config.search.constraints:
        if name in could_be and name not in objectives:
            raise ConfigError(
                f"search.constraints.{name}: {name} is no objective of the study, so it is not "
                f"measured; put it into search.objectives, which has {', '.join(objectives)}"
            )


def _check_range(metrics: Iterable[Metric], bounds: Iterable[Bound]) -> None:
    """Raise if a bound asks of a metric what it cannot be: 90 of a share, where 0.9 is meant."""
    known = {metric.name: metric for metric in metrics}
    for bound in bounds:
        metric = known.get(bound.name)
        if metric is None or bound.limit is None:
            continue
        is_within = (
            bound.limit <= metric.high if bound.sense == ">=" else bound.limit >= metric.low
        )
        if not is_within:
            raise ConfigError(
                f"search.constraints.{bound.name}: no net reaches {bound.text!r}, for {bound.name} lies "
                f"between {metric.low:g} and {metric.high:g}"
            )


def require_trials(session: Session) -> None:
    """Check that the storage has the trials that the ended search left there.

    Raises:
        RunFolderError: If it has not, because the journal was deleted for instance.
        CheckpointError: If a trial is not what the search wrote.
    """
    known = read_search(session).trials
    require_written(session.config.name, session.study_storage, known.n, known.sha256)


def has_trials(session: Session) -> bool:
    """Say whether the storage still has the trials that the ended search left there."""
    counts = count_trials(session.config.name, session.study_storage)
    n_finished = sum(n for state, n in counts.items() if state not in ("running", "waiting"))
    return n_finished >= read_search(session).trials.n


def read_search(session: Session) -> Search:
    """Return what the ended search says; errors as of :meth:`RunFolder.require`."""
    session.folder.require(Search.FILE, "search")
    return Search.read(session.path)


def read_trials(session: Session, search: Search) -> tuple[Trial, ...]:
    """Return the trials of the ended search; errors as of :meth:`RunFolder.require`."""
    session.folder.require(trials.FILE, "search")
    return trials.read_trials(session.path, search)


def prepare_sharing(session: Session) -> None:
    """Check that several processes can search the study, and make its storage for them.

    Raises:
        ConfigError: If the storage is none that processes can share.
    """
    check_shareable(open_storage(session.study_storage))


def search_study(session: Session, *, is_shared: bool = False) -> SearchResult:
    """Run the study until its budget is spent, or read it if it is; then fill the budgets.

    Args:
        session: The run.
        is_shared: Other processes work on the study too.

    Raises:
        ConfigError: If they do, and the storage is none that processes can share.
    """
    if is_shared:
        prepare_sharing(session)
    task = make_search_task(session, session.supernet)
    settings = limit_search(session, is_filled=fills_all(session, task))
    study = open_study(
        session.config.name, session.study_storage, task.objectives, make_sampler(settings, task)
    )
    if session.config.oneshot.method:
        # A run that has been at other budgets keeps their trials.
        seeds = grow_seeds(study, task, oneshot.propose(session, task))
        settings = settings.for_given(len(seeds))
    else:
        seeds = find_seeds(session, task)
    is_shared = is_shared or session.n_jobs > 1
    return run_study(
        study,
        task,
        settings,
        seeds,
        session.progress,
        callbacks=session.callbacks,
        is_shared=is_shared,
        closing=None if session.is_guest else partial(list_closing, session, task),
    )


def find_seeds(session: Session, task: SearchTask) -> list[Proposal]:
    """Return the subnets that a search begins with.

    Those of the width program are chosen once and kept in the run folder: a solver that runs out
    of time need not find the same ones again, and a study goes on with its own seeds only.
    """
    settings = session.config.search
    session.folder.require(ShrinkingPath.FILE, "train")
    profiles = ShrinkingPath.read(session.path).profiles
    path = [task.space.make(profile.widths) for profile in profiles]
    if not settings.n_mdp:
        return propose_seeds(ProposalRequest(task, settings, path))
    return keep_seeds(
        session,
        task,
        lambda tables: propose_seeds(ProposalRequest(task, settings, path, tables)),
    )


def make_search_task(session: Session, supernet: Supernet) -> SearchTask:
    """Make the task of the study: a supernet and its objectives."""
    return make_task(
        supernet,
        session.objectives,
        constraints=session.config.search.constraints,
        seed=session.seed,
        calibration_images=session.calibration_images,
        calibration_batch_size=session.config.evaluation.batch_size,
        repair=session.config.evaluation.repair,
        footprint=session.footprint,
        provenance=_find_provenance(session),
    )


def _find_provenance(session: Session) -> dict[str, str]:
    found = {"data": session.data.fingerprint, **_describe_latency(session)}
    # The task is also made before the training, to check what is to be searched.
    return {**found, "weights": session.weights} if session.folder.is_whole("train") else found
