"""How values and budgets are written in the report, and which command would fill a gap."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from dpod_search import quantities
from dpod_search.quantities import is_share
from dpod_search.quantities import name_whole
from dpod_search.quantities import number
from dpod_search.quantities import plural
from dpod_search.records.metrics import CLASSIFICATION
from dpod_search.records.metrics import Purpose
from dpod_search.records.run import Run


def percent(share: float, n_digits: int = 1) -> str:
    """Write a share in [0, 1] in percent, its sign kept on the same line."""
    return quantities.percent(share, n_digits).replace(" ", "\u00a0")


def value_of(name: str, value: float | None, n_digits: int = 2) -> str:
    """Write a value of an objective under its name and unit; a dash if it was not measured.

    Args:
        name: Its name.
        value: In its own unit.
        n_digits: Behind the point, where it is written in percent.
    """
    if value is None:
        return "–"
    return percent(value, n_digits) if is_share(name) else number(value)


def find_purpose(run: Run) -> Purpose:
    """Return what a run's nets are for."""
    return CLASSIFICATION if run.training is None else run.training.task


def name_samples(run: Run) -> str:
    """Return what one sample of a run's data is called: a picture, or a sample."""
    return "picture" if run.training is None else run.training.data.noun


def spell_budget(budget: str) -> str:
    """Write a budget as people read it, with what its shares are shares of."""
    told = budget.replace("<=", " ≤ ").replace(">=", " ≥ ").replace(",", ", ")
    return name_whole(" ".join(told.split())).replace("%", "\u00a0%")


def tell_unmet(budget: str, why: str) -> str:
    """Say why nothing was chosen for a budget."""
    return f"{spell_budget(budget)}: {why.removeprefix(f'{budget}: ')}"


def write_command(stage: str, run: Run) -> str:
    """Return the command that runs a stage on a run folder, with the folder's own settings."""
    place = ["--run", str(run.folder)]
    if run.config is None:
        place = ["--study", run.search.study, "--out", str(run.folder)]
    return shlex.join(["dpod-search", stage, *place])


def stage_missing(stage: str, run: Run) -> str:
    """Say that a stage has not run, and the command that runs it."""
    return f"The {stage} stage has not run in this folder. Run: {write_command(stage, run)}"


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


def join_some(names: Sequence[str], most: int) -> str:
    """Join the first names with commas, and say how many there are besides."""
    shown = ", ".join(names[:most])
    return f"{shown} + {len(names) - most} more" if len(names) > most else shown
