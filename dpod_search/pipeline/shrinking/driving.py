"""The guided path: a goal in, runs of the stages until it is met or shown to be out of reach.

Everything is an ordinary run in one folder, whose budgets grow. What is asked next is a function of
``shrink.json``, which says what ``front.json`` said; so a run that was killed goes on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from collections.abc import Mapping
from pathlib import Path

from dpod_search.goals import LATENCY
from dpod_search.pipeline.folder import RunFolder
from dpod_search.pipeline.latency_table import TABLE
from dpod_search.pipeline.run import run_stages
from dpod_search.pipeline.shrinking.judging import judge_budgets
from dpod_search.pipeline.shrinking.judging import to_tried
from dpod_search.pipeline.shrinking.ladder import Ask
from dpod_search.pipeline.shrinking.ladder import End
from dpod_search.pipeline.shrinking.ladder import Step
from dpod_search.pipeline.shrinking.ladder import count_most
from dpod_search.pipeline.shrinking.ladder import find_bounds
from dpod_search.pipeline.shrinking.ladder import plan_next
from dpod_search.pipeline.shrinking.ladder import spell_budget
from dpod_search.pipeline.shrinking.planning import ShrinkPlan
from dpod_search.pipeline.shrinking.telling import describe_tried
from dpod_search.progress import Progress
from dpod_search.records.front import FinetunedFront
from dpod_search.records.markers import check_run
from dpod_search.records.oneshot import OneShot
from dpod_search.records.shrink import Shrink


_WORK = ("train", "search", "finetune")
_ALL = (*_WORK, "export", "report")


def shrink(
    plan: ShrinkPlan,
    out: Path,
    *,
    progress: Progress | None = None,
    tell: Callable[[str], None] | None = None,
) -> Shrink:
    """Go on until a goal is met or shown to be out of reach, and export what meets it.

    Args:
        plan: What to do.
        out: The run folder.
        progress: Who is told of the stages.
        tell: Is told in lines which way is gone, about how long it takes, and what came of each
            budget. None measures and tells nothing.

    Returns:
        What became of the goal, as ``shrink.json`` has it.

    Raises:
        InfeasibleError: If no subnet at all is within the goal's bounds; names what can be reached.
        DpodSearchError: Whatever a stage meets.
    """
    say = tell or (lambda _: None)
    say(f"goal: {plan.goal}; {plan.why}")
    for item in plan.drafted:
        say(f"{item.override}: {item.reason}")
    kept = _read_kept(plan, out)
    is_timed_here = LATENCY in plan.goal.sizes and plan.config.latency.table is None
    if is_timed_here and not (out / TABLE).is_file():
        say(f"first layers and subnets are timed, once, which takes minutes: {out / TABLE}")
    if plan.way == "front":
        run_stages(plan.configure([], 0), out, progress=progress, n_jobs=plan.n_jobs, tell=tell)
        found = dataclasses.replace(kept, state="met")
        _write(out, found)
        return found
    found, metrics = kept, plan.config.task.make().metrics
    is_first = True
    while isinstance(asked := _plan_next(plan, found), Ask):
        found = _try_step(
            plan,
            out,
            found,
            asked,
            progress=progress,
            tell=_tell_most(plan, tell, is_first=is_first),
        )
        _write(out, found)
        spent = "" if found.n_doublings == 0 else f", finetuned for {found.epochs:g} epochs"
        say(describe_tried(found.tried[-1], plan.goal, metrics) + spent)
        is_first = False
    chosen = None
    if asked.answer is not None:
        chosen = spell_budget(find_bounds(plan.goal, asked.answer, _read_full(out)))
    found = dataclasses.replace(found, state="met" if asked.is_met else "unmet", chosen=chosen)
    _write(out, found)
    _deliver(plan, out, found, progress=progress)
    return found


def _plan_next(plan: ShrinkPlan, found: Shrink) -> Ask | End:
    tried = [to_tried(plan.goal, item) for item in found.tried]
    return plan_next(plan.goal, tried, found.n_doublings)


def _read_kept(plan: ShrinkPlan, out: Path) -> Shrink:
    """Return what an earlier process has come to, or that nothing was tried yet."""
    check_run(out)
    kept = Shrink.read_if_there(out)
    if kept is not None and kept.key == plan.key:
        return kept
    return Shrink(
        key=plan.key,
        goal=str(plan.goal),
        way=plan.way,
        why=plan.why,
        state="running",
        epochs=plan.config.finetune.epochs,
        n_doublings=0,
        tried=(),
        chosen=None,
    )


def _try_step(
    plan: ShrinkPlan,
    out: Path,
    found: Shrink,
    asked: Ask,
    *,
    progress: Progress | None,
    tell: Callable[[str], None] | None,
) -> Shrink:
    # With more epochs all is finetuned anew, so what was tried before is left out.
    before = found.tried if asked.n_doublings == found.n_doublings else ()
    steps = [*(Step(item.kind, item.place) for item in before), asked.step]
    full = _read_full(out) if asked.step.kind == "wider" else {}
    budgets = [item.budget for item in before]
    budgets.append(spell_budget(find_bounds(plan.goal, asked.step, full)))
    config = plan.configure(budgets, asked.n_doublings)
    run_stages(config, out, stages=_WORK, progress=progress, n_jobs=plan.n_jobs, tell=tell)
    chosen = OneShot.read(out) if plan.way == "mdp" else None
    tried = judge_budgets(plan.goal, steps, FinetunedFront.read(out), chosen)
    return dataclasses.replace(
        found,
        state="running",
        epochs=config.finetune.epochs,
        n_doublings=asked.n_doublings,
        tried=tried,
        chosen=None,
    )


def _deliver(plan: ShrinkPlan, out: Path, found: Shrink, *, progress: Progress | None) -> None:
    """Export what meets the goal, and nothing else, and write the report."""
    is_met = found.state == "met" and found.chosen is not None
    config = plan.configure(
        [item.budget for item in found.tried],
        found.n_doublings,
        [found.chosen] if is_met and found.chosen is not None else [],
    )
    stages = _ALL if is_met else (*_WORK, "report")
    run_stages(config, out, stages=stages, progress=progress, n_jobs=plan.n_jobs)


def _read_full(out: Path) -> Mapping[str, float]:
    front = FinetunedFront.read_if_there(out)
    return {} if front is None else front.full.footprint


def _write(out: Path, found: Shrink) -> None:
    if Shrink.read_if_there(out) == found:
        return
    with RunFolder(out) as folder, folder.noting("shrink", Shrink.FILE):
        found.write(out)


def _tell_most(
    plan: ShrinkPlan, tell: Callable[[str], None] | None, *, is_first: bool
) -> Callable[[str], None] | None:
    """Let the estimate of the first budget say how many more there may be."""
    if tell is None or not is_first:
        return None
    most = count_most(plan.goal)
    more = f"; then up to {most - 1} more finetunings until the goal is met" if most > 1 else ""
    return lambda text: tell(f"{text}{more}")
