"""Budgets that members of a front are chosen by: ``macs<=2M``, ``macs<=25% and params<=50k``.

They are read as constraints are, see :mod:`dpod_search.search.constraints`, and asked when the
search has ended: a constraint says where to search, a budget which of what was found to take.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Protocol
from typing import TypeVar

from dpod_search.errors import ConfigError
from dpod_search.errors import InfeasibleError
from dpod_search.errors import shorten
from dpod_search.errors import show
from dpod_search.quantities import in_own_unit
from dpod_search.search.constraints import Bound
from dpod_search.search.constraints import Constraints
from dpod_search.search.constraints import parse_constraints
from dpod_search.search.objectives import Objective


_BOUND = re.compile(r"\s*([^<>=]*[^<>=\s])\s*([<>]=.*)")


class Measured(Protocol):
    """A subnet with its numbers."""

    @property
    def values(self) -> Mapping[str, float]:
        """Its objective values by name."""

    @property
    def footprint(self) -> Mapping[str, float]:
        """Its footprints by name."""


M = TypeVar("M", bound=Measured)


def split_budgets(text: str) -> tuple[str, ...]:
    """Split budgets that stand on one line, a comma between them.

    Args:
        text: For instance ``"macs<=2M, macs<=25% and params<=50k"``, which are two.
    """
    return tuple(part.strip() for part in text.split(",") if part.strip())


def split_bounds(budget: str) -> dict[str, str]:
    """Return the bounds of a budget, spelled as constraints are.

    Args:
        budget: One bound, or several with ``and`` between them.

    Returns:
        For instance ``{"macs": "<=25%", "params": "<=50k"}``.

    Raises:
        ConfigError: If it cannot be read, or bounds something twice.
    """
    specs: dict[str, str] = {}
    for part in re.split(r"\s+and\s+", str(budget)):
        match = _BOUND.fullmatch(part)
        if match is None:
            raise ConfigError(
                f"budget {show(budget)} must read like 'macs<=2M', 'macs<=25%' or "
                "'macs<=5M and params<=50k'"
            )
        if match[1] in specs:
            raise ConfigError(
                f"budget {show(budget)} bounds {shorten(match[1])} twice; leave one of them"
            )
        specs[match[1]] = match[2]
    return specs


def read_budget(
    budget: str, full: Mapping[str, float], objectives: Sequence[Objective]
) -> Constraints:
    """Read a budget as constraints, percentages still to be resolved where they are measured.

    Args:
        budget: As the user spelled it.
        full: Footprint of the full net; its keys are names that can be bounded.
        objectives: The objectives of the study, which can be bounded too.

    Raises:
        ConfigError: If it cannot be read, or names what is not known.
    """
    specs = split_bounds(budget)
    try:
        return parse_constraints(specs, full, objectives)
    except ConfigError as error:
        raise ConfigError(f"budget {show(budget)}: {error}") from error


def keep_within(
    members: Sequence[M],
    budget: str,
    *,
    full: Mapping[str, float],
    objectives: Sequence[Objective],
) -> list[M]:
    """Keep the members that meet a budget.

    Args:
        members: At least one.
        budget: As the user spelled it.
        full: What is known of the full net, by footprint and objective; percentages need it.
        objectives: The objectives of the study.

    Raises:
        ConfigError: If the budget cannot be read, or the full net's value is not known.
        InfeasibleError: If no member meets it, naming how near one comes.
    """
    of_full = {name: full.get(name, math.nan) for name in members[0].footprint}
    bounds = read_budget(budget, of_full, objectives)
    measured = {o.name: full.get(o.name, math.nan) for o in objectives if o.is_measured}
    left = list(members)
    for bound in bounds.resolve(measured):
        near = [_value_of(member, bound) for member in left]
        left = [m for m, value in zip(left, near, strict=True) if bound.is_met(value)]
        if not left:
            raise InfeasibleError(_explain(budget, bound, near, is_alone=len(bounds) == 1))
    return left


def _value_of(member: Measured, bound: Bound) -> float:
    # A footprint that is an objective is in both, and equal.
    return float((member.values if bound.is_measured else member.footprint)[bound.name])


def _explain(budget: str, bound: Bound, values: Sequence[float], *, is_alone: bool) -> str:
    is_upper = bound.sense == "<="
    nearest = min(values) if is_upper else max(values)
    spelled = in_own_unit(bound.name, nearest)
    among = "" if is_alone else " within its other bounds"
    return (
        f"no member of the front meets the budget {budget}: "
        f"the {'smallest' if is_upper else 'largest'} {bound.name}{among} is {spelled}; "
        f"{'raise' if is_upper else 'lower'} the bound"
    )
