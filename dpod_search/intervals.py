"""How sure a share is that was counted.

References:
    Wilson: Probable inference, the law of succession, and statistical inference, Journal of the
    American Statistical Association 22, 1927.
"""

from __future__ import annotations

import math
from statistics import NormalDist


_Z = NormalDist().inv_cdf(0.975)


def compute_wilson_interval(share: float, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a share.

    Args:
        share: What was counted, over ``n``; in [0, 1].
        n: How many were looked at, >= 1.

    Returns:
        Both ends, in [0, 1].
    """
    middle = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    spread = share * (1 - share) / n + (_Z / (2 * n)) ** 2
    half = _Z / (1 + _Z**2 / n) * math.sqrt(max(spread, 0.0))
    # Rounding must not push an end that is 0 or 1 past the share itself.
    return min(share, max(0.0, middle - half)), max(share, min(1.0, middle + half))
