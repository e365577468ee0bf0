"""Metrics that come from outside: any of torchmetrics, and functions of the user's own.

They follow a task's own metrics, and are made anew for every net that is measured.
"""

from __future__ import annotations

import copy
import importlib.util
import inspect
import math
import re
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from typing import Any
from typing import get_args
from typing import overload

from torch import nn

from dpod_search.errors import ConfigError
from dpod_search.errors import name_nearest
from dpod_search.errors import show
from dpod_search.imports import call_with
from dpod_search.imports import import_object
from dpod_search.own_code import own_code
from dpod_search.pareto import Direction
from dpod_search.tasks.task import Metric


LIBRARY = "torchmetrics"

_KEYS = ("metric", "name", "direction", "arguments", "whole")
_SIZES = ("num_classes", "num_labels")
# For a trial before any data are seen: as many as let other arguments, such as top_k, be right.
_MANY = 1000


@dataclass(frozen=True)
class OutsideMetric(Metric):
    """A metric that a task was given.

    Args:
        source: Its class, one that is made, or a function of outputs and targets.
        arguments: Of the class.
        whole: Whether it is given outputs and targets in their shape, and not place by place.
        called: What tells it from others.
    """

    source: Any = field(default=None, repr=False, kw_only=True)
    arguments: Mapping[str, Any] = field(default_factory=dict, hash=False, kw_only=True)
    whole: bool = field(default=False, kw_only=True)
    called: str = field(default="", compare=False, kw_only=True)

    def make(self, n_classes: int) -> Any:
        """Return a metric of torchmetrics that has seen nothing, or the function."""
        return _make(self.source, self.arguments, n_classes, self.name)


class TakenMetrics:
    """A task's ``metrics``: its own, and behind them those that it is given.

    Args:
        *own: What the task measures in any case.
    """

    def __init__(self, *own: Metric) -> None:
        """Keep the task's own."""
        self.own = own

    def __repr__(self) -> str:
        """Look like the default of an argument: nothing is given."""
        return "()"

    @overload
    def __get__(self, task: None, kind: type) -> tuple[Metric, ...]: ...
    @overload
    def __get__(self, task: object, kind: type) -> tuple[Metric, ...]: ...
    def __get__(self, task: object | None, kind: type) -> tuple[Metric, ...]:
        """Return all of a task, or the own ones of its class."""
        return self.own if task is None else task.__dict__.get("metrics", self.own)

    def __set__(self, task: object, given: Sequence[object]) -> None:
        """Take what a task is given, once, when it is made.

        Raises:
            ConfigError: If one cannot be a metric, or its name is taken.
        """
        entries: object = given
        if isinstance(entries, TakenMetrics):  # nothing was given
            task.__dict__["metrics"] = self.own
            return
        if isinstance(entries, str | Mapping) or not isinstance(entries, Sequence):
            raise ConfigError(f"a task's metrics must be a list, got {show(entries)}")
        # A task that is made of another one is given that one's own, too.
        more = [adapt_metric(entry) for entry in entries if not self._is_own(entry)]
        names = [metric.name for metric in self.own]
        for metric in more:
            if metric.name in names:
                raise ConfigError(
                    f"the task has a metric {metric.name} already; call one otherwise: "
                    f'{{ metric = "{metric.called}", name = "..." }}'
                )
            names.append(metric.name)
        task.__dict__["metrics"] = (*self.own, *more)

    def _is_own(self, entry: object) -> bool:
        # The type first, for metrics of torchmetrics equal whatever they are asked about.
        return type(entry) is Metric and entry in self.own


class TakesMetrics:
    """A task that can be given metrics, and whose subclasses may name others as their own."""

    def __init_subclass__(cls) -> None:
        """Let ``metrics = (...)`` of a subclass be its own ones."""
        super().__init_subclass__()
        own = cls.__dict__.get("metrics")
        if isinstance(own, tuple):
            cls.metrics = TakenMetrics(*own)  # type: ignore[attr-defined]  # of its subclasses


