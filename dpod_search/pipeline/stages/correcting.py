"""Widths whose measured latency is within a wish, where a model of it has to choose them.

A model errs, so what it chooses within a limit may be beyond it on the clock, or leave a part of
the wish unused. The limit is moved until what is chosen within it measures what was wished: by
the share that it is off, and between the nearest limits that are known to be too high and too low.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic
from typing import TypeVar

from dpod_search.errors import InfeasibleError
from dpod_search.widths import Widths


NEAR = 0.97  # of the wish: what was measured so near below it is not pushed nearer
AIM = 0.99  # of the wish: clocks are noisy
NARROW = 1.002  # from the lower to the upper limit: nothing is chosen between

T = TypeVar("T")


@dataclass(frozen=True)
class Corrected(Generic[T]):
    """What was chosen in the end.

    Args:
        widths: The subnet.
        known: What else the choice told.
        share: Its measured latency, as a share of the full net's.
        n_corrections: How often the limit was moved.
    """

    widths: Widths
    known: T
    share: float
    n_corrections: int


def correct(
    choose: Callable[[float], tuple[Widths, T]],
    measure: Callable[[Widths], float],
    *,
    wished: float,
    n_corrections: int,
) -> Corrected[T]:
    """Choose widths whose measured latency is within a wish, and as near to it as can be.

    Args:
        choose: Chooses widths within so many times the modelled limit; a larger one is never
            worse.
        measure: Measures a subnet's share of the full net's latency, > 0; asked once for each.
        wished: The share wished for.
        n_corrections: How often the limit may be moved.

    Returns:
        Of all that was measured the nearest within the wish; if nothing was, the nearest beyond.

    Raises:
        InfeasibleError: If nothing is within the modelled limit itself.
    """
    widths, known = choose(1.0)
    best = Corrected(widths, known, measure(widths), 0)
    shares = {widths: best.share}
    points = [(1.0, best.share)]
    factor, share, low, high = 1.0, best.share, 0.0, math.inf
    for n in range(1, n_corrections + 1):
        if NEAR * wished <= share <= wished:
            break
        low, high = (factor, high) if share <= wished else (low, factor)
        factor = _move(points, low=low, high=high, wished=wished)
        if not low < factor < high:
            break
        try:
            widths, known = choose(factor)
        except InfeasibleError:
            share = 0.0  # too low a limit: the answer, if any, is between it and the upper one
            continue
        if widths not in shares:
            shares[widths] = measure(widths)
        share = shares[widths]
        points.append((factor, share))
        if _is_better(share, best.share, wished):
            best = Corrected(widths, known, share, n)
    return best


def _move(
    points: Sequence[tuple[float, float]], *, low: float, high: float, wished: float
) -> float:
    """Return the next factor of the limit; NaN if there is none between the two ends.

    Args:
        points: Factors and the shares that came of them, in the order they were tried.
        low: Largest factor that is too low.
        high: Smallest one that is too high.
        wished: The share wished for.
    """
    factor, share = points[-1]
    power = 1.0  # the share as a power of the factor
    if len(points) > 1 and points[-2][0] != factor and points[-2][1] != share:
        power = math.log(points[-2][1] / share) / math.log(points[-2][0] / factor)
    most = 1 / wished  # with this one the full net is chosen
    guess = factor * math.pow(AIM * wished / share, 1 / max(power, 0.2))
    if low < (guess := min(guess, most)) < high:
        return float(guess)
    return (low + high) / 2 if low * NARROW < high < math.inf else math.nan


def _is_better(share: float, other: float, wished: float) -> bool:
    """Say whether a measured share is better: within the wish before beyond it, then nearest."""
    if (share <= wished) != (other <= wished):
        return share <= wished
    return abs(share - wished) < abs(other - wished)
