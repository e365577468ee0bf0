"""Which members of the searched front are finetuned, tested and exported."""

from __future__ import annotations

import math
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace

from dpod_search.bounds import Constraints
from dpod_search.bounds import split_bounds
from dpod_search.errors import InfeasibleError
from dpod_search.latency.model import NAME as LATENCY
from dpod_search.pipeline.session import Session
from dpod_search.pipeline.stages import stopwatch
from dpod_search.pipeline.stages.purpose import counts_samples
from dpod_search.records.front import FULL
from dpod_search.records.front import FinetunedFront
from dpod_search.records.oneshot import OneShot
from dpod_search.records.search import Search
from dpod_search.records.trials import Trial
from dpod_search.search import Candidate
from dpod_search.search import Front
from dpod_search.search.constraints import keep_within
from dpod_search.search.constraints import read_budget
from dpod_search.widths import Widths
from dpod_search.widths import lies_in


_FASTER = 0.8  # than the narrowest net another one may be


@dataclass(frozen=True)
class ChosenSubnet:
    """A subnet to finetune.

    Args:
        name: Its folder: the number of its trial, or ``full`` for a full net without one.
        trial: The number of its trial, or None.
        widths: Its widths.
        values: What the search measured, by objective.
        budgets: Those of ``finetune.budgets`` that it was chosen for.
    """

    name: str
    trial: int | None
    widths: Widths
    values: Mapping[str, float]
    budgets: tuple[str, ...] = ()


@dataclass(frozen=True)
class Choice:
    """What is finetuned.

    Args:
        subnets: Each of them once, the full net among them.
        unmet: For each budget that no member of the front meets the reason.
    """

    subnets: list[ChosenSubnet]
    unmet: Mapping[str, str]


def check_budgets(session: Session) -> None:
    """Check the budgets of the study, before anything is trained or searched for them.

    Raises:
        ConfigError: If one cannot be read, or bounds what the study does not know.
    """
    budgets = session.config.finetune.budgets
    if not budgets:
        return
    of_full = session.footprint.measure(session.blank_supernet.space.full)
    own = {o.name: 1.0 for o in session.objectives if not o.is_measured}  # any number will do
    for budget in budgets:
        read_budget(budget, {**own, **of_full}, session.objectives)


def check_reachable(session: Session) -> None:
    """Check that a budget can be met, before a supernet is trained and searched for it.

    Raises:
        InfeasibleError: If not even the smallest subnet is within any of them.
    """
    space, unmet = session.blank_supernet.space, []
    smallest = dict(session.footprint.measure(space.smallest))
    if LATENCY in smallest:
        smallest[LATENCY] *= _FASTER
    of_full = session.footprint.measure(space.full)
    own = {o.name: 1.0 for o in session.objectives if not o.is_measured}
    budgets = session.config.finetune.budgets
    for budget in budgets:
        bounds = read_budget(budget, {**own, **of_full}, session.objectives)
        known = Constraints(tuple(b for b in bounds.exact if b.name in smallest))
        try:
            known.check_reachable(smallest)
        except InfeasibleError as error:
            unmet.append(f"{budget}: {error}")
    if unmet and len(unmet) == len(budgets):
        raise InfeasibleError("; ".join(unmet))


def choose_subnets(session: Session, search: Search, trials: Sequence[Trial]) -> Choice:
    """Choose members of the searched front as the study says, and the full net.

    The full net is finetuned like the others, for it is what they are compared with.

    Args:
        session: The run.
        search: What was searched.
        trials: The trials of the search.

    Raises:
        InfeasibleError: If there are budgets and a front, and no member meets any of them.
    """
    space, sizes = session.blank_supernet.space, session.footprint
    names = [objective.name for objective in search.objectives]
    found = []
    for trial in trials:
        if trial.is_complete:
            widths = space.make(trial.widths)
            values = {name: trial.values[name] for name in names}
            # Measured, for a budget may be on a latency that the search did not ask for.
            found.append(Candidate(trial.number, widths, values, sizes.measure(widths)))
    if session.config.oneshot.method:
        chosen, unmet = _take_oneshot(session, found)
    else:
        members = tuple(item for item in found if item.trial in search.front)
        full = {**search.of_full, **sizes.measure(space.full)}
        front = Front(members, session.objectives, full)
        chosen, unmet = _take_members(session, front, found)
    if all(item.widths != space.full for item in chosen):
        of_full = next((item for item in found if item.widths == space.full), None)
        chosen.append(
            ChosenSubnet(FULL, None, space.full, {}) if of_full is None else _take(of_full)
        )
    return Choice(chosen, unmet)


def _take(item: Candidate, budgets: tuple[str, ...] = ()) -> ChosenSubnet:
    return ChosenSubnet(str(item.trial), item.trial, item.widths, item.values, budgets)


