"""The front after finetuning, without what an earlier search left behind: ``front.json``."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Annotated
from typing import Any
from typing import ClassVar

from pydantic import AfterValidator
from pydantic import model_validator
from pydantic.dataclasses import dataclass

from dpod_search.records.metrics import CLASSIFICATION
from dpod_search.records.metrics import TEST
from dpod_search.records.metrics import TEST_BEFORE
from dpod_search.records.metrics import VALIDATION
from dpod_search.records.metrics import VALIDATION_BEFORE
from dpod_search.records.metrics import OnTest
from dpod_search.records.metrics import OnTestBefore
from dpod_search.records.metrics import OnValidation
from dpod_search.records.metrics import OnValidationBefore
from dpod_search.records.metrics import Purpose
from dpod_search.records.record import NOTHING
from dpod_search.records.record import Count
from dpod_search.records.record import FileRecord
from dpod_search.records.record import Flag
from dpod_search.records.record import Number
from dpod_search.records.record import Record
from dpod_search.records.record import Text
from dpod_search.records.record import fail
from dpod_search.records.record import refuse
from dpod_search.records.search import Footprints
from dpod_search.records.search import Search
from dpod_search.records.search import SpreadFootprint
from dpod_search.records.search import Widths
from dpod_search.records.trials import Trial


FULL = "full"  # folder of a full net that was no trial


def _check_folder(value: str) -> str:
    if value != FULL and not (value.isascii() and value.isdecimal()):
        raise refuse(f"the number of a trial, or {FULL}")
    return value


Folder = Annotated[Text, AfterValidator(_check_folder)]


@dataclass(frozen=True, kw_only=True)
class FullNet(Record):
    """The full net, finetuned like the members of the front.

    Args:
        footprint: Its footprints, which stand in the file under their own names.
        validation: The task's metrics after finetuning, in the file as ``validation_<name>``.
        test: The same on test, as ``test_<name>``.
    """

    SPREAD: ClassVar[str] = "footprint"
    AFFIXES: ClassVar[Mapping[str, tuple[str, str]]] = MappingProxyType(
        {"validation": VALIDATION, "test": TEST}
    )

    footprint: SpreadFootprint
    validation: OnValidation
    test: OnTest

    @property
    def macs(self) -> int:
        """Its multiply-adds for each sample."""
        return int(self.footprint["macs"])


@dataclass(frozen=True, kw_only=True)
class Member(Record):
    """One finetuned subnet; shares are in [0, 1].

    Args:
        trial: The number of its trial; None for a full net that constraints rule out.
        folder: Its folder in ``finetuned/`` and ``exported/``: the trial's number, or ``full``.
        widths: Active width by channel group.
        values: The objectives as the search measured them.
        values_after: The same objectives of the finetuned module.
        footprint: Its footprints, which stand in the file under their own names.
        validation_before: The task's metrics on validation before finetuning, in the file as
            ``validation_<name>_before``.
        validation: After finetuning, as ``validation_<name>``.
        test_before: The same on test; measured once, and nothing is chosen by it.
        test: After finetuning.
        foretold: What the other members let expect of the first metric in ``validation``: the
            middle and the ends of an interval of 80 %; None where they are too few.
        budgets: Those of the user's that it was chosen for.
        macs_share: Its macs over the full net's.
        on_front: Whether no other member dominates it after finetuning, on validation.
        measured_latency_share: What a clock says, over the full net's, where it was asked.
        knee: Whether it is the knee of the finetuned front; at most one member is.
        is_full: Whether it is the full net, which ``search.json`` tells.
    """

    SPREAD: ClassVar[str] = "footprint"
    AFFIXES: ClassVar[Mapping[str, tuple[str, str]]] = MappingProxyType(
        {
            "validation_before": VALIDATION_BEFORE,
            "validation": VALIDATION,
            "test_before": TEST_BEFORE,
            "test": TEST,
        }
    )
    UNWRITTEN: ClassVar[tuple[str, ...]] = ("is_full",)

    trial: Count | None
    folder: Folder
    widths: Widths
    values: Mapping[str, Number]
    values_after: Mapping[str, Number]
    footprint: SpreadFootprint
    validation_before: OnValidationBefore
    validation: OnValidation
    test_before: OnTestBefore
    test: OnTest
    budgets: tuple[Text, ...]
    macs_share: Number
    on_front: Flag
    measured_latency_share: Number | None = None
    foretold: tuple[Number, Number, Number] | None = None
    knee: Flag
    is_full: bool = False

    @property
    def macs(self) -> int:
        """Its multiply-adds for each sample."""
        return int(self.footprint["macs"])

    @property
    def measured(self) -> dict[str, float]:
        """The objectives after finetuning that are neither a footprint nor the task's first metric."""
        told = {next(iter(self.validation)), *self.footprint}
        return {name: value for name, value in self.values_after.items() if name not in told}

    @property
    def title(self) -> str:
        """What it is called: the number of its trial, and whether it is the full net."""
        if not self.is_full:
            return str(self.trial)
        return "full net" if self.trial is None else f"{self.trial} (full net)"


