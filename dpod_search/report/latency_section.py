"""Budgets on latency: what was wished, what the model says, and what the clock says."""

from __future__ import annotations

import re

from markupsafe import Markup

from dpod_search.figures.text import percent
from dpod_search.figures.text import spell_budget
from dpod_search.quantities import points
from dpod_search.records.front import FinetunedFront
from dpod_search.records.run import Run
from dpod_search.report.markup import join
from dpod_search.report.markup import paragraph
from dpod_search.report.markup import table
from dpod_search.report.picks import list_chosen


_BOUND = re.compile(r"latency\s*<=\s*([0-9.]+(?:[eE][+-]?[0-9]+)?)\s*(%?)")


def show_latency_wishes(run: Run) -> Markup:
    """Show for each budget on latency the share wished, modelled and measured; else nothing."""
    front = run.front
    if front is None:
        return Markup()
    rows = []
    for chosen in list_chosen(front):
        wished, member = find_wish(chosen.reason, front), chosen.member
        if wished is None or member is None:
            continue
        modelled, measured = front.find_latency_share(member), member.measured_latency_share
        over = None if measured is None else measured - wished
        cells = [_write(share) for share in (wished, modelled, measured)]
        rows.append(
            [
                spell_budget(chosen.reason),
                member.title,
                *cells,
                "–" if over is None else points(over),
                _judge(over),
            ]
        )
    if not rows:
        return Markup()
    columns = ("budget", "trial", "wished", "modelled", "measured", "points over", "kept")
    caption = (
        "Budgets on latency, as shares of the full net's: what was wished, what the model says, "
        "and what a clock said of the subnet after finetuning, in turn with the full net."
    )
    parts = [table(caption, columns, rows, texts=1)]
    if run.latency is not None and run.latency.is_other_device:
        parts.append(paragraph(run.latency.describe_device()))
    return join(parts)


def find_wish(budget: str, front: FinetunedFront) -> float | None:
    """Return the share of the full net's latency that a budget allows, or None if it bounds none.

    Args:
        budget: As the user spelled it.
        front: Has the full net, for budgets in milliseconds.
    """
    for bound in re.split(r"\s+and\s+", budget):
        match = _BOUND.fullmatch(bound.strip())
        if match is None:
            continue
        try:
            limit = float(match[1])
        except ValueError:
            return None
        of_full = front.full.footprint.get("latency")
        if match[2]:
            return limit / 100
        return limit / of_full if of_full else None
    return None


def _write(share: float | None) -> str:
    return "–" if share is None else percent(share)


def _judge(over: float | None) -> str:
    if over is None:
        return "not measured"
    return "yes" if over <= 0 else "no"
