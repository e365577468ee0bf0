"""The tables of a comparison: what each run offers for each budget, and what was set otherwise."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence

from dpod_search.figures.drawing import Cell
from dpod_search.figures.drawing import Table
from dpod_search.figures.text import find_purpose
from dpod_search.figures.text import spell_budget
from dpod_search.figures.text import value_of
from dpod_search.quantities import count
from dpod_search.quantities import spell
from dpod_search.records.front import FinetunedFront
from dpod_search.records.front import Member
from dpod_search.records.metrics import Aim
from dpod_search.records.run import flatten
from dpod_search.report.comparison.runs import NamedRun
from dpod_search.report.picks import PICK_BUDGETS
from dpod_search.report.picks import list_chosen
from dpod_search.report.picks import pick_best


def tabulate_picks(runs: Sequence[NamedRun]) -> Table:
    """Return what each run offers within each budget.

    The budgets that all runs were given come first, with the member that was chosen for them; then
    shares of the largest full net's macs of all runs, the same number of macs for each, with the
    best finetuned member within them.
    """
    aim = find_purpose(runs[0].run).first
    fronts = [(named.name, named.run.front) for named in runs if named.run.front is not None]
    full = max((front.full.macs for _, front in fronts), default=0)
    rows: list[tuple[Cell, ...]] = []
    for given in _list_shared(front for _, front in fronts):
        for name, front in fronts:
            rows.append((given, name, *_tell(_find_chosen(front, given), aim)))
    for share in PICK_BUDGETS:
        budget = int(share * full)
        for name, front in fronts:
            best = pick_best((m for m in front.members if m.macs <= budget), aim)
            rows.append((budget, name, *_tell(best, aim)))
    measured = [f"{split}_{aim.name}" for split in ("validation", "test")]
    return Table.from_rows(("budget", "run", "trial", "macs", *measured), rows)


def _list_shared(fronts: Iterable[FinetunedFront]) -> list[str]:
    first, *others = [front.budgets for front in fronts] or [()]
    return [budget for budget in first if all(budget in budgets for budgets in others)]


def _find_chosen(front: FinetunedFront, budget: str) -> Member | None:
    return next((c.member for c in list_chosen(front) if c.reason == budget), None)


def _tell(member: Member | None, aim: Aim) -> tuple[Cell, ...]:
    if member is None:
        return (None, None, None, None)
    return (member.trial, member.macs, member.validation[aim.name], member.test[aim.name])


def show_pick(cells: Sequence[object], name: str) -> list[str]:
    """Write one row of :func:`tabulate_picks` for the page, of a metric by its name."""
    budget, run, trial, macs, *measured = cells
    head = spell_budget(budget) if isinstance(budget, str) else _spell_macs(budget)
    if macs is None:
        return [head, "–", "–", "–", "–", str(run)]
    called = "full net" if trial is None else str(trial)
    values = [value_of(name, _number(value)) for value in measured]
    return [head, called, count(_number(macs)), *values, str(run)]


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
        yield f"full net: {name}", spell(name, named.run.search.of_full.get(name, 0))
    yield "trials", str(len(named.run.trials))


def _spell_macs(budget: object) -> str:
    return f"≤ {count(_number(budget))} MACs"


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
