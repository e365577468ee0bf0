"""Several objectives of one function: it is called once a subnet, and gives all their values."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Hashable
from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import replace
from typing import Any

from dpod_search.errors import ConfigError
from dpod_search.errors import show
from dpod_search.pareto import Direction
from dpod_search.search.objectives import MetricValue
from dpod_search.search.objectives import Objective
from dpod_search.search.objectives import call_objective
from dpod_search.widths import Widths


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A function of the user's that measures several objectives in one call.

    Args:
        function: Called with the subnet cut out as a plain module: calibrated, in evaluation mode,
            on its device, gradients off. Returns numbers by name.
        directions: Those names that are objectives, each with its sense.
        batches: Batches of (images, labels) that it measures on; needed where a search is given
            nothing else to calibrate on.

    Raises:
        ConfigError: If the function is not callable, or the directions are no table of senses.
    """

    function: Callable[[Any], Mapping[str, float]]
    directions: Mapping[str, Direction]
    batches: Any = None

    def __post_init__(self) -> None:
        """Check what a user can get wrong."""
        if not callable(self.function):
            raise ConfigError(f"an evaluation must be callable, got {show(self.function)}")
        directions: object = self.directions
        if not isinstance(directions, Mapping) or not directions:
            raise ConfigError(
                f"evaluation {self.name} must have directions such as "
                f'{{"accuracy": "maximize"}}, got {show(self.directions)}'
            )
        _ = self.objectives  # complains of a direction that is none

    @property
    def name(self) -> str:
        """What messages call it."""
        return str(getattr(self.function, "__name__", type(self.function).__name__))

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """Its objectives, in the order of the directions."""
        return tuple(
            Objective(name, direction, _Value(self, name), batches=self.batches)
            for name, direction in self.directions.items()
        )

    def measure(self, subnet: Any) -> Mapping[str, float]:
        """Call the function on a subnet; return all its numbers.

        Raises:
            ConfigError: If it returns no table, or lacks an objective.
        """
        # Imported when it is needed, so that widths can be searched without a supernet.
        from dpod_search.placement import place_module

        module, placement = subnet.extract(), subnet.placement
        place_module(module, placement.device, is_channels_last=placement.is_channels_last)
        found: object = self.function(module.eval())
        if not isinstance(found, Mapping):
            raise ConfigError(
                f"evaluation {self.name} must return numbers by name, got {show(found)}"
            )
        for name in self.directions:
            if name not in found:
                raise ConfigError(
                    f"evaluation {self.name} must return a value for {name}, got {show([*found])}"
                )
        return found


@dataclass(frozen=True, eq=False)
class _Value:
    """One number of an evaluation, as a function of its own."""

    evaluation: Evaluation
    name: str

    @property
    def shared(self) -> Hashable:
        return id(self.evaluation)

    @property
    def called(self) -> str:
        return self.evaluation.name

    def measure(self, subnet: Any) -> Mapping[str, float]:
        return self.evaluation.measure(subnet)

    def __call__(self, subnet: Any) -> float:
        return self.evaluation.measure(subnet)[self.name]


def call_objectives(
    objectives: Iterable[Objective], subnet: object, widths: Widths
) -> dict[str, object]:
    """Call objectives that need the subnet, those that are measured together once.

    Args:
        objectives: They have functions.
        subnet: What these take.
        widths: Its widths, for a message.

    Returns:
        What each returned, by name; see :func:`~dpod_search.search.to_number`.

    Raises:
        ObjectiveError: As of :func:`~dpod_search.search.call_objective`.
    """
    shared: dict[Hashable, Any] = {}
    values: dict[str, object] = {}
    for objective in objectives:
        value = objective.function
        if isinstance(value, _Value | MetricValue):
            if value.shared not in shared:
                measure: Any = value.measure  # all numbers at once
                whole = replace(objective, name=value.called, function=measure)
                shared[value.shared] = call_objective(whole, subnet, widths)
            values[objective.name] = shared[value.shared][value.name]
        else:
            values[objective.name] = call_objective(objective, subnet, widths)
    return values
