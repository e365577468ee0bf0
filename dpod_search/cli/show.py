"""What the commands print: tables for people, JSON for programs."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from dpod_search.bounds import split_bounds
from dpod_search.pipeline import StageOutcome
from dpod_search.pipeline.stages.choosing import find_costs
from dpod_search.pipeline.stages.searching import describe_empty_front
from dpod_search.quantities import in_percent
from dpod_search.quantities import label
from dpod_search.quantities import loss_unit
from dpod_search.quantities import name_whole
from dpod_search.quantities import number
from dpod_search.quantities import percent
from dpod_search.quantities import plural
from dpod_search.quantities import seconds
from dpod_search.quantities import short_comparison
from dpod_search.quantities import spell
from dpod_search.records.front import FinetunedFront
from dpod_search.records.latency import LatencyFit
from dpod_search.records.oneshot import OneShot
from dpod_search.records.search import Search
from dpod_search.records.training import Training
from dpod_search.report.picks import count_validation
from dpod_search.report.picks import find_cheaper
from dpod_search.report.picks import find_cheaper_within
from dpod_search.report.picks import list_chosen
from dpod_search.report.picks import list_costs


def describe_run(out: Path, outcomes: Sequence[StageOutcome]) -> dict[str, Any]:
    """Return what a run did as JSON values."""
    described: dict[str, Any] = {
        "folder": str(out),
        "stages": [
            {"name": o.name, "was_done": o.was_done, "seconds": round(o.seconds, 3)}
            for o in outcomes
        ],
    }
    front = FinetunedFront.read_if_there(out)
    if front is not None:
        described["front"] = front.to_json()
    warning = _find_warning(out, outcomes)
    if warning:
        described["warning"] = warning
    if (out / "report.html").is_file():
        described["report"] = str(out / "report.html")
    return described


def show_run(console: Console, out: Path, outcomes: Sequence[StageOutcome]) -> None:
    """Print what a run did, and what to do with it."""
    for outcome in outcomes:
        what = "done before" if outcome.was_done else seconds(outcome.seconds)
        console.print(f"{outcome.name:>9}: {what}", highlight=False)
    ran = {outcome.name for outcome in outcomes}
    warning = _find_warning(out, outcomes)
    if warning:
        console.print(warning, highlight=False, soft_wrap=True)
    front = FinetunedFront.read_if_there(out)
    if front is not None and ran & {"finetune", "export", "report"}:
        console.print(_front_table(front, Search.read(out).constraints))
        for line in _list_budgets(front.chosen, front.unmet_budgets, find_costs(front)):
            console.print(line, highlight=False, soft_wrap=True)
        for line in _tell_cheaper(front, Training.read_if_there(out)):
            console.print(line, highlight=False, soft_wrap=True)
    if (out / "report.html").is_file() and "report" in ran:
        console.print(f"report: {out / 'report.html'}", highlight=False, soft_wrap=True)
    if (out / "exported").is_dir() and "export" in ran:
        console.print(f"models: {out / 'exported'}", highlight=False, soft_wrap=True)


def show_choices(console: Console, chosen: OneShot) -> None:
    """Print what was chosen without a search."""
    for choice in chosen.choices:
        told = []
        if choice.importance is not None:
            told.append(f"{percent(choice.importance)} of the importance")
            # A gap is told, never hidden.
            proven = "proven optimal" if choice.is_proven else f"gap {percent(choice.gap or 0.0)}"
            told.append(f"{proven} in {seconds(choice.seconds or 0.0)}")
        shown = dict.fromkeys(("macs", "params", "latency", *split_bounds(choice.budget)))
        costs = [
            f"{name} {spell(name, choice.footprint[name])}{' modelled' if name == 'latency' else ''}"
            for name in shown
            if name in choice.footprint
        ]
        if choice.measured_share is not None:
            costs.append(f"measured {percent(choice.measured_share)} of the full net's")
        line = "; ".join([f"{chosen.method} {name_whole(choice.budget)}", *costs, *told])
        console.print(line, highlight=False, soft_wrap=True)
    for reason in chosen.unmet.values():
        console.print(reason, highlight=False, soft_wrap=True)


def show_latency(console: Console, found: Mapping[str, Any]) -> None:
    """Print how right a latency model is."""
    device = found["device"]
    where = f"{device['processor']} ({device['device']}), {device['version']}"
    error = f"{percent(found['mape'])} off on average, {percent(found['worst'])} at worst"
    correlation = f"rank correlation {found['rank_correlation']:.3f}"
    full, smallest = (spell("latency", found[f"{which}_ms"]) for which in ("full", "smallest"))
    lines = [
        f"device: {where}, {device['n_threads']} threads, batch {device['batch_size']}",
        f"full net: {full}, smallest: {smallest}",
        f"model: {error}, {correlation}, on {found['n_held_out']} subnets it has not seen",
    ]
    if found["mape"] > found["max_error"]:
        lines.append(f"refused by a run: latency.max_error is {percent(found['max_error'])}")
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)


def _find_warning(out: Path, outcomes: Sequence[StageOutcome]) -> str | None:
    """Return what the stages have to say against their own results."""
    ran = {outcome.name for outcome in outcomes}
    told = []
    if "train" in ran:
        told.append(Training.read(out).warning)
    if {"finetune", "export", "report"} & ran:
        front = FinetunedFront.read_if_there(out)
        told.append(None if front is None else front.warning)
    if {"search", "finetune", "export"} & ran:
        told.append(describe_empty_front(Search.read(out)))
        told.append(_describe_device(out))
    return "; ".join(warning for warning in told if warning) or None


def _describe_device(out: Path) -> str | None:
    """Say that latencies are those of another device, which is fine if it was meant."""
    found = LatencyFit.read_if_there(out)
    if found is None or not found.is_other_device:
        return None
    return f"latencies are those of another device than this one ({found.difference})"


def _front_table(front: FinetunedFront, constraints: Iterable[str] = ()) -> Table:
    full, aim = front.full, front.task.first
    # A line is short: besides macs and params only the costs that the run was about.
    shown = list_costs(front, constraints)
    searched = {name: None for m in front.members for name in m.values_after}
    measured = [name for name in searched if name not in {*front.footprints, aim.name}]
    has_clock = any(member.measured_latency_share is not None for member in front.members)
    table = Table(
        title=f"{front.study}: subnets after finetuning, cheapest first",
        caption=_describe_columns(front),
        box=box.SIMPLE_HEAD,
        padding=(0, 0, 0, 1),
    )
    headings = (
        "trial",
        "macs",
        "of full macs",
        *shown,
        *(["latency measured, of full"] if has_clock else []),
        *measured,
        "validation",
        "test",
        "test beside full",
        "front",
    )
    for heading in headings:
        table.add_column(heading, justify="right", overflow="fold")  # a number is never cut
    for member in front.members:
        is_full = member.footprint == full.footprint
        clock = member.measured_latency_share
        table.add_row(
            # Without a trial of its own the full net's folder already says so.
            f"{member.trial} (full)" if is_full and member.trial is not None else member.folder,
            spell("macs", member.macs),
            percent(member.macs_share),
            *(spell(cost, member.footprint[cost]) for cost in shown),
            *(["" if clock is None else percent(clock)] if has_clock else []),
            *(spell(name, member.values_after[name]) for name in measured),
            spell(aim.name, member.validation[aim.name], 1),
            spell(aim.name, member.test[aim.name], 1),
            "" if is_full else short_comparison(aim.name, aim.lose(full.test, member.test)),
            "knee" if member.knee else "yes" if member.on_front else "",
        )
    return table


def _describe_columns(front: FinetunedFront) -> str:
    name = front.task.first.name
    return (
        f"validation, test: {label(name)}; test beside full: {loss_unit(name)} better or worse "
        "than the full net's"
    )


def _tell_cheaper(front: FinetunedFront, training: Training | None) -> list[str]:
    """Say which members validation cannot tell from cheaper ones, of those that stand out."""
    n_samples = count_validation(front, training)
    told = []
    for chosen in list_chosen(front):
        if chosen.member is not None:
            better = find_cheaper_within(chosen.reason, chosen.member, front, n_samples)
            told.append((f"{name_whole(chosen.reason)}: ", chosen.member, better))
    told += [("", m, find_cheaper(m, front, n_samples)) for m in front.members if m.knee]
    return [
        f"{what}trial {better.trial} is cheaper than trial {member.trial}"
        f"{'' if what else ', the knee,'} and as good on validation"
        for what, member, better in told
        if better is not None
    ]


def _list_budgets(
    chosen: Mapping[str, int | None],
    unmet: Mapping[str, str],
    costs: Mapping[str, Mapping[str, float]],
) -> list[str]:
    lines = []
    for budget, trial in chosen.items():
        if trial is None:
            # A reason names its budget itself.
            lines.append(unmet.get(budget, f"{budget}: no member of the front"))
            continue
        told = [f"{name} {spell(name, value)}" for name, value in costs.get(budget, {}).items()]
        lines.append(", ".join([f"{name_whole(budget)}: trial {trial}", *told]))
    return lines


def show_status(console: Console, status: Mapping[str, Any]) -> None:
    """Print how far a run is."""
    running = "a process works on it" if status["is_running"] else "no process works on it"
    console.print(
        f"{status['study']} in {status['folder']}: {running}", highlight=False, soft_wrap=True
    )
    if "goal" in status:
        goal = status["goal"]
        told = {"met": "reached", "unmet": "not reached", "running": "not reached yet"}
        line = f"goal: {goal['goal']}: {told[goal['state']]}, {plural(goal['n_tried'], 'budget')} tried"
        console.print(line, highlight=False, soft_wrap=True)
    for stage, has_ended in status["stages"].items():
        console.print(f"{stage:>9}: {'ended' if has_ended else 'not ended'}", highlight=False)
    trials = ", ".join(f"{n} {state}" for state, n in status["trials"].items()) or "none"
    if "counts" in status and not status["trials"]:
        trials = "not in the run folder; --storage says where they are, or search again"
    else:
        limits = "".join(
            f", or {name} = {number(n)}" for name, n in status.get("limits", {}).items()
        )
        trials = f"{trials} of {status['n_trials']}{limits}"
    console.print(f"trials: {trials}", highlight=False)
    if "counts" in status:
        fates = ", ".join(f"{n} {fate}" for fate, n in status["counts"].items() if n)
        is_met = status["n_front"] or not status["counts"].get("evaluated")
        empty = "" if is_met else " (no evaluated trial met the bounds)"
        console.print(f"fates: {fates}; front of {status['n_front']}{empty}", highlight=False)
        audit = status["audit"]
        if audit["rate"] is not None:
            console.print(
                f"false prunes: {audit['n_wrong']} of {audit['n_audited']} audited "
                f"(95 % interval {in_percent(audit['low'], 0)} to {percent(audit['high'], 0)})",
                highlight=False,
            )
        if audit.get("saved") is not None:
            console.print(
                f"evaluations saved by the surrogate: about {percent(audit['saved'], 0)} "
                f"(95 % interval {in_percent(audit['saved_low'], 0)} to "
                f"{percent(audit['saved_high'], 0)}, from {audit['n_drawn']} audits)",
                highlight=False,
            )
    console.print(f"finetuned: {status['n_finetuned']}", highlight=False)
    for line in _list_budgets(status.get("budgets", {}), {}, status.get("costs", {})):
        console.print(f"best under {line}", highlight=False)
