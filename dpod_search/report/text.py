"""How numbers are written in the report, and which command would fill a gap."""

from __future__ import annotations

import shlex

from dpod_search.report.run import Objective
from dpod_search.report.run import Run


_LABELS = {
    "macs": "MACs",
    "params": "parameters",
    "weight_bytes": "weight bytes",
    "peak_bytes": "peak activation memory",
    "latency": "latency (ms, modelled)",
    "latency_ms": "latency (ms)",
}


def label(name: str) -> str:
    """Return how an objective or footprint is called on the page."""
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
    """Write a footprint: bytes in KiB, times to four digits, the rest as a whole number."""
    if name == "latency":
        return f"{value:.4g}"
    return kib(value) if _is_bytes(name) else count(value)


def _is_bytes(name: str) -> bool:
    return name.endswith("_bytes")


def percent(share: float, n_digits: int = 1) -> str:
    """Write a share in [0, 1] in percent, its sign kept on the same line."""
    return f"{100 * share:.{n_digits}f}\u00a0%"


def short(n: float) -> str:
    """Write a number in few characters: ``50k``, ``1.2M``."""
    for unit, suffix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if n >= unit:
            return f"{n / unit:g}{suffix}"
    return f"{n:g}"


def points(difference: float) -> str:
    """Write a difference of accuracies, in percentage points, with a real minus sign."""
    # Adding 0.0 turns the -0.0 of a rounded small loss into 0.0.
    return f"{round(100 * difference, 1) + 0.0:.1f}".replace("-", "\u2212")


def count(n: float) -> str:
    """Write a whole number with its thousands apart."""
    return f"{n:,.0f}"


def kib(n_bytes: float) -> str:
    """Write bytes in KiB."""
    return f"{n_bytes / 1024:,.1f}"


def value_of(objective: Objective, value: float | None) -> str:
    """Write a value of an objective; a dash if it was not measured."""
    if value is None:
        return "–"
    if objective.is_accuracy:
        return percent(value, 2)
    return count(value) if float(value).is_integer() else f"{value:.4g}"


def plural(n: int, noun: str) -> str:
    """Write a number with its noun, as in ``1 trial`` or ``1,200 trials``."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def spell_budget(budget: str) -> str:
    """Write a budget as people read it."""
    return budget.replace("<=", " ≤ ").replace(">=", " ≥ ").replace(",", ", ")


def tell_unmet(budget: str, why: str) -> str:
    """Say why nothing was chosen for a budget."""
    return f"{spell_budget(budget)}: {why.removeprefix(f'{budget}: ')}"


def write_command(stage: str, run: Run) -> str:
    """Return the command that runs a stage on a run folder, with the folder's own settings."""
    has_config = run.config is not None
    study = str(run.folder / "config.toml") if has_config else run.search.study
    parts = ["dpod-search", stage, "--study", study, "--out", str(run.folder)]
    return shlex.join(parts)


def stage_missing(stage: str, run: Run) -> str:
    """Say that a stage has not run, and the command that runs it."""
    return f"The {stage} stage has not run in this folder. Run: {write_command(stage, run)}"


def written_by_older(what: str) -> str:
    """Say that the version that searched did not write something yet."""
    return f"An older version searched in this folder; it did not write {what} yet."


def tell_stale(run: Run) -> str:
    """Say that subnets of an earlier search are left out, and what renews them; else nothing."""
    n_stale = 0 if run.front is None else run.front.n_stale
    if not n_stale:
        return ""
    return (
        f"{plural(n_stale, 'finetuned subnet')} of an earlier search "
        f"{'is' if n_stale == 1 else 'are'} left out: the trials have other widths now. "
        f"Run: {write_command('finetune', run)}"
    )
