"""What a proposer gives and takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from dpod_search.programs import WidthTables
from dpod_search.search.settings import SearchSettings
from dpod_search.search.task import SearchTask
from dpod_search.widths import Widths


@dataclass(frozen=True)
class Proposal:
    """A subnet worth a trial before the sampler has learned anything.

    Args:
        widths: The subnet.
        source: Who proposes it, as tables and figures call it.
    """

    widths: Widths
    source: str


@dataclass(frozen=True)
class ProposalRequest:
    """What a proposer may look at.

    Args:
        task: The task of the study.
        settings: The settings of the study.
        path: The profiles of progressive shrinking, from the full net to the floor.
        tables: What widths keep and cost, for the width program; None if nobody has measured it.
    """

    task: SearchTask
    settings: SearchSettings
    path: Sequence[Widths] = ()
    tables: WidthTables | None = None


class Proposer(Protocol):
    """Suggests seeds for a study."""

    def __call__(self, request: ProposalRequest, /) -> Sequence[Proposal]:
        """Return proposals, the most valuable first; the answer must not be random."""
