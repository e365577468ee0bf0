"""What a search is about: widths in, numbers out. No tensor is in sight."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from functools import cached_property
from typing import Protocol

from dpod_search.errors import ConfigError
from dpod_search.pareto import Direction
from dpod_search.search.constraints import Constraints
from dpod_search.search.constraints import parse_constraints
from dpod_search.search.objectives import Objective
from dpod_search.search.objectives import check_objectives
from dpod_search.search.objectives import name_nearest
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
        constraints: Bounds on footprints, as :class:`~dpod_search.search.SearchSettings` has them.
        seed: Seed of every random choice.

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
            ConfigError: If one of them cannot be read or names no footprint.
        """
        full = self.measure_footprint(self.space.full)
        return parse_constraints(self.constraints, full, [o.name for o in self.measured])

    def measure_footprint(self, widths: Widths) -> dict[str, float]:
        """Return all footprints of a subnet: the model's, then a user's own objectives."""
        footprint = dict(self.footprint.measure(widths))
        for objective in self.objectives:
            if not objective.is_measured and objective.function is not None:
                value = objective.function(widths)
                footprint[objective.name] = to_number(value, objective.name)
        return footprint

    def is_feasible(self, widths: Widths) -> bool:
        """Say whether a subnet is within every bound."""
        return not self.bounds.bounds or self.bounds.are_met(self.measure_footprint(widths))
