"""A goal: bounds on footprints, bounds on what may be lost against the full net, a superlative.

What it names of metrics is checked when the task is known.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from typing import Protocol

from dpod_search.errors import ConfigError
from dpod_search.errors import show
from dpod_search.quantities import is_share


LATENCY = "latency"
FOOTPRINTS = ("macs", "params", "weight_bytes", "peak_bytes", LATENCY)

Aim = Literal["", "smallest", "fastest", "best"]
Unit = Literal["pt", "%", ""]

# What each superlative makes as small as it can.
SHRINKS = {"smallest": "weight_bytes", "fastest": LATENCY}


class Metric(Protocol):
    """A metric of a task."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def direction(self) -> str:
        """``minimize`` or ``maximize``."""

    @property
    def is_share(self) -> bool:
        """Whether its values are shares, in [0, 1]."""


@dataclass(frozen=True)
class SizeBound:
    """A bound on a footprint, from above.

    Args:
        name: The footprint.
        limit: The largest value: macs and parameters by number, bytes, milliseconds; of a share,
            over the full net's.
        is_share: Whether it is a share of the full net's.
    """

    name: str
    limit: float
    is_share: bool

    @property
    def text(self) -> str:
        """The bound as budgets of a study are spelled."""
        if self.is_share:
            return f"{self.name}<={100 * self.limit:.10g}%"
        for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
            if self.limit >= size and self.name != LATENCY:
                return f"{self.name}<={self.limit / size:.12g}{unit}"
        return f"{self.name}<={self.limit:.12g}"


@dataclass(frozen=True)
class LossBound:
    """A bound on what may be lost against the full net.

    Args:
        metric: Name of the metric; empty is the task's first.
        most: What may be lost, >= 0: of ``pt`` in percentage points, of ``%`` in per cent of the
            full net's value, else in the metric's own unit.
        unit: ``pt``, ``%`` or empty.
        is_minimized: Whether the metric is taken for one of which less is better; None where it
            was not said.
    """

    metric: str
    most: float
    unit: Unit
    is_minimized: bool | None = None

    @property
    def text(self) -> str:
        """The bound as goals are spelled."""
        sense = "<=+" if self.is_minimized else ">=-"
        return f"{self.metric}{sense}{self.most:g}{self.unit}"

    def allow(self, of_full: float) -> float:
        """Return what may be lost in the metric's own unit, of what the full net has."""
        if self.unit == "%":
            return self.most / 100 * abs(of_full)
        return self.most / 100 if self.unit == "pt" else self.most


@dataclass(frozen=True)
class Goal:
    """What a smaller net is to be.

    Args:
        text: As the user spelled it.
        bounds: On footprints, at most one on each.
        losses: On metrics, at most one on each.
        aim: The superlative, or empty.
        is_front: Whether all of the front is asked for, and nothing else.
    """

    text: str
    bounds: tuple[SizeBound, ...] = ()
    losses: tuple[LossBound, ...] = ()
    aim: Aim = ""
    is_front: bool = False

    @property
    def shrinks(self) -> str:
        """The footprint that is to become as small as it can; empty where bounds are enough."""
        return SHRINKS.get(self.aim, "") if self.losses else ""

    @property
    def budget(self) -> str:
        """All bounds on footprints, as a budget of a study; empty without any."""
        return " and ".join(bound.text for bound in self.bounds)

    @property
    def sizes(self) -> tuple[str, ...]:
        """The footprints that it speaks of, the one that is to become small first."""
        names = (self.shrinks, *(bound.name for bound in self.bounds))
        return tuple(dict.fromkeys(name for name in names if name))

    def __str__(self) -> str:
        """Spell the goal in the one way that has no synonyms."""
        if self.is_front:
            return "front"
        aim = [self.aim] if self.aim else []
        return ", ".join([*aim, *(b.text for b in self.bounds), *(b.text for b in self.losses)])

    def fit(self, metrics: Sequence[Metric]) -> Goal:
        """Return the goal with every metric by its name, checked against those of a task.

        Args:
            metrics: Those of the task, the first one first.

        Raises:
            ConfigError: If it names another, or asks of one what it does not have.
        """
        losses = tuple(_fit(bound, metrics) for bound in self.losses)
        refuse_twice([bound.metric for bound in losses], [bound.text for bound in losses])
        return Goal(self.text, self.bounds, losses, self.aim, self.is_front)


def refuse_twice(names: Sequence[str], texts: Sequence[str]) -> None:
    """Raise if something is bounded twice.

    Raises:
        ConfigError: If so.
    """
    for place, name in enumerate(names):
        if name in names[:place]:
            first = texts[names.index(name)]
            raise ConfigError(
                f"a goal bounds {name or 'what may be lost'} once, got {first} and {texts[place]}; "
                "leave one of them"
            )


def _fit(bound: LossBound, metrics: Sequence[Metric]) -> LossBound:
    names = [metric.name for metric in metrics]
    name = bound.metric or names[0]
    if name not in names:
        near = difflib.get_close_matches(name, [*names, *FOOTPRINTS], n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ConfigError(
            f"goal: nothing is called {show(name)}; {hint}the task measures {', '.join(names)}, and "
            f"a net's size is {', '.join(FOOTPRINTS)}"
        )
    metric = metrics[names.index(name)]
    is_minimized = metric.direction == "minimize"
    fitted = LossBound(name, bound.most, bound.unit, is_minimized)
    # What is told in points may be asked for so: of torchmetrics' metrics no range is known.
    if bound.unit == "pt" and not (metric.is_share or is_share(name)):
        raise ConfigError(
            f"goal: {name} is no share and has no points; write {LossBound(name, 3, '%', is_minimized).text}"
        )
    if bound.is_minimized not in (None, is_minimized):
        sense = "less" if is_minimized else "more"
        raise ConfigError(f"goal: {sense} of {name} is better; write {fitted.text}")
    return fitted
