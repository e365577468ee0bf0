"""What to pick: the member chosen for each budget, the knees, and the best within fixed shares.

Validation cannot tell members apart whose metrics lie within a standard error. Of those that it
cannot tell from the best the cheapest is recommended, as Breiman and others choose trees
(Classification and Regression Trees, 1984, section 3.4.3). All are compared with the best one and
never with each other: many small steps down would end at the smallest net there is.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from dpod_search.bounds import split_bounds
from dpod_search.errors import ConfigError
from dpod_search.quantities import is_share
from dpod_search.records.front import FinetunedFront
from dpod_search.records.front import Member
from dpod_search.records.metrics import Aim
from dpod_search.records.training import Training


PICK_BUDGETS = (0.05, 0.10, 0.25, 0.50, 1.0)
# The example in the summary is the smallest member that gives up at most this much; of a metric
# that is no share, this much of the full net's.
_TOLERATED_LOSS = 0.01
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Pick:
    """The answer for one budget.

    Args:
        budget: Largest share of the full net's macs, in (0, 1].
        member: The member to pick within it, or None if none is small enough.
    """

    budget: float
    member: Member | None


@dataclass(frozen=True)
class Chosen:
    """A member that was chosen, and what for.

    Args:
        reason: A budget as the user spelled it.
        member: The member chosen for it, or None if no member keeps it.
    """

    reason: str
    member: Member | None


def count_validation(front: FinetunedFront, training: Training | None) -> int:
    """Return on how many samples the front's first metric was counted on validation.

    Args:
        front: The front after finetuning.
        training: Has the sizes of the splits, if the supernet was trained.

    Returns:
        Their number; 0 where it is not known, or where the metric is no share of samples, of which
        alone the standard error is known.
    """
    if training is None or not front.task.counts_samples:
        return 0
    return training.data.sizes.get("validation", 0)


def compute_standard_error(share: float, n_samples: int) -> float:
    """Return the standard error of a share of samples.

    Args:
        share: In [0, 1].
        n_samples: On how many it was counted; of 0 no error is known, and it is taken for 0.
    """
    return math.sqrt(share * (1 - share) / n_samples) if n_samples else 0.0


def is_as_good(member: Member, best: Member, aim: Aim, n_samples: int) -> bool:
    """Say whether a member beats another on validation, or equals it within a standard error.

    Args:
        member: The one.
        best: The other, whose standard error counts.
        aim: The metric.
        n_samples: From :func:`count_validation`.
    """
    error = compute_standard_error(best.validation[aim.name], n_samples)
    return aim.lose(best.validation, member.validation) <= error + _ROUNDING


def recommend(members: Iterable[Member], aim: Aim, n_samples: int) -> Member | None:
    """Return the cheapest member that validation cannot tell from the best of them.

    Args:
        members: Those that may be recommended.
        aim: The metric.
        n_samples: From :func:`count_validation`.

    Returns:
        The one with the fewest macs, of equals the best; None if there are no members.
    """
    members = list(members)
    best = pick_best(members, aim)
    if best is None:
        return None
    equals = [member for member in members if is_as_good(member, best, aim, n_samples)]
    return min(equals, key=lambda m: (m.macs, -aim.gain(m.validation)))


def find_cheaper(
    member: Member, front: FinetunedFront, n_samples: int, costs: Collection[str] = ()
) -> Member | None:
    """Return the cheapest member that is as good as one on validation, if it costs less.

    Args:
        member: The one.
        front: The front after finetuning.
        n_samples: From :func:`count_validation`.
        costs: Footprints of which it must not have more either.

    Returns:
        The one with the fewest macs; None if every cheaper one is worse.
    """
    aim = front.task.first
    cheaper = [
        other
        for other in front.members
        if other.macs < member.macs
        and is_as_good(other, member, aim, n_samples)
        and all(other.footprint[name] <= member.footprint[name] for name in costs)
    ]
    return min(cheaper, key=lambda m: (m.macs, -aim.gain(m.validation)), default=None)


def find_cheaper_within(
    budget: str, member: Member, front: FinetunedFront, n_samples: int
) -> Member | None:
    """Return what :func:`find_cheaper` does, of members that keep a budget that a member keeps.

    Args:
        budget: As the user spelled it.
        member: The one that was chosen for it.
        front: The front after finetuning.
        n_samples: From :func:`count_validation`.

    Returns:
        None also for budgets on what no footprint tells, such as an accuracy, or on latency by a
        clock.
    """
    try:
        bounded = split_bounds(budget)
    except ConfigError:  # of a file that was written by other hands
        return None
    is_timed = "latency" in bounded and member.measured_latency_share is not None
    are_sizes = all(n in member.footprint and b.startswith("<=") for n, b in bounded.items())
    if is_timed or not are_sizes:
        return None
    return find_cheaper(member, front, n_samples, tuple(bounded))


def list_costs(front: FinetunedFront, constraints: Iterable[str] = ()) -> tuple[str, ...]:
    """List the footprints besides macs that a short table shows.

    Args:
        front: The front after finetuning.
        constraints: Names of what the search bounded.

    Returns:
        The parameters, the modelled latency, which is modelled where it is asked for, and those that
        were an objective, or bounded by a budget or a constraint.
    """
    asked = {
        "params",
        "latency",
        *constraints,
        *(name for m in front.members for name in m.values_after),
    }
    for budget in front.budgets:
        with suppress(ConfigError):  # of a file that was written by other hands
            asked.update(split_bounds(budget))
    return tuple(name for name in front.footprints if name in asked and name != "macs")


def list_chosen(front: FinetunedFront) -> tuple[Chosen, ...]:
    """List what was chosen for each of the user's budgets.

    Args:
        front: The front after finetuning.

    Returns:
        One entry a budget, in the user's order. Of several members that were finetuned for
        one budget, the best on validation is named.
    """
    return tuple(
        Chosen(
            budget,
            pick_best((m for m in front.members if budget in m.budgets), front.task.first),
        )
        for budget in front.budgets
    )


def pick_members(front: FinetunedFront, n_samples: int = 0) -> tuple[Pick, ...]:
    """Pick for each share of the full net's macs the member to recommend within it.

    Args:
        front: The front after finetuning.
        n_samples: From :func:`count_validation`.

    Returns:
        One pick per entry of :data:`PICK_BUDGETS`, by :func:`recommend`. What was measured on test
        plays no part, so that it stays an honest estimate.
    """
    return tuple(Pick(budget, _pick(front, budget, n_samples)) for budget in PICK_BUDGETS)


def pick_example(front: FinetunedFront, n_samples: int = 0) -> Member | None:
    """Pick the smallest member that is hardly worse than the full net on validation.

    Args:
        front: The front after finetuning.
        n_samples: From :func:`count_validation`.

    Returns:
        The smallest that gives up at most a point, or a standard error if that is more; never the
        full net itself. If none comes so close, what :func:`recommend` says; None if there are
        none.
    """
    members = [member for member in front.members if not member.is_full]
    aim, full = front.task.first, front.full.validation
    scale = 1.0 if is_share(aim.name) else abs(full[aim.name])
    error = compute_standard_error(full[aim.name], n_samples)
    most = max(_TOLERATED_LOSS * scale, error) + _ROUNDING
    close = [member for member in members if aim.lose(full, member.validation) <= most]
    if close:
        return min(close, key=lambda member: member.macs)
    return recommend(members, aim, n_samples)


def pick_best(members: Iterable[Member], aim: Aim) -> Member | None:
    """Pick the member with the best metric on validation, of equals the smallest, if any."""
    return max(members, key=lambda m: (aim.gain(m.validation), -m.macs), default=None)


def _pick(front: FinetunedFront, budget: float, n_samples: int) -> Member | None:
    # The slack keeps a share of 0.1 that was computed as 0.10000000000000002.
    within = (member for member in front.members if member.macs_share <= budget + 1e-9)
    return recommend(within, front.task.first, n_samples)
