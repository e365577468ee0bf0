"""Seeds from the path: the profiles that progressive shrinking went through.

The supernet was trained on them and on what lies one layer away, so here it is at its best.
"""

from __future__ import annotations

from collections.abc import Sequence

from dpod_search.search.seeds.proposal import Proposal
from dpod_search.search.seeds.proposal import ProposalRequest


def propose_path(request: ProposalRequest) -> Sequence[Proposal]:
    """Propose the profiles of the path, from the full net to the floor."""
    return [Proposal(widths, "path") for widths in request.path]
