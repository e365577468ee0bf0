"""Which members of the searched front are finetuned, tested and exported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dpod_search.errors import InfeasibleError
from dpod_search.pipeline.session import Session
from dpod_search.search import SearchResult
from dpod_search.search.budgets import read_budget
from dpod_search.widths import Widths


FULL = "full"


@dataclass(frozen=True)
class Chosen:
    """A subnet to finetune.

    Args:
        name: Its folder: the number of its trial, or ``full`` for a full net without one.
        trial: The number of its trial, or None.
        widths: Its widths.
        values: What the search measured, by objective.
        budgets: Those of ``finetune.budgets`` that it is the best under.
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

    subnets: list[Chosen]
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
        read_budget(budget, own | of_full, session.objectives)


def choose_subnets(session: Session, result: SearchResult) -> Choice:
    """Choose members of the searched front as the study says, and the full net.

    The full net is finetuned like the others, for it is what they are compared with.

    Raises:
        InfeasibleError: If there are budgets and a front, and no member meets any of them.
    """
    settings = session.config.finetune
    front, chosen_for, unmet = result.front, dict[int, list[str]](), dict[str, str]()
    if settings.budgets and len(front) > 0:
        best, unmet = front.split_by_budget(settings.budgets)
        if not best:
            raise InfeasibleError("; ".join(unmet.values()))
        for budget, member in best.items():
            chosen_for.setdefault(member.trial, []).append(budget)
        members = [member for member in front if member.trial in chosen_for]
    else:
        n = settings.n_subnets
        members = list(front if n == "all" else front.select(n))
    chosen = [
        Chosen(str(m.trial), m.trial, m.widths, m.values, tuple(chosen_for.get(m.trial, ())))
        for m in members
    ]
    full = session.supernet.space.full
    if all(item.widths != full for item in chosen):
        of_full = [t for t in result.trials if t.widths == full and t.values]
        name = str(of_full[0].number) if of_full else FULL
        trial = of_full[0].number if of_full else None
        chosen.append(Chosen(name, trial, full, dict(of_full[0].values) if of_full else {}))
    return Choice(chosen, unmet)


def find_budgets(front: Mapping[str, Any]) -> dict[str, int | None]:
    """Return the trial that was chosen for each budget, or None if no member met it.

    Args:
        front: The content of ``front.json``.
    """
    found: dict[str, int | None] = dict.fromkeys(front.get("budgets", ()))
    for member in front["members"]:
        found.update(dict.fromkeys(member.get("budgets", ()), member["trial"]))
    return found
