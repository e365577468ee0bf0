"""The files of a finished search: ``search.json`` and ``trials.csv``."""

from __future__ import annotations

import math
from collections.abc import Iterator
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dpod_search.intervals import compute_wilson_interval
from dpod_search.records.search import Audit
from dpod_search.records.search import Group
from dpod_search.records.search import Objective
from dpod_search.records.search import Search
from dpod_search.records.search import Shares
from dpod_search.records.search import Written
from dpod_search.records.trials import Prediction
from dpod_search.records.trials import Trial
from dpod_search.records.trials import write_trials
from dpod_search.search.importance import measure_importance
from dpod_search.search.results import SearchResult


if TYPE_CHECKING:
    from dpod_search.footprint.shares import Share


def write_records(
    result: SearchResult,
    folder: Path,
    *,
    shares: Sequence[Share] = (),
    uncounted: Sequence[str] = (),
    seed: int = 0,
) -> None:
    """Write ``search.json`` and ``trials.csv`` of a search.

    Args:
        result: What the search has found.
        folder: The run folder.
        shares: What of the full net lies in the layers of each group, in the order of the
            space; left out of the file if there is none.
        uncounted: Operations whose macs are not counted.
        seed: Of what is drawn to measure the importance of groups.

    Raises:
        CheckpointError: If a file cannot be written.
    """
    search = describe_search(result, shares, uncounted, seed)
    names = [o.name for o in result.front.objectives if o.is_measured]
    write_trials(folder, list_trials(result), search, names)
    search.write(folder)


def describe_search(
    result: SearchResult,
    shares: Sequence[Share] = (),
    uncounted: Sequence[str] = (),
    seed: int = 0,
) -> Search:
    """Return what ``search.json`` says of a search; arguments as of :func:`write_records`."""
    groups = result.space.to_json()
    weights: Sequence[Shares | None] = [Shares(macs=s.macs, params=s.params) for s in shares]
    importance = measure_importance(result, seed=seed)
    return Search(
        study=result.study,
        groups=tuple(
            Group(**group, shares=share)
            for group, share in zip(groups, weights or [None] * len(groups), strict=True)
        ),
        objectives=tuple(
            Objective(name=o.name, direction=o.direction) for o in result.front.objectives
        ),
        footprints=result.footprint_names,
        constraints=dict(result.constraints),
        full={k: v if math.isfinite(v) else None for k, v in result.full.items()},
        counts=result.counts,
        audit=describe_audit(result),
        importance=importance.shares,
        importance_r2=importance.r2,
        front=tuple(member.trial for member in result.front),
        trials=Written(n=result.n_finished, sha256=result.trials_hash),
        uncounted=tuple(uncounted),
    )


def describe_audit(result: SearchResult) -> Audit:
    """Return what the audits tell: how often pruning is wrong, and how much it saves.

    Audits are drawn beforehand, by number. With our own sampler they are children as NSGA-II
    makes them, so the share of them that the surrogate refuses is the share of evaluations
    that it saves.
    """
    drawn = [trial for trial in result.trials if trial.is_audit]
    audited = [trial.audit_wrong for trial in result.trials if trial.audit_wrong is not None]
    rate, low, high = _describe_rate(sum(audited), len(audited))
    n_refused = sum(trial.fate == "audited" for trial in drawn)
    saved, saved_low, saved_high = _describe_rate(n_refused, len(drawn))
    return Audit(
        n_audited=len(audited),
        n_wrong=sum(audited),
        rate=rate,
        low=low,
        high=high,
        n_drawn=len(drawn),
        saved=saved,
        saved_low=saved_low,
        saved_high=saved_high,
    )


def _describe_rate(n_hits: int, n: int) -> tuple[float | None, float | None, float | None]:
    if n == 0:
        return None, None, None
    return n_hits / n, *compute_wilson_interval(n_hits / n, n)


def list_trials(result: SearchResult) -> Iterator[Trial]:
    """Return the finished trials of a search as its file and its figures have them."""
    front = {member.trial for member in result.front}
    for trial in result.trials:
        # A footprint is known of every trial, measured or not; a user's own may be NaN or infinite.
        values = {**trial.footprint, **trial.values}
        yield Trial(
            number=trial.number,
            fate=trial.fate,
            source=trial.source,
            generation=trial.generation,
            on_front=trial.number in front,
            values={name: value for name, value in values.items() if math.isfinite(value)},
            predicted={name: Prediction(*ends) for name, ends in trial.predictions.items()},
            reason=trial.reason,
            seconds=trial.seconds,
            widths=trial.widths,
        )