@dataclass(frozen=True, kw_only=True)
class FinetunedFront(FileRecord):
    """The front after finetuning: ``front.json``, written by ``finetune``.

    Args:
        study: Name of the study.
        seed: Its seed.
        footprints: Names of the footprints of every net, ``macs`` among them.
        budgets: The user's budgets, as they were spelled.
        unmet_budgets: Why no member was chosen, for those of them that none meets.
        full: The full net.
        members: The chosen members of the searched front, and the full net, which they are
            compared with; they ascend in macs.
        task: What the nets are for.
        warning: What speaks against its accuracies: the full net is better on validation than
            on test by more than chance (Fisher's exact test, p < 0.001).
        n_stale: How many of the file's members are left out, as they are of an earlier search,
            which ``trials.csv`` tells.
    """

    FILE: ClassVar[str] = "front.json"
    UNWRITTEN: ClassVar[tuple[str, ...]] = ("n_stale",)

    study: Text
    seed: Count
    footprints: Footprints
    budgets: tuple[Text, ...]
    unmet_budgets: Mapping[str, Text]
    full: FullNet
    members: tuple[Member, ...]
    task: Purpose = CLASSIFICATION
    warning: Text | None = None
    n_stale: int = 0

    @model_validator(mode="before")
    @classmethod
    def _gather_footprints(cls, value: Any) -> Any:
        if not isinstance(value, dict) or not isinstance(value.get("footprints"), list):
            return value
        names = [name for name in value["footprints"] if isinstance(name, str)]
        nets = value.get("members")
        return value | {
            "full": _gather(value.get("full"), names),
            "members": [_gather(net, names) for net in nets] if isinstance(nets, list) else nets,
        }

    @property
    def chosen(self) -> dict[str, int | None]:
        """The trial that was chosen for each budget, or None if no member met it."""
        found: dict[str, int | None] = dict.fromkeys(self.budgets)
        for member in self.members:
            found.update(dict.fromkeys(member.budgets, member.trial))
        return found

    @property
    def measured(self) -> dict[str, float | None]:
        """What it measured besides the first metric, and the full net's value if it is known."""
        names = dict.fromkeys(name for member in self.members for name in member.measured)
        of_full = next((m.measured for m in self.members if m.is_full), {})
        return {name: of_full.get(name) for name in names}

    def find_latency_share(self, member: Member) -> float | None:
        """Return a member's modelled latency over the full net's, if latency was modelled."""
        of_full = self.full.footprint.get("latency")
        return member.footprint["latency"] / of_full if of_full else None

    def of_search(
        self, path: Path, search: Search, trials: tuple[Trial, ...]
    ) -> FinetunedFront | None:
        """Return the front as the search of its folder knows it.

        A new search gives the numbers of its trials anew, and what was finetuned before it stays
        in the folder until the next finetuning. Members whose trial has other widths now are left
        out.

        Args:
            path: The file, for messages.
            search: What was searched.
            trials: The trials of that search.

        Returns:
            The front; None if all its subnets are of an earlier search.

        Raises:
            CheckpointError: If a member has no trial, and is not the full net.
        """
        widest = {group.name: group.full for group in search.groups}
        by_number = {trial.number: trial.widths for trial in trials}
        members = []
        for place, member in enumerate(self.members):
            is_full = member.widths == widest
            if member.trial is None and not is_full:
                fail(path, f"members[{place}].trial", "a whole number >= 0", None)
            is_known = member.trial is None or by_number.get(member.trial) == member.widths
            if is_known or is_full:
                # The full net is the same net, whatever its number was.
                number = member.trial if is_known else None
                members.append(replace(member, trial=number, is_full=is_full))
        n_stale = len(self.members) - len(members)
        if n_stale and all(member.is_full for member in members):
            return None
        ascending = sorted(members, key=lambda member: member.macs)
        return replace(self, members=tuple(ascending), n_stale=n_stale)


def _gather(net: Any, names: Sequence[str]) -> Any:
    """Take a net's footprints out of its other keys."""
    if not isinstance(net, dict):
        return net
    rest = {name: value for name, value in net.items() if name not in names}
    return rest | {"footprint": {name: net.get(name, NOTHING) for name in names}}
