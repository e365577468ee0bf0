"""How every number is written for people: with the digits and the unit that it needs.

The model card, the report, the dashboard, the terminal and the errors ask here, so that a net has
the same numbers everywhere. What is above 0 is never written as 0.
"""

from __future__ import annotations

import math
import re


_LABELS = {
    "macs": "MACs",
    "params": "parameters",
    "weight_bytes": "weight bytes",
    "peak_bytes": "peak activation memory",
    "latency": "latency (ms, modelled)",
    "latency_ms": "latency (ms)",
    "mean_iou": "mean IoU",
    "f1": "F1",
    "rmse": "RMSE",
    "mae": "MAE",
    "r2": "R\u00b2",
}
# Metrics in [0, 1] whose names do not say so.
_SHARES = frozenset({"mean_iou", "f1", "exact_match"})
_KIB = 1024
# Differences of accuracies below this are rounding: no test split has so many pictures.
_NO_POINTS = 1e-9
# Outside of these an exponent counts the zeros.
_SMALLEST_PLAIN = 1e-6
_LARGEST_PLAIN = 1e15


def label(name: str) -> str:
    """Return how a footprint or objective is called; one that is not known by its own name."""
    return _LABELS.get(name, name.replace("_", " "))


def quantity(name: str) -> str:
    """Return the label of an objective or footprint with its unit, for what numbers stand under."""
    called = label(name)
    return f"{called} (bytes)" if _is_bytes(name) and "bytes" not in called else called


def size_heading(name: str) -> str:
    """Return what stands above the sizes that :func:`size_of` writes."""
    if not _is_bytes(name):
        return quantity(name)
    called = "weights" if name == "weight_bytes" else label(name).removesuffix(" bytes")
    return f"{called} (KiB)"


def short_size_heading(name: str) -> str:
    """Return a heading as :func:`size_heading` does, in fewer words for wide tables."""
    short_ones = {"params": "params", "peak_bytes": "peak (KiB)"}
    return short_ones.get(name, size_heading(name))


def size_of(name: str, value: float) -> str:
    """Write a footprint under :func:`size_heading`: bytes in KiB, the rest as it is."""
    return kib(value) if _is_bytes(name) else number(value)


def spell(name: str, value: float, n_digits: int = 2) -> str:
    """Write a footprint or objective beside its bare name, such as ``macs`` or ``latency``.

    Args:
        name: Of the metric; by it a share is told.
        value: In the metric's own unit; of a share in [0, 1].
        n_digits: Behind the point, where it is written in percent.

    Returns:
        The number, with its unit unless the name is what it counts: ``1,234``, ``0.193 ms``,
        ``97.12 %``.
    """
    return percent(value, n_digits) if is_share(name) else in_own_unit(name, value, 4)


def in_own_unit(name: str, value: float, n_digits: int = 6) -> str:
    """Write a value as bounds on it are given, to digits that tell it from a bound beside it."""
    is_time = name == "latency" or name.endswith("_ms")
    return f"{number(value, n_digits)} ms" if is_time else number(value, n_digits)


def is_share(name: str) -> bool:
    """Say whether a metric is a share in [0, 1], such as an accuracy, and written in percent."""
    return name.endswith("accuracy") or name in _SHARES


def percent(share: float, n_digits: int = 1) -> str:
    """Write a share in [0, 1] in percent, with its sign.

    Args:
        share: The share.
        n_digits: Digits behind the point, more if fewer than one more would count.
    """
    return f"{in_percent(share, n_digits)} %"


def in_percent(share: float, n_digits: int = 1) -> str:
    """Write a share as :func:`percent` does, where the sign stands already."""
    return _write(100 * share, n_digits + 1, n_digits)


def points(difference: float) -> str:
    """Write a difference of accuracies in percentage points, with a real minus sign."""
    if abs(difference) < _NO_POINTS:
        return "0.0"
    return _write(100 * difference, 1, 1).replace("-", "\u2212")


def loss(name: str, by: float) -> str:
    """Write by how much a metric is worse: of a share in percentage points, else as it is."""
    return points(by) if is_share(name) else number(by, 3).replace("-", "\u2212")


