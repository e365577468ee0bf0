"""What a point says when the pointer rests on it."""

from __future__ import annotations

from collections.abc import Mapping

from dpod_search.figures.searched import Searched
from dpod_search.figures.style import plain
from dpod_search.figures.text import value_of
from dpod_search.quantities import quantity
from dpod_search.records.search import Search
from dpod_search.records.trials import Trial


_GROUPS_A_LINE = 4
_MAX_GROUPS = 48


def describe_trial(trial: Trial, search: Search | Searched) -> str:
    """Say a trial's number, fate, values, reason and widths, as lines for plotly."""
    lines = [f"<b>trial {trial.number}</b> · {plain(trial.fate)} · {plain(trial.source)}"]
    for objective in search.objectives:
        value = value_of(objective.name, trial.values.get(objective.name))
        guess = trial.predicted.get(objective.name)
        told = "" if guess is None else f" (predicted {value_of(objective.name, guess.value)})"
        lines.append(f"{plain(quantity(objective.name))}: {value}{told}")
    names = {objective.name for objective in search.objectives}
    sizes = [n for n in search.footprints if n not in names and n in trial.values]
    lines += [f"{plain(quantity(name))}: {value_of(name, trial.values[name])}" for name in sizes]
    if trial.reason:
        lines.append(f"reason: {plain(trial.reason)}")
    return "<br>".join([*lines, *describe_widths(trial.widths)])


def describe_widths(widths: Mapping[str, int]) -> list[str]:
    """Say the width of every group, a few groups a line."""
    shown = [f"{plain(name)} {width}" for name, width in list(widths.items())[:_MAX_GROUPS]]
    if len(widths) > _MAX_GROUPS:
        shown.append(f"and {len(widths) - _MAX_GROUPS} more groups")
    lines = [shown[i : i + _GROUPS_A_LINE] for i in range(0, len(shown), _GROUPS_A_LINE)]
    return ["widths:", *(", ".join(line) for line in lines)]
