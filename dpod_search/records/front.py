"""The front after finetuning, without what an earlier search left behind: ``front.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from pathlib import Path

from dpod_search.records.fields import Fields
from dpod_search.records.search import Search
from dpod_search.records.search import read_footprint
from dpod_search.records.search import read_footprints
from dpod_search.records.search import read_widths
from dpod_search.records.trials import Trial


@dataclass(frozen=True)
class FullNet:
    """The full net, finetuned like the members of the front; accuracies in [0, 1]."""

    footprint: Mapping[str, float]
    validation_accuracy: float
    test_accuracy: float

    @property
    def macs(self) -> int:
        """Its multiply-adds for each sample."""
        return int(self.footprint["macs"])


@dataclass(frozen=True)
class Member:
    """One finetuned member of the front; accuracies and ``macs_share`` in [0, 1].

    The full net is among the members. If no trial had its widths, its ``trial`` is None.
    ``budgets`` are those of the user's that it was chosen for. Folders of older versions do not
    know the accuracy on test before finetuning. ``measured_latency_share`` is what a clock says, as
    a share of the full net, where it was asked. ``measured`` are the objectives after finetuning
    that are neither a footprint nor the accuracy, such as ``latency_ms``.
    """

    trial: int | None
    widths: Mapping[str, int]
    footprint: Mapping[str, float]
    macs_share: float
    accuracy_before: float
    validation_accuracy: float
    test_accuracy: float
    on_front: bool
    is_full: bool
    is_knee: bool = False
    budgets: tuple[str, ...] = ()
    test_accuracy_before: float | None = None
    measured_latency_share: float | None = None
    measured: Mapping[str, float] = field(default_factory=dict)

    @property
    def macs(self) -> int:
        """Its multiply-adds for each sample."""
        return int(self.footprint["macs"])

    @property
    def title(self) -> str:
        """What it is called: the number of its trial, and whether it is the full net."""
        if not self.is_full:
            return str(self.trial)
        return "full net" if self.trial is None else f"{self.trial} (full net)"


@dataclass(frozen=True)
class FinetunedFront:
    """The front after finetuning: ``front.json``; members ascend in macs.

    Args:
        seed: Seed of the study.
        footprints: The footprints of every member, ``macs`` among them.
        full: The full net.
        members: The members.
        budgets: The user's budgets, as they were spelled.
        unmet: Why no member was chosen, for those of them that none meets.
        n_stale: How many of the file's subnets are left out, as they are of an earlier search.
        warning: What speaks against its accuracies, or None.
    """

    seed: int
    footprints: tuple[str, ...]
    full: FullNet
    members: tuple[Member, ...]
    budgets: tuple[str, ...] = ()
    unmet: Mapping[str, str] = field(default_factory=dict)
    n_stale: int = 0
    warning: str | None = None

    @property
    def measured(self) -> dict[str, float | None]:
        """What the search measured besides accuracy, and the full net's value if it is known."""
        names = dict.fromkeys(name for member in self.members for name in member.measured)
        of_full = next((m.measured for m in self.members if m.is_full), {})
        return {name: of_full.get(name) for name in names}

    def find_latency_share(self, member: Member) -> float | None:
        """Return a member's modelled latency over the full net's, if latency was modelled."""
        of_full = self.full.footprint.get("latency")
        return member.footprint["latency"] / of_full if of_full else None


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