def adapt_metric(entry: object) -> OutsideMetric:
    """Make a metric of what a task was given.

    Args:
        entry: An import path, as ``torchmetrics:classification.MulticlassF1Score``; a metric of
            torchmetrics, or its class; a function ``(outputs, targets) -> float``; or a table that
            has one of these as ``metric`` and any of ``name``, ``direction``, ``arguments`` and
            ``whole``.

    Raises:
        ConfigError: If it is none of these, or its direction is not known.
    """
    if isinstance(entry, OutsideMetric):
        return entry
    told: Mapping[str, Any] = entry if isinstance(entry, Mapping) else {"metric": entry}
    _check_keys(told)
    source, arguments, whole = told["metric"], told.get("arguments", {}), told.get("whole", False)
    if not isinstance(arguments, Mapping) or not isinstance(whole, bool):
        raise ConfigError(
            f"of a task's metric {show(source)} arguments must be a table and whole true or false"
        )
    path = source if isinstance(source, str) else ""
    if path:
        source = _import_metric(path)
    called = path or getattr(source, "__qualname__", type(source).__name__)
    if isinstance(source, Metric) or not callable(source):
        raise ConfigError(
            f"a task's metric must be one of torchmetrics, its import path, or a function of outputs "
            f"and targets; got {show(source)}"
        )
    made = _make(source, arguments, _MANY, called)
    return OutsideMetric(
        told["name"] if "name" in told else _find_name(made),
        _find_direction(told, made, called),
        low=-math.inf,
        source=source,
        arguments=dict(arguments),
        whole=whole,
        called=path or f"{called} at {id(source):#x}",
    )


def runs_own_code(entries: object) -> bool:
    """Say whether metrics of a study file name a module of the user's."""
    given = entries if isinstance(entries, list | tuple) else ()
    named = [each.get("metric") if isinstance(each, Mapping) else each for each in given]
    return any(isinstance(path, str) and not _is_of_library(path) for path in named)


def is_stateful(source: object) -> bool:
    """Say whether something adds up batches as a metric of torchmetrics does, or is its class."""
    return all(callable(getattr(source, name, None)) for name in ("update", "compute", "reset"))


def _check_keys(told: Mapping[str, Any]) -> None:
    for key in told:
        if key not in _KEYS:
            raise ConfigError(
                f"a task's metric has no {show(key)}; {name_nearest(str(key), _KEYS)}"
            )
    if "metric" not in told:
        raise ConfigError(f"a task's metric must say which `metric` it is, got {show(told)}")


def _import_metric(path: str) -> Any:
    if _is_of_library(path) and not importlib.util.find_spec(LIBRARY):
        raise ConfigError(
            f"metric {show(path)} needs {LIBRARY}, which is not installed; "
            'pip install "dpod-search[metrics]"'
        )
    return import_object(path)


def _is_of_library(path: str) -> bool:
    return path.partition(":")[0].partition(".")[0] == LIBRARY


def _make(source: Any, arguments: Mapping[str, Any], n_classes: int, called: str) -> Any:
    if not isinstance(source, type):
        if arguments:
            raise ConfigError(
                f"metric {called} is made and takes no arguments, got {', '.join(arguments)}"
            )
        return _make_anew(source) if is_stateful(source) else source
    takes = inspect.signature(source).parameters
    sizes = {name: n_classes for name in _SIZES if name in takes}
    with own_code(f"metric {called}", ConfigError):
        made = call_with(source, {**sizes, **arguments}, name=f"metric {called}")
        return _make_anew(made) if is_stateful(made) else made


def _make_anew(metric: Any) -> Any:
    fresh = copy.deepcopy(metric)
    fresh.reset()
    # Nets are measured by one process, also where several train: the others would be waited for.
    parts: Iterable[Any] = fresh.modules() if isinstance(fresh, nn.Module) else ()
    for part in parts:
        if is_stateful(part):
            part.distributed_available_fn = _is_distributed
    return fresh


def _is_distributed() -> bool:
    return False


def _find_name(made: Any) -> str:
    name = getattr(made, "name", None) or getattr(made, "__name__", None) or type(made).__name__
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", str(name)).lower()


def _find_direction(told: Mapping[str, Any], made: Any, called: str) -> Direction:
    direction = told.get("direction", getattr(made, "direction", None))
    is_higher = getattr(made, "higher_is_better", None)
    if direction is None and is_higher is not None:
        direction = "maximize" if is_higher else "minimize"
    if direction not in get_args(Direction):
        raise ConfigError(
            f"metric {called} does not say which direction is better; say it: "
            f'{{ metric = "{called}", direction = "maximize" }}, or "minimize"'
        )
    found: Direction = direction
    return found
