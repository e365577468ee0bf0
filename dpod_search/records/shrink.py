"""What a run was to reach, and what became of it: ``shrink.json``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated
from typing import ClassVar
from typing import Literal

from pydantic.dataclasses import dataclass

from dpod_search.records.front import Folder
from dpod_search.records.record import Count
from dpod_search.records.record import FileRecord
from dpod_search.records.record import Flag
from dpod_search.records.record import Number
from dpod_search.records.record import Record
from dpod_search.records.record import Text
from dpod_search.records.record import one_of


Kind = Annotated[Literal["goal", "wider", "smaller"], one_of("goal", "wider", "smaller")]
State = Annotated[Literal["running", "met", "unmet"], one_of("running", "met", "unmet")]
Way = Annotated[Literal["mdp", "search", "front"], one_of("mdp", "search", "front")]


@dataclass(frozen=True, kw_only=True)
class TriedBudget(Record):
    """A budget that was tried for a goal.

    Args:
        budget: As the study has it.
        kind: ``goal`` for the bounds of the goal itself, ``wider`` and ``smaller`` for others.
        place: Where it lies on the ladder.
        folder: That of its member, in ``finetuned/``; None where nothing meets the budget.
        shares: What the member has of the full net's, by footprint; latency by the clock where
            there is one.
        lost: By how much it is worse than the full net on validation, by metric; below 0 it is
            better.
        is_within: Whether it is within the budget.
        keeps: Whether it is, and loses no more than the goal allows.
    """

    budget: Text
    kind: Kind
    place: Number
    folder: Folder | None
    shares: Mapping[str, Number]
    lost: Mapping[str, Number]
    is_within: Flag
    keeps: Flag


@dataclass(frozen=True, kw_only=True)
class Shrink(FileRecord):
    """A goal and what became of it: ``shrink.json``, written by ``shrink``.

    Args:
        key: A hash of the goal and the settings.
        goal: The goal, spelled in the one way that has no synonyms.
        way: ``mdp`` for widths chosen at once, ``search`` for a supernet that is trained and
            searched under budgets, ``front`` for one whose front was asked for.
        why: Why this way.
        state: ``running``, ``met`` or ``unmet``.
        epochs: Of the full net, in the finetunings below.
        n_doublings: How often they have been doubled.
        tried: What was tried with them, as ``front.json`` says.
        chosen: The budget whose member meets the goal; of an unmet goal the smallest that keeps
            the loss, None where that is the full net alone.
    """

    FILE: ClassVar[str] = "shrink.json"

    key: Text
    goal: Text
    way: Way
    why: Text
    state: State
    epochs: Number
    n_doublings: Count
    tried: tuple[TriedBudget, ...]
    chosen: Text | None

    def find(self, budget: str | None) -> TriedBudget | None:
        """Return what came of a budget; None if it was not tried."""
        return next((item for item in self.tried if item.budget == budget), None)
