"""Global magnitude pruning: one threshold on the magnitudes of all units.

Reference: Han et al.: Learning both Weights and Connections, 2015 (arXiv 1506.02626); by channels
Li et al., 2017 (arXiv 1608.08710). Layers have weights of different scale, so the magnitudes of
each group are divided by their root mean square before one threshold is put on all. (Divided by
their Euclidean norm alone, the units of wide groups would all look small: such subnets were far
worse at equal macs.)
"""

from __future__ import annotations

import numpy as np

from dpod_search.oneshot.request import OneShotRequest
from dpod_search.oneshot.threshold import check_scores
from dpod_search.oneshot.threshold import cut_at_threshold
from dpod_search.widths import Widths


def choose_by_magnitude(request: OneShotRequest) -> Widths:
    """Choose widths by one threshold on the units' magnitudes.

    Args:
        request: Its scores are the magnitudes.

    Raises:
        ConfigError: If there are no scores, or those of other groups.
        InfeasibleError: If the narrowest rungs with all blocks are not within the budget.
    """
    scores = check_scores(request, "magnitude")
    normalised = [
        None if values is None else values / max(float(np.sqrt(np.mean(values**2))), 1e-300)
        for values in scores
    ]
    return cut_at_threshold(request, normalised)
