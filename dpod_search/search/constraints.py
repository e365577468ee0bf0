"""Constraints and budgets as users write them: ``macs<=2M``, ``macs<=25% and params<=50k``.

A constraint says where to search, a budget which of what was found to take.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Protocol
from typing import TypeVar

from dpod_search.bounds import Bound
from dpod_search.bounds import Constraints
from dpod_search.bounds import Sense
from dpod_search.bounds import resolve_bound
from dpod_search.bounds import split_bounds
from dpod_search.errors import ConfigError
from dpod_search.errors import InfeasibleError
from dpod_search.errors import check_range
from dpod_search.errors import name_nearest
from dpod_search.errors import shorten
from dpod_search.errors import show
from dpod_search.quantities import in_own_unit
from dpod_search.search.objectives import Objective


_UNITS = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}
_DIGITS = r"[0-9]+(?:_[0-9]+)*"
_NUMBER = rf"([-+]?(?:(?:{_DIGITS})?\.)?{_DIGITS}(?:[eE][+-]?[0-9]+)?)"
_LARGEST = 1e18  # of a bound, and no net has more of anything
_PATTERN = re.compile(rf"\s*([<>]=)\s*{_NUMBER}\s*([kMG%]?)\s*")
_EXAMPLES = {"<=": '"<= 5M" or "<= 40%"', ">=": '">= 0.9" or ">= 95%"'}


class Measured(Protocol):
    """A subnet with its numbers."""

    @property
    def values(self) -> Mapping[str, float]:
        """Its objective values by name."""

    @property
    def footprint(self) -> Mapping[str, float]:
        """Its footprints by name."""


M = TypeVar("M", bound=Measured)


def parse_constraints(
    specs: Mapping[str, str], full: Mapping[str, float], objectives: Sequence[Objective] = ()
) -> Constraints:
    """Read bounds as users write them.

    Args:
        specs: For each footprint or objective ``"<= 5M"`` (units k, M, G), ``"<= 40%"`` of the full
            net's value, or ``">= 0.9"`` where it is maximised.
        full: Footprint of the full net; its keys are names that can be bounded.
        objectives: The objectives of the study: those that are measured can be bounded too, and
            all tell their sense. A footprint that is none is minimised.

    Returns:
        The constraints, in the order given.

    Raises:
        ConfigError: If a name is unknown, or a bound cannot be read or is in the wrong sense.
    """
    known = {objective.name: objective for objective in objectives}
    return Constraints(tuple(_parse(n, spec, full, known) for n, spec in specs.items()))


def _parse(
    name: str, spec: str, full: Mapping[str, float], objectives: Mapping[str, Objective]
) -> Bound:
    objective = objectives.get(name)
    is_measured = objective is not None and objective.is_measured
    if objective is None and name not in full:
        raise ConfigError(
            f"no footprint or objective of the study is called {shorten(name)}; "
            f"{name_nearest(name, [*full, *(o for o in objectives if o not in full)])}"
        )
    if is_measured and name in full:
        raise ConfigError(
            f"constraint on {name} could mean the footprint or the measured objective of this "
            "name; give the objective another name"
        )
    sense: Sense = ">=" if objective is not None and objective.direction == "maximize" else "<="
    match = _PATTERN.fullmatch(str(spec))
    if match is None:
        raise ConfigError(
            f"constraint on {name} must read like {_EXAMPLES[sense]}, got {show(str(spec))}"
        )
    if match[1] != sense:
        aim = "maximised" if sense == ">=" else "minimised"
        raise ConfigError(
            f'constraint on {name} must read "{sense} ...", for {name} is {aim}; got {show(str(spec))}'
        )
    number, unit = float(match[2]), match[3]
    if not number > 0 and (unit == "%" or not is_measured):
        raise ConfigError(f"constraint on {name} must be above 0, got {show(str(spec))}")
    check_range(
        f"constraint on {name}", number * _UNITS.get(unit, 1), low=-_LARGEST, high=_LARGEST
    )
    share = number / 100 if unit == "%" else None
    limit = number * _UNITS[unit] if share is None else None
    bound = Bound(name, limit, f"{sense} {match[2]}{unit}", sense, share, is_measured)
    return bound if is_measured else resolve_bound(bound, full)


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