def loss_unit(name: str) -> str:
    """Return what :func:`loss` counts, with the metric's label."""
    return f"points of {label(name)}" if is_share(name) else label(name)


def short_comparison(name: str, lost: float) -> str:
    """Say in two words how a net compares with another, beneath a heading that names the metric.

    Args:
        name: Of the metric.
        lost: By how much the net is worse; below 0 it is better.

    Returns:
        ``1.9 worse``, ``0.3 better`` or ``equal``, in what :func:`loss_unit` says.
    """
    amount = loss(name, abs(lost))
    if amount == loss(name, 0.0):
        return "equal"
    return f"{amount} {'worse' if lost > 0 else 'better'}"


def comparison(name: str, lost: float, *, is_maximized: bool) -> str:
    """Say how a net compares with another, in words that need no heading.

    Args:
        name: Of the metric.
        lost: By how much the net is worse; below 0 it is better.
        is_maximized: Whether larger values of the metric are better.

    Returns:
        ``1.9 points less accurate``, ``equally accurate``, ``mean IoU 0.3 points higher (better)``,
        ``RMSE 0.155 higher (worse)`` or ``equal in RMSE``.
    """
    amount, is_worse = loss(name, abs(lost)), lost > 0
    is_equal = amount == loss(name, 0.0)
    if is_share(name):
        amount += " point" if amount == points(0.01) else " points"
    if name == "accuracy":
        way = "less" if is_worse else "more"
        return "equally accurate" if is_equal else f"{amount} {way} accurate"
    if is_equal:
        return f"equal in {label(name)}"
    way = "lower" if is_worse == is_maximized else "higher"
    return f"{label(name)} {amount} {way} ({'worse' if is_worse else 'better'})"


def name_whole(bounds: str) -> str:
    """Say of what the shares in bounds are: ``macs<=25% of the full net's``."""
    return re.sub(r"(?<=[0-9]) ?%", "% of the full net's", bounds)


def number(value: float, n_digits: int = 4) -> str:
    """Write a number: whole ones with their thousands apart, others to a few digits."""
    return _write(value, n_digits, 0)


def count(n: float) -> str:
    """Write a whole number with its thousands apart; what is not whole keeps its digits."""
    return number(n)


def kib(n_bytes: float) -> str:
    """Write bytes in KiB, without the unit."""
    return _write(n_bytes / _KIB, 3, 1)


def disk_size(n_bytes: float) -> str:
    """Write what files take in the unit that disks are sold in, two digits of it: ``1.2 GB``."""
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if n_bytes >= 0.995 * unit:
            value = n_bytes / unit
            return f"{value:.0f} {name}" if value >= 9.95 else f"{value:.1f} {name}"
    return f"{n_bytes:.0f} bytes"


def seconds(duration: float) -> str:
    """Write seconds with their unit."""
    return f"{_write(duration, 2, 1)} s"


def short(n: float) -> str:
    """Write a number in few characters: ``50k``, ``1.2M``."""
    for unit, suffix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if n >= unit:
            return f"{n / unit:g}{suffix}"
    return f"{n:g}"


def plural(n: int, noun: str) -> str:
    """Write a number with its noun, as in ``1 trial`` or ``1,200 trials``."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def _is_bytes(name: str) -> bool:
    return name.endswith("_bytes")


def _write(value: float, n_digits: int, n_places: int) -> str:
    """Write a number with so many places behind the point, and more where digits are missing.

    Args:
        value: The number.
        n_digits: How many digits count at least, zeros at the end aside.
        n_places: How many places it has at least.
    """
    if value == 0 or not math.isfinite(value):
        return f"{value + 0.0:,.{n_places}f}"  # without a minus
    if not _SMALLEST_PLAIN <= abs(value) < _LARGEST_PLAIN:
        return f"{value:.{n_digits}g}"
    n_needed = n_digits - 1 - math.floor(math.log10(abs(value)))
    text = f"{value:,.{max(n_needed, n_places, 0)}f}"
    whole, _, places = text.partition(".")
    places = places[:n_places] + places[n_places:].rstrip("0")
    return f"{whole}.{places}" if places else whole
