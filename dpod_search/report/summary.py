"""The first paragraph: what happened, in plain sentences."""

from __future__ import annotations

from dpod_search.figures.text import join_some
from dpod_search.figures.text import percent
from dpod_search.figures.text import spell_budget
from dpod_search.figures.text import stage_missing
from dpod_search.figures.text import value_of
from dpod_search.quantities import label
from dpod_search.quantities import plural
from dpod_search.records.oneshot import OneShot
from dpod_search.records.run import Run
from dpod_search.report.picks import count_validation
from dpod_search.report.picks import pick_example


# Operations whose macs are not counted, by name.
_N_TOLD = 3


def summarize(run: Run) -> str:
    """Tell in one paragraph what was searched, what was found and what it costs."""
    told = [_tell_search(run), _tell_finetuning(run)]
    if run.search.uncounted:
        which = join_some(run.search.uncounted, _N_TOLD)
        told.append(f"No number of MACs here holds those of {which}: no closed form counts them.")
    if run.front is not None and run.front.warning is not None:
        told.append(f"Beware: {run.front.warning}.")
    return " ".join(told)


def _tell_search(run: Run) -> str:
    if run.oneshot is not None:
        return _tell_oneshot(run, run.oneshot)
    counts = run.search.counts
    n_evaluated = counts["evaluated"] + counts["audited"]
    told = [f"{plural(n_evaluated, 'subnet')} evaluated"]
    if counts["audited"]:
        told[0] += f" ({counts['audited']} of them as audits of the surrogate)"
    endings = {
        "cached": "answered from the cache",
        "pruned-constraint": "pruned by the constraints",
        "pruned-surrogate": "pruned by the surrogate",
        "failed": "failed",
    }
    told += [f"{counts[fate]:,} {ending}" for fate, ending in endings.items() if counts[fate]]
    aims = " and ".join(f"{o.direction} {label(o.name)}" for o in run.search.objectives)
    return (
        f"The search set out to {aims} over {plural(len(run.search.groups), 'channel group')}: "
        f"{', '.join(told[:-1])}{' and ' if told[1:] else ''}{told[-1]}. The front holds {plural(len(run.search.front), 'subnet')}."
    )


def _tell_oneshot(run: Run, chosen: OneShot) -> str:
    budgets = ", ".join(map(spell_budget, chosen.budgets))
    n_failed = run.search.counts["failed"]
    failed = f"; {n_failed:,} of them failed" if n_failed else ""
    return (
        f"The widths of {plural(len(run.search.groups), 'channel group')} were chosen by "
        f"{chosen.describe_method()} at {plural(len(chosen.budgets), 'budget')} ({budgets}), "
        f"without a supernet training and without a search: {plural(len(run.trials), 'subnet')}"
        f"{failed}."
    )


def _tell_finetuning(run: Run) -> str:
    if run.front is None:
        return stage_missing("finetune", run)
    example = pick_example(run.front, count_validation(run.front, run.training))
    if example is None:
        return "No subnet was finetuned."
    aim = run.front.task.first
    reached, full = (
        value_of(aim.name, net.test[aim.name], 1) for net in (example, run.front.full)
    )
    called = "" if run.front.task.counts_samples else f"{label(aim.name)} "
    change = aim.compare(run.front.full.test, example.test)
    return (
        f"After finetuning, the subnet of trial {example.trial} with "
        f"{percent(example.macs_share)} of the full net's MACs reaches {called}{reached} on test, "
        f"the full net {full}: {change}."
    )
