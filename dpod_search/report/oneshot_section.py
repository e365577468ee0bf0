"""The section of a run that did not search: what was chosen at each budget, and how well."""

from __future__ import annotations

import re

from markupsafe import Markup

from dpod_search.figures.text import percent
from dpod_search.figures.text import spell_budget
from dpod_search.figures.text import tell_unmet
from dpod_search.quantities import short_size_heading
from dpod_search.quantities import size_of
from dpod_search.records.oneshot import OneShot
from dpod_search.records.oneshot import OneShotChoice
from dpod_search.records.run import Run
from dpod_search.report.markup import join
from dpod_search.report.markup import paragraph
from dpod_search.report.markup import table


def show_oneshot(run: Run) -> Markup:
    """Show what a method chose at each budget; nothing for a run that searched."""
    chosen = run.oneshot
    if chosen is None:
        return Markup()
    sizes = _list_sizes(run, chosen)
    has_clock = any(choice.measured_share is not None for choice in chosen.choices)
    has_proof = any(choice.importance is not None for choice in chosen.choices)
    columns = ["budget", "trial"]
    for name in sizes:
        columns += [short_size_heading(name), "of full"]
    columns += ["measured latency, of full"] if has_clock else []
    columns += ["importance kept", "optimal"] if has_proof else []
    rows = []
    for choice in chosen.choices:
        row = [spell_budget(choice.budget), _find_trial(run, choice)]
        for name in sizes:
            row += [size_of(name, choice.footprint[name]), _tell_share(run, choice, name)]
        row += [_write(choice.measured_share)] if has_clock else []
        row += [_write(choice.importance), _tell_proof(choice)] if has_proof else []
        rows.append(row)
    caption = _caption(chosen, has_clock=has_clock, has_proof=has_proof)
    parts = [table(caption, columns, rows, texts=int(has_proof))]
    unmet = {**chosen.unmet, **(run.front.unmet_budgets if run.front is not None else {})}
    parts += [paragraph(tell_unmet(budget, why)) for budget, why in unmet.items()]
    return join(parts)


def _list_sizes(run: Run, chosen: OneShot) -> list[str]:
    """List the macs, and what the budgets bound besides."""
    words = {word for budget in chosen.budgets for word in re.findall(r"\w+", budget)}
    return [name for name in run.search.footprints if name == "macs" or name in words]


def _find_trial(run: Run, choice: OneShotChoice) -> str:
    for trial in run.trials:
        if dict(trial.widths) == dict(choice.widths):
            return f"{trial.number} (failed)" if trial.fate == "failed" else str(trial.number)
    return "–"


def _tell_share(run: Run, choice: OneShotChoice, name: str) -> str:
    of_full = run.search.of_full.get(name)
    return percent(choice.footprint[name] / of_full) if of_full else "–"


def _write(share: float | None) -> str:
    return "–" if share is None else percent(share)


def _tell_proof(choice: OneShotChoice) -> str:
    if choice.is_proven is None:
        return "–"
    if choice.is_proven:
        return "proven"
    return "not proven" if choice.gap is None else f"at most {percent(choice.gap)} better"


def _caption(chosen: OneShot, *, has_clock: bool, has_proof: bool) -> str:
    told = f"What {chosen.method} chose at each budget, before any finetuning."
    if has_proof:
        told += (
            " Importance kept is a share of the full net's. Proven says that no other widths "
            "within the budget keep more; if not, it stands how much better the optimum may be."
        )
    if has_clock:
        told += " Latency was measured when the widths were chosen, in turn with the full net."
    return told