def _take_members(
    session: Session, front: Front, found: Sequence[Candidate]
) -> tuple[list[ChosenSubnet], dict[str, str]]:
    """Take members of the searched front, or under budgets what is as good as they are."""
    settings = session.config.finetune
    chosen_for, unmet = dict[int, list[str]](), dict[str, str]()
    if settings.budgets and len(front) > 0:
        best, unmet = _use_clock(session, front).split_by_budget(settings.budgets)
        if not best:
            raise InfeasibleError("; ".join(unmet.values()))
        if may_be_larger(session):
            best = choose_near(session, best, front.full, found)
        for budget, member in best.items():
            chosen_for.setdefault(member.trial, []).append(budget)
        members = [member for member in found if member.trial in chosen_for]
    else:
        n = settings.n_subnets
        members = list(front if n == "all" else front.select(n))
    return [_take(m, tuple(chosen_for.get(m.trial, ()))) for m in members], unmet


def may_be_larger(session: Session) -> bool:
    """Say whether accuracy alone is measured, and there are budgets in which no clock has a say."""
    budgets = session.config.finetune.budgets
    is_timed = any(LATENCY in split_bounds(budget) for budget in budgets)
    measured = [objective.name for objective in session.objectives if objective.is_measured]
    is_known = counts_samples(session.task) and (
        "accuracy" in session.config.search.objectives  # one's own may have this name
    )
    return bool(budgets) and is_known and measured == ["accuracy"] and not is_timed


def choose_near(
    session: Session,
    best: Mapping[str, Candidate],
    full: Mapping[str, float],
    found: Sequence[Candidate],
) -> dict[str, Candidate]:
    """Choose for each budget the largest subnet that is hardly less accurate than the best.

    Size is worth more after finetuning than before it. Hardly means within a standard error of the
    best one's accuracy, as Breiman et al. choose trees (Classification and Regression Trees, 1984,
    section 3.4.3). With a chain those that lie in the one chosen for the next larger budget
    come first.

    Args:
        session: The run.
        best: For each budget the best member of the front.
        full: What is known of the full net.
        found: All that was evaluated.
    """
    n_images = len(session.data.validation)
    bounds = [f"{name}{spec}" for name, spec in session.config.search.constraints.items()]
    chosen: dict[str, Candidate] = {}
    around: Candidate | None = None
    for budget, member in sorted(best.items(), key=lambda item: -item[1].footprint["macs"]):
        accuracy = member.values["accuracy"]
        least = accuracy - math.sqrt(accuracy * (1 - accuracy) / n_images)
        within = list(found)
        for text in (budget, *bounds):
            within = keep_within(within, text, full=full, objectives=session.objectives)
        near = [item for item in within if item.values["accuracy"] >= least]
        if session.config.finetune.chain and around is not None:
            near = [item for item in near if lies_in(item.widths, around.widths)] or near
        around = max(near, key=lambda item: (item.footprint["macs"], item.values["accuracy"]))
        chosen[budget] = around
    return {budget: chosen[budget] for budget in best}


def _use_clock(session: Session, front: Front) -> Front:
    """Let budgets on latency look at what is measured now, where a model has chosen before."""
    budgets = session.config.finetune.budgets
    is_bounded = any(LATENCY in split_bounds(budget) for budget in budgets)
    if not is_bounded or not stopwatch.can_measure(session):
        return front
    shares = stopwatch.time_shares(session, [member.widths for member in front])
    full = session.footprint.measure(session.blank_supernet.space.full)[LATENCY]
    members = [
        replace(m, footprint={**m.footprint, LATENCY: shares[m.widths] * full}) for m in front
    ]
    return replace(front, members=tuple(members))


def _take_oneshot(
    session: Session, found: Sequence[Candidate]
) -> tuple[list[ChosenSubnet], dict[str, str]]:
    """Take what was chosen without a search, whether or not it is on the front."""
    session.folder.require(OneShot.FILE, "search")
    content = OneShot.read(session.path)
    by_widths = {item.widths: item for item in found}
    chosen: dict[int, ChosenSubnet] = {}
    unmet = dict(content.unmet)
    for choice in content.choices:
        item = by_widths.get(session.blank_supernet.space.make(choice.widths))
        if item is None:
            unmet[choice.budget] = f"{choice.budget}: its trial failed; trials.csv says why"
            continue
        budgets = chosen[item.trial].budgets if item.trial in chosen else ()
        chosen[item.trial] = _take(item, (*budgets, choice.budget))
    return list(chosen.values()), unmet


def find_costs(front: FinetunedFront) -> dict[str, dict[str, float]]:
    """Return for each budget what it bounds of the member that was chosen for it."""
    found: dict[str, dict[str, float]] = {}
    for member in front.members:
        known = {**member.values_after, **member.footprint}
        for budget in member.budgets:
            found[budget] = {n: known[n] for n in split_bounds(budget) if n in known}
    return found
