"""Proposers: who suggests the first trials of a study.

A new proposer is one file here and one line in the registry.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from types import MappingProxyType

from dpod_search.search.seeds.ladder import propose_ladder
from dpod_search.search.seeds.ladder import propose_path
from dpod_search.search.seeds.mdp import propose_mdp
from dpod_search.search.seeds.proposal import Proposal
from dpod_search.search.seeds.proposal import ProposalRequest
from dpod_search.search.seeds.proposal import Proposer


__all__ = ["PROPOSERS", "Proposal", "ProposalRequest", "Proposer", "propose_seeds"]

PROPOSERS: Mapping[str, Proposer] = MappingProxyType(
    {
        "path": propose_path,
        "ladder": propose_ladder,
        "mdp": propose_mdp,
    }
)


def propose_seeds(request: ProposalRequest) -> list[Proposal]:
    """Ask every proposer in turn.

    Args:
        request: What they may look at.

    Returns:
        Their proposals within the constraints; a subnet that several propose keeps its first
        source.
    """
    proposals = [p for propose in PROPOSERS.values() for p in propose(request)]
    return keep_first([p for p in proposals if request.task.is_feasible(p.widths)])


def keep_first(proposals: Sequence[Proposal]) -> list[Proposal]:
    """Drop proposals whose widths came earlier in the list."""
    first: dict[object, Proposal] = {}
    for proposal in proposals:
        first.setdefault(proposal.widths, proposal)
    return list(first.values())
