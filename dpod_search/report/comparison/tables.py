"""The tables of a comparison: what each run offers for each budget, and what was set otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence

from dpod_search.report.comparison.runs import NamedRun
from dpod_search.report.figures.drawing import Cell
from dpod_search.report.figures.drawing import Table
from dpod_search.report.picks import PICK_BUDGETS
from dpod_search.report.picks import pick_best
from dpod_search.report.reader import flatten
from dpod_search.report.text import count
from dpod_search.report.text import percent


PICK_COLUMNS = ("budget", "run", "trial", "macs", "validation_accuracy", "test_accuracy")


def tabulate_picks(runs: Sequence[NamedRun]) -> Table:
    """Return the best finetuned member of each run within each budget of macs.

    The budgets are shares of the largest full net of all runs, the same number of macs for each.
    """
    fronts = [(named.name, named.run.front) for named in runs if named.run.front is not None]
    full = max((front.full.macs for _, front in fronts), default=0)
    rows: list[tuple[Cell, ...]] = []
    for share in PICK_BUDGETS:
        budget = int(share * full)
        for name, front in fronts:
            member = pick_best(m for m in front.members if m.macs <= budget)
            if member is None:
                rows.append((budget, name, None, None, None, None))
            else:
                accuracies = (member.validation_accuracy, member.test_accuracy)
                rows.append((budget, name, member.trial, member.macs, *accuracies))
    return Table.from_rows(PICK_COLUMNS, rows)


def show_pick(cells: Sequence[object]) -> list[str]:
    """Write one row of :func:`tabulate_picks` for the page."""
    budget, name, trial, macs, validation, test = cells
    head = f"≤ {count(_number(budget))} MACs"
    if macs is None:
        return [head, "–", "–", "–", "–", str(name)]
    called = "full net" if trial is None else str(trial)
    accuracies = [percent(_number(value), 2) for value in (validation, test)]
    return [head, called, count(_number(macs)), *accuracies, str(name)]


def tabulate_settings(runs: Sequence[NamedRun]) -> Table:
    """Return every setting and environment value that is not the same in all runs."""
    known = [dict(_list_settings(named)) for named in runs]
    names = dict.fromkeys(name for settings in known for name in settings)
    rows = [
        (name, *(settings.get(name, "–") for settings in known))
        for name in names
        if len({settings.get(name) for settings in known}) > 1
    ]
    return Table.from_rows(("setting", *(named.name for named in runs)), rows)


def _list_settings(named: NamedRun) -> Iterator[tuple[str, str]]:
    yield from flatten(dict(named.settings), "").items()
    for name, value in (named.run.environment or {}).items():
        yield f"environment: {name}", value
    yield "channel groups", str(len(named.run.search.groups))
    for name in named.run.search.footprints:
        yield f"full net: {name}", count(named.run.search.full.get(name, 0))
    yield "trials", str(len(named.run.trials))


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
