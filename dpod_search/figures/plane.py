"""The plane of the front figure: which objective against which footprint."""

from __future__ import annotations

from dataclasses import dataclass

from dpod_search.figures.searched import Searched
from dpod_search.pareto import find_front
from dpod_search.pareto import to_minimized
from dpod_search.records.search import Objective
from dpod_search.records.trials import Trial


@dataclass(frozen=True)
class Plane:
    """Two axes; ``x`` is minimised and drawn in log scale.

    Args:
        x: Name of the footprint across.
        y: The objective upwards.
    """

    x: str
    y: Objective

    def locate(self, trial: Trial) -> tuple[float, float] | None:
        """Return where a trial stands: at its measured value, else at its predicted one."""
        x = trial.values.get(self.x)
        y = trial.values.get(self.y.name)
        if y is None and self.y.name in trial.predicted:
            y = trial.predicted[self.y.name].value
        return None if x is None or y is None else (x, y)


def choose_plane(found: Searched) -> Plane:
    """Choose what the front is drawn in: a metric, or the first measured objective, on macs."""
    objectives = found.objectives
    measured = [objective for objective in objectives if not objective.is_footprint]
    named = [objective for objective in measured if objective.name in found.metrics]
    others = [objective for objective in objectives if objective.name != "macs"]
    # Only macs: the next footprint stands upwards, though nothing was searched along it.
    spare = [
        Objective(name=n, direction="minimize", is_footprint=True)
        for n in found.footprints
        if n != "macs"
    ]
    return Plane("macs", [*named, *measured, *others, *spare, *objectives][0])


def find_stairs(places: list[tuple[float, float]], plane: Plane) -> list[tuple[float, float]]:
    """Keep the places that no other beats in the plane, ascending in x.

    With more than two objectives a member of the front may be beaten in the plane alone.
    """
    if not places:
        return []
    unique = sorted(set(places))
    mask = find_front(to_minimized(unique, ["minimize", plane.y.direction]))
    return [place for place, kept in zip(unique, mask, strict=True) if kept]
