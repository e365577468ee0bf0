"""Bounds on footprints: hard limits that are known before anything is measured."""

from __future__ import annotations

import re
from collections.abc import Collection
from collections.abc import Mapping
from dataclasses import dataclass

from dpod_search.errors import ConfigError
from dpod_search.errors import InfeasibleError
from dpod_search.search.objectives import name_nearest


_UNITS = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}
_PATTERN = re.compile(r"\s*<=\s*([0-9_]*\.?[0-9_]+(?:[eE][+-]?[0-9]+)?)\s*([kMG%]?)\s*")


@dataclass(frozen=True)
class Bound:
    """An upper bound on one footprint.

    Args:
        name: The footprint.
        limit: Largest value allowed, > 0.
        text: The bound as the user spelled it.
    """

    name: str
    limit: float
    text: str


@dataclass(frozen=True)
class Constraints:
    """All the bounds of a study, in a fixed order."""

    bounds: tuple[Bound, ...] = ()

    def violations(self, footprint: Mapping[str, float]) -> dict[str, float]:
        """Measure how far a footprint is over each bound, as a share of the bound.

        Args:
            footprint: Footprints of a subnet by name.

        Returns:
            For each bound ``(value - limit) / limit``; <= 0 is feasible.
        """
        return {b.name: (footprint[b.name] - b.limit) / b.limit for b in self.bounds}

    def are_met(self, footprint: Mapping[str, float]) -> bool:
        """Say whether a footprint is within every bound."""
        return all(footprint[bound.name] <= bound.limit for bound in self.bounds)

    def check_reachable(self, smallest: Mapping[str, float]) -> None:
        """Raise unless the smallest subnet is within every bound.

        Args:
            smallest: Footprint of the smallest subnet of the space.

        Raises:
            InfeasibleError: Naming the bound and the smallest footprint that can be reached.
        """
        for bound in self.bounds:
            if smallest[bound.name] > bound.limit:
                raise InfeasibleError(
                    f"no subnet can meet {bound.name} {bound.text} (at most {bound.limit:g}): "
                    f"the smallest has {smallest[bound.name]:g}; raise the bound or allow "
                    "narrower widths"
                )

    def explain(self, footprint: Mapping[str, float]) -> str:
        """Say in one sentence which bounds a footprint violates; empty if none."""
        return "; ".join(
            f"{bound.name} {footprint[bound.name]:g} is above {bound.text.removeprefix('<= ')}"
            + (f" ({bound.limit:g})" if bound.text.endswith("%") else "")
            for bound in self.bounds
            if footprint[bound.name] > bound.limit
        )


def parse_constraints(
    specs: Mapping[str, str], full: Mapping[str, float], measured: Collection[str] = ()
) -> Constraints:
    """Read bounds as users write them.

    Args:
        specs: For each footprint ``"<= 5M"`` (units k, M, G), or ``"<= 40%"`` of the full net.
        full: Footprint of the full net; its keys are the names that can be bounded.
        measured: Names of the objectives that are measured, for a better message.

    Returns:
        The constraints, in the order given.

    Raises:
        ConfigError: If a name is unknown or a bound cannot be read.
    """
    return Constraints(tuple(_parse(n, spec, full, measured) for n, spec in specs.items()))


def _parse(name: str, spec: str, full: Mapping[str, float], measured: Collection[str]) -> Bound:
    if name in measured:
        raise ConfigError(
            f"constraint on {name}: only footprints can be bounded ({', '.join(full)}); "
            f"{name} is measured, so choose from the front instead"
        )
    if name not in full:
        raise ConfigError(f"no footprint is called {name}; {name_nearest(name, full)}")
    match = _PATTERN.fullmatch(str(spec))
    if match is None:
        raise ConfigError(
            f'constraint on {name} must read like "<= 5M" or "<= 40%", got {str(spec)!r}'
        )
    number, unit = float(match[1]), match[2]
    limit = number / 100 * full[name] if unit == "%" else number * _UNITS[unit]
    if not limit > 0:
        raise ConfigError(f"constraint on {name} must be above 0, got {str(spec)!r}")
    return Bound(name, limit, f"<= {match[1]}{unit}")
