"""How sure shares are that were counted: one of them, and that one is larger than another.

References:
    Fisher: The logic of inductive inference, Journal of the Royal Statistical Society 98, 1935.
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


def compute_excess_p(n_right: int, n: int, n_right_other: int, n_other: int) -> float:
    """Return how often chance alone would make one share so much larger than another.

    Args:
        n_right: What was counted, in [0, ``n``].
        n: Over how many, >= 1.
        n_right_other: What was counted of the others, in [0, ``n_other``].
        n_other: Over how many, >= 1.

    Returns:
        The one-sided p of Fisher's exact test, in [0, 1]: small if the first share is larger.
    """
    n_all_right = n_right + n_right_other
    n_all_wrong = n + n_other - n_all_right
    whole = _log_choices(n + n_other, n)
    # Given how many are right in all, so many of them fall on the first, or more.
    tail = (
        math.exp(_log_choices(n_all_right, k) + _log_choices(n_all_wrong, n - k) - whole)
        for k in range(max(n_right, n - n_all_wrong), min(n, n_all_right) + 1)
    )
    return min(1.0, math.fsum(tail))


def _log_choices(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
