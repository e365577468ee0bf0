"""Timing that a shared machine does not mislead: in turn with a reference, drift cancelled.

Whatever else a machine does, and however it changes its clock rate, befalls the net that is timed
and a reference net beside it alike. So both run in turn, in short bursts, and what counts is the
ratio of a burst to the reference's bursts before and after it. The median forgives
what happened in one burst, its interval says how much it may be trusted; and as nothing makes a net
too fast, the fastest bursts tell what it takes when nothing disturbs it.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace

from dpod_search.errors import MAX_SECONDS
from dpod_search.errors import check_count
from dpod_search.errors import check_range
from dpod_search.latency.settings import TOLERANCE


# Something that runs a net once and waits until it is done.
Run = Callable[[], object]
Clock = Callable[[], float]

MIN_BURSTS = 5
MIN_PASSES = 3  # of a burst, besides one that brings weights and pictures back into the caches
BURST_SECONDS = 0.012
REFERENCE_SECONDS = 0.006
WARM_UP_SECONDS = 0.02
N_CALIBRATION = 15
DRIFT = 1.25  # of the reference's slowest to its fastest burst, from which on it is told
_OUTLIER = 3.0  # robust standard deviations, from which on a burst is left out
_Z_95 = 1.96
_PATIENCE = 5.0


@dataclass(frozen=True)
class Latency:
    """What a clock said of one net.

    Args:
        median_ms: Milliseconds of one forward pass of the batch, drift corrected.
        low_ms: Lower end of the median's 95 % interval.
        high_ms: Upper end.
        n_bursts: Bursts of passes that count.
        n_outliers: Bursts left out, because something else got in their way.
        drift: Time of the reference's slowest burst over that of its fastest, >= 1: how restless
            the machine was, be it neighbours or throttling.
        fastest_ms: Milliseconds of a pass in the net's fastest burst, as the clock said.
        reference_ms: In the reference's fastest burst, as the clock said; 0 if it is not known.
        nominal_ms: Milliseconds of the reference that all is given for.
    """

    median_ms: float
    low_ms: float
    high_ms: float
    n_bursts: int
    n_outliers: int = 0
    drift: float = 1.0
    fastest_ms: float = 0.0
    reference_ms: float = 0.0
    nominal_ms: float = 0.0

    @property
    def quiet_ms(self) -> float:
        """What a pass takes when nothing disturbs it, drift corrected.

        The fastest burst over the reference's fastest: the most stable number of all on a machine
        that others use, as long as there are bursts that nothing disturbs.
        """
        if self.reference_ms == 0:
            return self.median_ms
        return self.nominal_ms * self.fastest_ms / self.reference_ms

    @classmethod
    def of(cls, times_ms: Sequence[float], *, drift: float = 1.0) -> Latency:
        """Return the median of times without outliers, and its interval by order statistics."""
        kept = drop_outliers(times_ms)
        ordered, n = sorted(kept), len(kept)
        # As many of n times are below the true median as heads fall in n throws of a coin.
        radius = _Z_95 * math.sqrt(n) / 2
        low = ordered[max(0, math.floor(n / 2 - radius))]
        high = ordered[min(n - 1, math.ceil(n / 2 + radius))]
        middle = statistics.median(ordered)
        return cls(middle, low, high, n, len(times_ms) - n, drift)

    @property
    def is_narrow(self) -> bool:
        """Whether the interval is so narrow that more bursts would tell little."""
        return self.high_ms - self.low_ms <= 2 * TOLERANCE * self.median_ms

    @property
    def is_restless(self) -> bool:
        """Whether the reference moved so much that the machine was throttled or shared."""
        return self.drift >= DRIFT


@dataclass
class Reference:
    """A net whose latency is the unit that others are measured in.

    Args:
        run: Runs it once.
        nominal_ms: Its milliseconds, as they were found once and for all; None finds them now.
        clock: Seconds.
    """

    run: Run
    nominal_ms: float | None = None
    clock: Clock = time.perf_counter

    def calibrate(self) -> float:
        """Return its milliseconds, measured now if they never were."""
        if self.nominal_ms is None:
            warm_up(self.run)
            bursts = [self.burst() for _ in range(N_CALIBRATION)]
            self.nominal_ms = 1e3 * statistics.median(bursts)
        return self.nominal_ms

    def burst(self) -> float:
        """Return the seconds of one pass now."""
        return time_burst(self.run, self.clock, REFERENCE_SECONDS)


def measure_interleaved(
    run: Run, reference: Reference, *, max_seconds: float = 1.0, n_bursts: int | None = None
) -> Latency:
    """Time a net in turn with a reference.

    Args:
        run: Runs the net once.
        reference: What it is compared with.
        max_seconds: Time of the clock, 0 to 1,000,000,000, after which no more bursts begin, though
            five are timed in any case; on a machine so busy that this takes five times as long on
            the wall, then. Less is taken if the interval of the median is within two per cent of it
            before.
        n_bursts: Time so many bursts instead, 1 to 1,000,000, whatever that takes.

    Returns:
        Milliseconds on a machine where the reference takes its nominal ones.

    Raises:
        ConfigError: If a number is out of range.
    """
    check_range("max_seconds", max_seconds, low=0, high=MAX_SECONDS)
    if n_bursts is not None:
        check_count("n_bursts", n_bursts, low=1, high=1_000_000)
    nominal = reference.calibrate()
    wall, start = time.perf_counter(), reference.clock()
    warm_up(run)
    before = reference.burst()
    found: list[float] = []
    seen = [before]
    n_looked_at = MIN_BURSTS
    fastest = math.inf
    while True:
        passed = time_burst(run, reference.clock, BURST_SECONDS)
        fastest = min(fastest, passed)
        after = reference.burst()
        seen.append(after)
        found.append(nominal * passed / math.sqrt(before * after))
        before = after
        is_over = (
            reference.clock() - start >= max_seconds
            or time.perf_counter() - wall >= _PATIENCE * max_seconds
        )
        n_due = n_bursts or (MIN_BURSTS if is_over else n_looked_at)
        if len(found) < n_due:
            continue
        latency = replace(
            Latency.of(found, drift=max(seen) / min(seen)),
            fastest_ms=1e3 * fastest,
            reference_ms=1e3 * min(seen),
            nominal_ms=nominal,
        )
        if is_over or n_bursts is not None or latency.is_narrow:
            return latency
        n_looked_at = len(found) + 2


def warm_up(run: Run) -> None:
    """Run a net a few times: compilers, allocators and clock rates settle."""
    start = time.perf_counter()
    for n in range(10_000):
        run()
        if n + 1 >= MIN_PASSES and time.perf_counter() - start >= WARM_UP_SECONDS:
            return


def time_burst(run: Run, clock: Clock, seconds: float) -> float:
    """Run a net for a while and return the median seconds of its passes.

    Args:
        run: Runs it once.
        clock: What tells the time.
        seconds: Time to spend, though three passes are timed in any case.
    """
    run()
    times: list[float] = []
    spent = 0.0
    while len(times) < MIN_PASSES or spent < seconds:
        start = clock()
        run()
        times.append(clock() - start)
        spent += times[-1] + 1e-7  # a clock that stands still must not hold this up for ever
    return max(1e-9, statistics.median(times))


def drop_outliers(values: Sequence[float]) -> list[float]:
    """Leave out what lies more than three robust standard deviations above the median.

    What takes too long was disturbed; nothing can be too fast. At least five values stay.
    """
    middle = statistics.median(values)
    spread = 1.4826 * statistics.median(abs(value - middle) for value in values)
    limit = middle + _OUTLIER * max(spread, 1e-3 * middle)
    kept = [value for value in values if value <= limit]
    return kept if len(kept) >= MIN_BURSTS else sorted(values)[:MIN_BURSTS]


def choose_clock(device_type: str, n_threads: int | None) -> Clock:
    """Return the clock that tells what a net takes, and not what its neighbours do.

    On the CPU with one thread that is the thread's own processor time: a core that was taken away
    for a while does not count. Else it is the time on the wall.
    """
    if device_type != "cpu" or n_threads != 1:
        return time.perf_counter
    is_fine = time.get_clock_info("thread_time").resolution <= 1e-6  # it is 15 ms on Windows
    return time.thread_time if is_fine else time.perf_counter
