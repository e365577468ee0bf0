"""Measuring many things more than once, some time apart.

What something else on a machine does may last for seconds and need not befall a net and the
reference alike: it makes whatever runs many small operations slower, mostly. So all is measured in
rounds, in random order; what does not agree with itself is measured again, and the fastest bursts of
all rounds count.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable
from collections.abc import Sequence

import numpy as np

from dpod_search.latency.timing import Latency


MAX_ROUNDS = 6


def measure_in_rounds(
    n: int,
    measure: Callable[[int], Latency],
    rng: np.random.Generator,
    *,
    n_rounds: int,
    tolerance: float,
    tell: Callable[[], None],
) -> list[Latency]:
    """Measure things until two of their measurements agree.

    Args:
        n: How many.
        measure: Measures one by its number.
        rng: What draws the order of each round.
        n_rounds: How often each is measured at least, >= 2.
        tolerance: How much larger, as a share, one of two measurements that agree may be.
        tell: Called when one is measured for the first time.

    Returns:
        For each what :func:`combine` says; after six rounds whether or not any two agree.
    """
    found: list[list[Latency]] = [[] for _ in range(n)]
    due = list(range(n))
    for round_ in range(MAX_ROUNDS):
        for place in rng.permutation(len(due)):
            found[due[place]].append(measure(due[place]))
            if round_ == 0:
                tell()
        if round_ + 1 >= n_rounds:
            due = [i for i in due if find_pair(found[i], tolerance) is None]
    return [combine(each) for each in found]


def find_pair(latencies: Sequence[Latency], tolerance: float) -> tuple[Latency, Latency] | None:
    """Return the two fastest measurements that agree, or None."""
    ordered = sorted(latencies, key=lambda latency: latency.quiet_ms)
    for one, other in itertools.pairwise(ordered):
        if other.quiet_ms <= (1 + tolerance) * one.quiet_ms:
            return one, other
    return None


def combine(latencies: Sequence[Latency]) -> Latency:
    """Return several measurements of one thing as one.

    The fastest burst of all, and the reference's, are those of the whole; medians and intervals are
    the medians of theirs.
    """
    return Latency(
        statistics.median(x.median_ms for x in latencies),
        statistics.median(x.low_ms for x in latencies),
        statistics.median(x.high_ms for x in latencies),
        sum(x.n_bursts for x in latencies),
        sum(x.n_outliers for x in latencies),
        max(x.drift for x in latencies),
        min(x.fastest_ms for x in latencies),
        min(x.reference_ms for x in latencies),
        latencies[0].nominal_ms,
    )
