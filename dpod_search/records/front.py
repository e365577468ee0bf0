"""Reading ``front.json``, and leaving out of it what an earlier search left behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from dpod_search.records.fields import Fields
from dpod_search.records.run import FinetunedFront
from dpod_search.records.run import FullNet
from dpod_search.records.run import Member
from dpod_search.records.run import Search
from dpod_search.records.run import Trial
from dpod_search.records.subnets import read_footprint
from dpod_search.records.subnets import read_footprints
from dpod_search.records.subnets import read_widths


def read_front(path: Path, search: Search, trials: tuple[Trial, ...]) -> FinetunedFront | None:
    """Read the front after finetuning.

    A new search gives the numbers of its trials anew, and what was finetuned before it stays in
    the folder until the next finetuning. Members whose trial has other widths now are left out.

    Args:
        path: ``front.json``.
        search: What was searched.
        trials: The trials of that search.

    Returns:
        The front; None if all its subnets are of an earlier search.

    Raises:
        CheckpointError: If the file is damaged.
    """
    fields = Fields.from_file(path)
    full = fields.inner("full")
    unmet = fields.inner("unmet_budgets") if fields.get("unmet_budgets") else Fields(path, "", {})
    footprints = read_footprints(fields)
    found = [_read_member(inner, search, footprints) for inner in fields.inners("members")]
    by_number = {trial.number: trial.widths for trial in trials}
    members = [kept for member in found if (kept := _keep(member, by_number)) is not None]
    n_stale = len(found) - len(members)
    if n_stale and all(member.is_full for member in members):
        return None
    return FinetunedFront(
        seed=fields.integer("seed"),
        footprints=footprints,
        full=FullNet(
            footprint=read_footprint(full, footprints),
            validation_accuracy=full.number("validation_accuracy"),
            test_accuracy=full.number("test_accuracy"),
        ),
        members=tuple(sorted(members, key=lambda member: member.macs)),
        unmet={budget: unmet.text(budget) for budget in unmet.values},
        budgets=fields.texts("budgets") if "budgets" in fields.values else (),
        n_stale=n_stale,
        warning=fields.text("warning") if "warning" in fields.values else None,
    )


def _keep(member: Member, by_number: Mapping[int, Mapping[str, int]]) -> Member | None:
    if member.trial is None or by_number.get(member.trial) == member.widths:
        return member
    # The full net is the same net, whatever its number was.
    return replace(member, trial=None) if member.is_full else None


def _read_member(fields: Fields, search: Search, footprints: tuple[str, ...]) -> Member:
    widths = read_widths(fields, search)
    is_full = all(widths[group.name] == group.full for group in search.groups)
    return Member(
        # Only the full net, which all others are compared with, may be no trial.
        trial=fields.optional_integer("trial") if is_full else fields.integer("trial"),
        widths=widths,
        footprint=read_footprint(fields, footprints),
        macs_share=fields.number("macs_share"),
        accuracy_before=fields.number("validation_accuracy_before"),
        validation_accuracy=fields.number("validation_accuracy"),
        test_accuracy=fields.number("test_accuracy"),
        test_accuracy_before=fields.optional_number("test_accuracy_before"),
        on_front=fields.flag("on_front"),
        is_full=is_full,
        is_knee=fields.flag("knee") if "knee" in fields.values else False,
        budgets=fields.texts("budgets") if "budgets" in fields.values else (),
        measured_latency_share=fields.optional_number("measured_latency_share"),
        measured=_read_measured(fields, search),
    )


def _read_measured(fields: Fields, search: Search) -> dict[str, float]:
    if "values_after" not in fields.values:  # an older version wrote it
        return {}
    values = fields.inner("values_after")
    told = {"accuracy", *search.footprints}
    names = [o.name for o in search.objectives if o.name not in told and o.name in values.values]
    return {name: values.number(name) for name in names}
