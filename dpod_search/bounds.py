"""Bounds on numbers of a subnet, and budgets, which are some of them with ``and`` between.

A bound on a footprint is *exact*: it decides before anything is measured. A bound on an objective
that needs the subnet is *measured*: a trial that violates it is complete, but not feasible.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import replace
from typing import Literal
from typing import overload

import numpy as np
import numpy.typing as npt

from dpod_search.errors import ConfigError
from dpod_search.errors import InfeasibleError
from dpod_search.errors import shorten
from dpod_search.errors import show
from dpod_search.pareto import FloatArray
from dpod_search.quantities import in_own_unit


Sense = Literal["<=", ">="]
BoolArray = npt.NDArray[np.bool_]

_ZERO = 1e-12
_BOUND = re.compile(r"\s*([^<>=]*[^<>=\s])\s*([<>]=.*)")


@dataclass(frozen=True)
class Bound:
    """A bound on one number of a subnet.

    Args:
        name: The footprint or objective.
        limit: The largest or smallest value allowed. None as long as it is a share of what the
            full net has yet to be measured at.
        text: The bound as the user spelled it.
        sense: ``<=`` for what is minimised, ``>=`` for what is maximised.
        share: The share of the full net's value, if the bound is a percentage.
        is_measured: The subnet has to be evaluated to know the number.
    """

    name: str
    limit: float | None
    text: str
    sense: Sense = "<="
    share: float | None = None
    is_measured: bool = False

    @overload
    def is_met(self, value: float) -> bool: ...

    @overload
    def is_met(self, value: FloatArray) -> BoolArray: ...

    def is_met(self, value: float | FloatArray) -> bool | BoolArray:
        """Say whether a value is within the bound, or each of an array.

        A bound without a limit is met by all.
        """
        limit = self.limit
        if limit is None:
            limit = math.inf if self.sense == "<=" else -math.inf
        return value <= limit if self.sense == "<=" else value >= limit

    @overload
    def measure_violation(self, value: float) -> float: ...

    @overload
    def measure_violation(self, value: FloatArray) -> FloatArray: ...

    def measure_violation(self, value: float | FloatArray) -> float | FloatArray:
        """Return how far a value is beyond the limit, or each of an array, as a share of it.

        What is within is <= 0.

        A limit of 0 has no shares: there it is the difference itself.
        """
        assert self.limit is not None
        beyond = value - self.limit if self.sense == "<=" else self.limit - value
        return beyond / (abs(self.limit) if abs(self.limit) > _ZERO else 1.0)


@dataclass(frozen=True)
class Constraints:
    """All the bounds of a study, in a fixed order.

    They are asked twice. Before a subnet is evaluated its footprints are known, and the bounds on
    those decide; afterwards, asked with ``{**footprint, **measured}``, all of them do. Every
    method looks at the bounds whose number it is given, and leaves out the others and those whose
    limit is not known yet (see :meth:`resolve`). A mapping of footprints alone therefore asks the
    exact bounds alone.
    """

    bounds: tuple[Bound, ...] = ()

    def __iter__(self) -> Iterator[Bound]:
        """Iterate over the bounds."""
        return iter(self.bounds)

    def __len__(self) -> int:
        """Return the number of bounds."""
        return len(self.bounds)

    @property
    def exact(self) -> Constraints:
        """The bounds on footprints, known before anything is evaluated."""
        return Constraints(tuple(b for b in self if not b.is_measured))

    @property
    def measured(self) -> Constraints:
        """The bounds on measured objectives, known once a subnet is evaluated."""
        return Constraints(tuple(b for b in self if b.is_measured))

    @property
    def needs_full(self) -> bool:
        """Whether a limit is a share of what the full net has yet to be measured at."""
        return any(bound.limit is None for bound in self)

    def resolve(self, full: Mapping[str, float]) -> Constraints:
        """Turn percentages of measured values into limits.

        Args:
            full: What the full net was measured at, by objective; those that no percentage
                needs may be missing.

        Returns:
            Constraints whose limits are all known. Those that were known are as they were.

        Raises:
            ConfigError: If a value that a percentage is of is not above 0.
        """
        return Constraints(tuple(resolve_bound(bound, full) for bound in self))

    def violations(self, values: Mapping[str, float]) -> dict[str, float]:
        """Measure how far a subnet is beyond each bound, as a share of the limit.

        Args:
            values: Footprints, or footprints and measured values, by name.

        Returns:
            For each bound that is asked, in their order, ``(value - limit) / |limit|``, or its
            negative for a lower bound; <= 0 is feasible.
        """
        return {
            bound.name: bound.measure_violation(values[bound.name])
            for bound in self._asked(values)
        }

    def are_met(self, values: Mapping[str, float]) -> bool:
        """Say whether a subnet is within every bound that is asked.

        Args:
            values: As for :meth:`violations`.
        """
        return all(bound.is_met(values[bound.name]) for bound in self._asked(values))

    def explain(self, values: Mapping[str, float]) -> str:
        """Say in one sentence which bounds a subnet violates; empty if none.

        Args:
            values: As for :meth:`violations`.
        """
        return "; ".join(
            f"{bound.name} {_spell(bound, values[bound.name])} is {_beyond(bound)}"
            for bound in self._asked(values)
            if not bound.is_met(values[bound.name])
        )

    def check_reachable(
        self, smallest: Mapping[str, float], full: Mapping[str, float] | None = None
    ) -> None:
        """Raise unless the ends of the space are within the exact bounds.

        Footprints never fall as a width grows. What a measured objective can reach nobody knows
        before the search.

        Args:
            smallest: Footprint of the smallest subnet of the space.
            full: Footprint of the full net, for lower bounds; without it they are not checked.

        Raises:
            InfeasibleError: Naming the bound and the footprint that can be reached.
        """
        for bound in self.exact:
            is_upper = bound.sense == "<="
            best = smallest if is_upper else full
            if best is None or bound.is_met(best[bound.name]):
                continue
            raise InfeasibleError(
                f"no subnet can meet {bound.name} {bound.text} "
                f"(at {'most' if is_upper else 'least'} {_spell(bound, bound.limit)}): "
                f"the {'smallest' if is_upper else 'full net'} has {_spell(bound, best[bound.name])}; "
                + ("raise the bound or allow narrower widths" if is_upper else "lower the bound")
            )

    def _asked(self, values: Mapping[str, float]) -> list[Bound]:
        return [b for b in self if b.limit is not None and b.name in values]


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


def resolve_bound(bound: Bound, full: Mapping[str, float]) -> Bound:
    """Turn a percentage into a limit; a bound whose limit is known stays as it is.

    Args:
        bound: The bound.
        full: The full net's value under the bound's name, above 0.

    Raises:
        ConfigError: If the full net's value is not above 0.
    """
    if bound.share is None or bound.limit is not None:
        return bound
    value = full[bound.name]
    if not (value > 0 and math.isfinite(value)):
        raise ConfigError(
            f"constraint {bound.name} {bound.text} is a share of the full net's value, which is "
            f"{_spell(bound, value)}; give a number instead of a percentage"
        )
    return replace(bound, limit=bound.share * value)


def _spell(bound: Bound, value: float | None) -> str:
    assert value is not None  # a bound that is asked has its limit
    return in_own_unit(bound.name, value)


def _beyond(bound: Bound) -> str:
    word = "above" if bound.sense == "<=" else "below"
    spelled = bound.text.removeprefix(f"{bound.sense} ")
    resolved = f" ({_spell(bound, bound.limit)})" if bound.share is not None else ""
    return f"{word} {spelled}{resolved}"
