"""Objectives made of what a user gave: names, callables, and paths to them."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING
from typing import Any

from dpod_search.errors import ConfigError
from dpod_search.errors import DpodSearchError
from dpod_search.errors import ObjectiveError
from dpod_search.errors import name_nearest
from dpod_search.errors import shorten
from dpod_search.imports import import_object
from dpod_search.own_code import describe_error
from dpod_search.search.evaluations import Evaluation
from dpod_search.search.objectives import LatencyMs
from dpod_search.search.objectives import Objective
from dpod_search.search.objectives import TaskMetric
from dpod_search.search.objectives import check_objectives


if TYPE_CHECKING:
    from dpod_search.latency import LatencySettings
    from dpod_search.tasks import Task


def list_footprints() -> tuple[str, ...]:
    """Return the names of the footprints that can be objectives by name, in their order."""
    # Imported when it is needed, so that widths can be searched without a supernet.
    from dpod_search.footprint import METRICS

    return tuple(METRICS)


def resolve_objective(
    spec: object,
    *,
    loader: Any = None,
    latency: LatencySettings | None = None,
    task: Task | None = None,
) -> Objective:
    """Make an objective of what a user gave.

    Args:
        spec: An :class:`Objective`; a callable with the attribute ``direction`` and, if it is
            to be called otherwise, ``name`` (it takes the subnet, or the widths if its
            attribute ``needs`` is ``"widths"``); a name (a metric of the task, such as
            ``"accuracy"``; ``"latency_ms"``; or one of :func:`list_footprints`); or
            ``"package.module:name"`` of a callable, or of a class that needs no arguments.
        loader: Validation batches, for metrics.
        latency: How ``"latency_ms"`` is measured; None as :func:`LatencyMs` does.
        task: What the model is trained for; classification by default.

    Returns:
        The objective.

    Raises:
        ConfigError: If it is none of these, or its direction is missing or not valid.
    """
    if isinstance(spec, Objective):
        return spec
    if isinstance(spec, str):
        return _resolve_name(spec, loader, latency, task)
    if isinstance(spec, type):
        spec = _instantiate(spec)
    if not callable(spec):
        raise ConfigError(f"an objective must be callable or a name, got {spec!r}")
    name = getattr(spec, "name", None) or getattr(spec, "__name__", type(spec).__name__)
    needs = getattr(spec, "needs", "subnet")
    if needs not in ("subnet", "widths"):
        raise ConfigError(
            f'attribute `needs` of objective {name} must be "subnet" or "widths", got {needs!r}'
        )
    direction: Any = getattr(spec, "direction", None)
    return Objective(str(name), direction, spec, "footprint" if needs == "widths" else "subnet")


def resolve_objectives(
    specs: Sequence[object],
    *,
    loader: Any = None,
    latency: LatencySettings | None = None,
    task: Task | None = None,
) -> tuple[Objective, ...]:
    """Make the objectives of a study of what a user gave; see :func:`resolve_objective`.

    One of them may stand for several: an :class:`Evaluation`, or a callable with the attribute
    ``directions``, which is made one; or the import path of either.

    Raises:
        ConfigError: Also if there are none, more than four, or two of one name, or if what is
            given is no list.
    """
    if isinstance(specs, str) or not isinstance(specs, Iterable):
        raise ConfigError(f"objectives must be a list, got {specs!r}; put it in brackets")
    return check_objectives(
        [found for spec in specs for found in _resolve_all(spec, loader, latency, task)]
    )


def _resolve_all(
    spec: object, loader: Any, latency: LatencySettings | None, task: Task | None
) -> tuple[Objective, ...]:
    if isinstance(spec, str) and ":" in spec:
        spec = import_object(spec)
    if isinstance(spec, type):
        spec = _instantiate(spec)
    if isinstance(spec, Evaluation):
        return spec.objectives
    directions: Any = getattr(spec, "directions", None)
    if callable(spec) and directions is not None:
        return Evaluation(spec, directions).objectives
    return (resolve_objective(spec, loader=loader, latency=latency, task=task),)


def _resolve_task(task: Task | None) -> Task:
    # Imported when it is needed, so that widths can be searched without a supernet.
    from dpod_search.tasks import Classification

    return Classification() if task is None else task


def _make_metric(name: str, loader: Any, task: Task) -> Objective:
    if loader is None:
        advice = (
            "Accuracy(loader)" if name == "accuracy" else f'TaskMetric("{name}", loader, task)'
        )
        raise ConfigError(f"objective {name} needs validation data; pass {advice}")
    return TaskMetric(name, loader, task)


def _make_latency_ms(latency: LatencySettings | None) -> Objective:
    if latency is None:
        return LatencyMs()
    return LatencyMs(
        backend=latency.backend,
        batch_size=latency.batch_size,
        n_threads=latency.n_threads,
        max_seconds=latency.seconds,
    )


# What is measured without looking at the data, by name: a new one is a line here.
_MEASURED: Mapping[str, Callable[[LatencySettings | None], Objective]] = MappingProxyType(
    {"latency_ms": _make_latency_ms}
)


def _resolve_name(
    name: str, loader: Any, latency: LatencySettings | None, task: Task | None
) -> Objective:
    if ":" in name:
        return resolve_objective(import_object(name))
    footprints = (*list_footprints(), "latency")
    if name in footprints:
        return Objective(name, "minimize", needs="footprint")
    if name in _MEASURED:
        return _MEASURED[name](latency)
    aim = _resolve_task(task)
    metrics = [metric.name for metric in aim.metrics]
    if name not in metrics:
        known = [*metrics, *_MEASURED, *footprints, "package.module:name"]
        raise ConfigError(f"no objective is called {shorten(name)}; {name_nearest(name, known)}")
    return _make_metric(name, loader, aim)


def _instantiate(cls: type) -> object:
    try:
        return cls()
    except DpodSearchError:
        raise
    except TypeError as error:
        raise ConfigError(
            f"objective {cls.__name__} cannot be made without arguments ({error}); "
            "pass an instance of it"
        ) from error
    except Exception as error:  # a class of the user's may raise anything
        raise ObjectiveError(
            f"objective {cls.__name__} cannot be made: {describe_error(error)}; mend it"
        ) from error
