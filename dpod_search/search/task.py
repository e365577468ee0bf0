"""What a search is about: widths in, numbers out. No tensor is in sight."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from functools import cached_property
from typing import Protocol

from dpod_search.bounds import Constraints
from dpod_search.errors import ConfigError
from dpod_search.errors import name_nearest
from dpod_search.pareto import Direction
from dpod_search.search.constraints import parse_constraints
from dpod_search.search.objectives import Objective
from dpod_search.search.objectives import call_objective
from dpod_search.search.objectives import check_objectives
from dpod_search.search.objectives import to_number
from dpod_search.widths import Widths
from dpod_search.widths import WidthSpace


class Footprint(Protocol):
    """Knows what any subnet costs, without building it."""

    def measure(self, widths: Widths, /) -> Mapping[str, float]:
        """Return the footprints of a subnet by name; they never fall as a width grows."""


@dataclass(frozen=True)
class SearchTask:
    """The question that a study answers.

    Args:
        space: The widths to choose from.
        objectives: One to four objectives.
        footprint: Closed-form footprints.
        evaluate: Measures a subnet: for widths, the values of all objectives that need it.
        constraints: Bounds on footprints and objectives, as
            :class:`~dpod_search.search.SearchSettings` has them.
        seed: Seed of every random choice.
        provenance: What the measurements depend on besides the space, by name, such as the
            fingerprint of the data; a study is not resumed with another.
        full_values: What the full net was measured at, by objective; see :meth:`with_full`.

    Raises:
        ConfigError: If the objectives are none, more than four, two of one name, or a footprint
            that nobody knows.
    """

    space: WidthSpace
    objectives: tuple[Objective, ...]
    footprint: Footprint
    evaluate: Callable[[Widths], Mapping[str, float]]
    constraints: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0
    provenance: Mapping[str, str] = field(default_factory=dict)
    full_values: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the objectives once."""
        for objective in check_objectives(self.objectives):
            known = objective.function is not None or objective.name in self.footprint_names
            if not known:
                raise ConfigError(
                    f"no footprint is called {objective.name}; "
                    f"{name_nearest(objective.name, self.footprint_names)}"
                )

    @property
    def directions(self) -> list[Direction]:
        """Direction of every objective, in order."""
        return [objective.direction for objective in self.objectives]

    @cached_property
    def footprint_names(self) -> tuple[str, ...]:
        """The footprints that the model knows, in its order; a user's own are not among them."""
        return tuple(self.footprint.measure(self.space.full))

    @cached_property
    def measured(self) -> tuple[Objective, ...]:
        """The objectives that need the subnet."""
        return tuple(objective for objective in self.objectives if objective.is_measured)

    @cached_property
    def bounds(self) -> Constraints:
        """The constraints, read.

        Raises:
            ConfigError: If one of them cannot be read or names neither a footprint nor an
                objective.
        """
        full = self.measure_footprint(self.space.full)
        bounds = parse_constraints(self.constraints, full, self.objectives)
        return bounds.resolve(self.full_values) if self.full_values else bounds

    @property
    def needs_full(self) -> bool:
        """Whether a bound is a share of what the full net has yet to be measured at.

        Whoever runs the study then measures the full net before any trial, and goes on with
        :meth:`with_full`. Until then such a bound is neither met nor violated.
        """
        return self.bounds.needs_full

    def with_full(self, values: Mapping[str, float]) -> SearchTask:
        """Return this task with all bounds known.

        Args:
            values: What the full net was measured at: at least every measured objective.

        Raises:
            ConfigError: If a value that a percentage is of is not above 0.
        """
        task = replace(self, full_values=dict(values))
        _ = task.bounds  # a mistake in them is told here
        return task

    def measure_footprint(self, widths: Widths) -> dict[str, float]:
        """Return all footprints of a subnet: the model's, then a user's own objectives.

        Raises:
            ConfigError: If one of those gives no number.
            ObjectiveError: If one of them raises.
        """
        footprint = dict(self.footprint.measure(widths))
        for objective in self.objectives:
            if not objective.is_measured and objective.function is not None:
                value = call_objective(objective, widths, widths)
                footprint[objective.name] = to_number(value, objective.name)
        return footprint

    def check_reachable(self) -> None:
        """Raise unless the space has subnets within every bound on a footprint.

        Raises:
            ConfigError: If a constraint cannot be read.
            InfeasibleError: Naming the bound and the footprint that can be reached.
        """
        space = self.space
        smallest, full = map(self.measure_footprint, (space.smallest, space.full))
        self.bounds.check_reachable(smallest, full)

    def is_feasible(self, widths: Widths) -> bool:
        """Say whether a subnet is within every bound on a footprint; nothing is evaluated."""
        exact = self._exact_bounds
        return not exact or exact.are_met(self.measure_footprint(widths))

    @cached_property
    def _exact_bounds(self) -> Constraints:
        return self.bounds.exact
