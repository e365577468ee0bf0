"""The files of a finished search: ``search.json`` and ``trials.csv``."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from dpod_search.files import write_json
from dpod_search.files import write_text
from dpod_search.intervals import compute_wilson_interval
from dpod_search.search.importance import measure_importance
from dpod_search.search.results import SearchResult
from dpod_search.search.results import TrialRecord


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
    write_text(folder / "trials.csv", format_trials(result))
    found = describe_search(result, shares, seed) | {"uncounted": list(uncounted)}
    write_json(folder / "search.json", found)


def describe_search(
    result: SearchResult, shares: Sequence[Share] = (), seed: int = 0
) -> dict[str, Any]:
    """Return what ``search.json`` says of a search; arguments as of :func:`write_records`."""
    groups = result.space.to_json()
    for group, share in zip(groups, shares, strict=bool(shares)):
        group["shares"] = {"macs": share.macs, "params": share.params}
    importance = measure_importance(result, seed=seed)
    return {
        "study": result.study,
        "groups": groups,
        "objectives": [objective.to_json() for objective in result.front.objectives],
        "footprints": list(result.footprint_names),
        "constraints": dict(result.constraints),
        "full": {k: v if math.isfinite(v) else None for k, v in result.full.items()},
        "counts": result.counts,
        "audit": describe_audit(result),
        "importance": importance.shares,
        "importance_r2": importance.r2,
        "front": [member.trial for member in result.front],
        "trials": {"n": result.n_finished, "sha256": result.trials_hash},
    }


def describe_audit(result: SearchResult) -> dict[str, float | None]:
    """Return what the audits tell: how often pruning is wrong, and how much it saves.

    Audits are drawn beforehand, by number. With our own sampler they are children as NSGA-II
    makes them, so the share of them that the surrogate refuses is the share of evaluations
    that it saves.
    """
    drawn = [trial for trial in result.trials if trial.is_audit]
    audited = [trial.audit_wrong for trial in result.trials if trial.audit_wrong is not None]
    wrong = _describe_rate(sum(audited), len(audited))
    saved = _describe_rate(sum(trial.fate == "audited" for trial in drawn), len(drawn))
    return {
        "n_audited": len(audited),
        "n_wrong": sum(audited),
        **dict(zip(("rate", "low", "high"), wrong, strict=True)),
        "n_drawn": len(drawn),
        **dict(zip(("saved", "saved_low", "saved_high"), saved, strict=True)),
    }


def _describe_rate(n_hits: int, n: int) -> tuple[float | None, float | None, float | None]:
    if n == 0:
        return None, None, None
    return n_hits / n, *compute_wilson_interval(n_hits / n, n)


def format_trials(result: SearchResult) -> str:
    """Return the content of ``trials.csv``: one line a finished trial."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    objectives = [objective.name for objective in result.front.objectives]
    footprints = [name for name in result.footprint_names if name not in objectives]
    measured = [o.name for o in result.front.objectives if o.is_measured]
    writer.writerow(
        [
            *("number", "fate", "source", "generation", "on_front"),
            *objectives,
            *footprints,
            *(f"predicted_{name}{end}" for name in measured for end in ("", "_low", "_high")),
            *("reason", "seconds"),
            *(f"width:{name}" for name in result.space.names),
        ]
    )
    front = {member.trial for member in result.front}
    for trial in result.trials:
        writer.writerow(
            [
                *(trial.number, trial.fate, trial.source),
                "" if trial.generation is None else trial.generation,
                int(trial.number in front),
                *(_find_number(trial, name) for name in objectives),
                *(trial.footprint.get(name, "") for name in footprints),
                *(end for name in measured for end in trial.predictions.get(name, ("", "", ""))),
                *(trial.reason, f"{trial.seconds:.6f}"),
                *trial.widths.active,
            ]
        )
    return file.getvalue()


def _find_number(trial: TrialRecord, name: str) -> float | str:
    # A footprint is known of every trial, measured or not; a user's own may be NaN or infinite.
    value = trial.values.get(name, trial.footprint.get(name))
    return value if value is not None and math.isfinite(value) else ""
