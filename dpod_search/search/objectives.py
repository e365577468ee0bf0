"""What a search optimises: named numbers with a direction.

An objective either needs the subnet (it is measured, and costs time) or the widths alone (a
footprint, which is exact and costs nothing).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Hashable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from typing import Any
from typing import Literal
from typing import get_args

from dpod_search.errors import MAX_PROCESSES
from dpod_search.errors import MAX_SECONDS
from dpod_search.errors import ConfigError
from dpod_search.errors import DpodSearchError
from dpod_search.errors import ObjectiveError
from dpod_search.errors import check_count
from dpod_search.errors import check_range
from dpod_search.errors import name_nearest
from dpod_search.own_code import describe_error
from dpod_search.pareto import Direction
from dpod_search.widths import Widths


@dataclass(frozen=True)
class Objective:
    """One objective of a search.

    Args:
        name: Its name in studies, tables and figures.
        direction: Its sense.
        function: Called with the subnet or, for a footprint, with the widths. None for a
            footprint that the footprint model knows by this name, see
            :func:`~dpod_search.search.resolving.list_footprints`.
        needs: What the function takes.
        batches: Batches of (images, labels) that it is measured on, if there are any.

    Raises:
        ConfigError: If the name is empty, the direction is not one of Optuna's two, or an
            objective that needs the subnet has no function.
    """

    name: str
    direction: Direction
    function: Callable[[Any], float] | None = None
    needs: Literal["subnet", "footprint"] = "subnet"
    batches: Any = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Check what a user can get wrong."""
        if not self.name:
            raise ConfigError("an objective needs a name; set its attribute `name`")
        if self.direction not in get_args(Direction):
            raise ConfigError(
                f'objective {self.name} must have direction "minimize" or "maximize", '
                f"got {self.direction!r}; set its attribute `direction`"
            )
        if self.needs == "subnet" and self.function is None:
            raise ConfigError(f"objective {self.name} needs a function of the subnet")

    @property
    def is_measured(self) -> bool:
        """Whether the subnet has to run to know this objective."""
        return self.needs == "subnet"

    def to_json(self) -> dict[str, str]:
        """Return name and direction as JSON values."""
        return {"name": self.name, "direction": self.direction}


def Macs() -> Objective:  # noqa: N802  (reads as the value it returns)
    """Minimise multiply-adds for each sample, one multiply-add counting 1."""
    return Objective("macs", "minimize", needs="footprint")


def Params() -> Objective:  # noqa: N802  (as above)
    """Minimise the number of parameters."""
    return Objective("params", "minimize", needs="footprint")


def WeightBytes() -> Objective:  # noqa: N802  (as above)
    """Minimise the bytes that the weights take."""
    return Objective("weight_bytes", "minimize", needs="footprint")


def PeakBytes() -> Objective:  # noqa: N802  (as above)
    """Minimise the bytes of activations that are alive at once, at most, for each sample."""
    return Objective("peak_bytes", "minimize", needs="footprint")


def Accuracy(loader: Any) -> Objective:  # noqa: N802  (as above)
    """Maximise the share, in [0, 1], of a loader's samples that the subnet classifies rightly.

    Args:
        loader: Batches of (images, labels); the validation split, never the test split.
    """
    return TaskMetric("accuracy", loader, "classification")


def TaskMetric(name: str, loader: Any, task: Any) -> Objective:  # noqa: N802  (as above)
    """Improve a metric of a task, measured on a loader's samples.

    Args:
        name: One of the task's metrics, for instance ``"mean_iou"``.
        loader: Batches of (samples, targets); the validation split, never the test split.
        task: A task, or its name, as for ``train_supernet``.

    Raises:
        ConfigError: If there is no such task, or it has no such metric.
    """
    from dpod_search.tasks import find_metric
    from dpod_search.tasks import resolve_task

    aim = resolve_task(task)
    metric = find_metric(aim, name)
    return Objective(name, metric.direction, MetricValue(name, loader, aim), batches=loader)


@dataclass(frozen=True, eq=False)
class MetricValue:
    """A metric of a task as a function of a subnet; those of one loader are measured together.

    Args:
        name: Of the metric.
        loader: Batches of samples with targets.
        task: What is measured.
    """

    name: str
    loader: Any
    task: Any

    @property
    def shared(self) -> Hashable:
        """Equal for metrics that one run of the subnet gives."""
        return id(self.loader), id(type(self.task)), repr(self.task), repr(self.task.metrics)

    @property
    def called(self) -> str:
        """What messages call all of them."""
        return self.name

    def measure(self, subnet: Any) -> Mapping[str, float]:
        """Return all metrics of a subnet by name."""
        # Imported when it is needed, so that widths can be searched without a supernet.
        from dpod_search.evaluation import measure_metrics

        return measure_metrics(subnet, self.loader, self.task)

    def __call__(self, subnet: Any) -> float:
        """Return this metric of a subnet."""
        return float(self.measure(subnet)[self.name])


def ModelledLatency(model: Any) -> Objective:  # noqa: N802  (as above)
    """Minimise the milliseconds of a forward pass that a latency model says, at no cost.

    Args:
        model: From :func:`dpod_search.latency.fit_latency`.
    """
    return Objective("latency", "minimize", model.measure, needs="footprint")


def LatencyMs(  # noqa: N802  (as above)
    *,
    backend: str = "eager",
    batch_size: int = 1,
    n_threads: int | None = None,
    max_seconds: float = 1.0,
    images: Any = None,
) -> Objective:
    """Minimise the median milliseconds of a forward pass, measured on the machine of the search.

    The subnet is cut out as a plain module for it and run where the supernet is, in turn with a
    narrow one of the same supernet: what befalls both alike, such as a lower clock rate, cancels. Clocks are
    noisy all the same, and two measurements of one subnet differ.

    Args:
        backend: What runs the subnet: ``eager`` PyTorch, ``compile`` (``torch.compile``) or
            ``onnxruntime`` (the extra ``onnx``).
        batch_size: Pictures in a forward pass, 1 to 1,000,000.
        n_threads: CPU threads meanwhile, 1 to 1,024; None leaves their number as it is. With one
            thread processor time is counted, which neighbours on the machine disturb less.
        max_seconds: Time for one subnet, 0 to 1,000,000,000; less is taken if the median is
            certain before.
        images: What is run, shape (N, C, ...), in place of ``batch_size`` random pictures; for
            models that take anything but floating-point numbers.

    Raises:
        ConfigError: If a number is out of range, or the backend is unknown.
    """
    check_count("batch_size of LatencyMs", batch_size, low=1, high=1_000_000)
    check_range("max_seconds of LatencyMs", max_seconds, low=0, high=MAX_SECONDS)
    if n_threads is not None:
        check_count("n_threads of LatencyMs", n_threads, low=1, high=MAX_PROCESSES)
    from dpod_search.latency.settings import BACKEND_NAMES

    if backend not in BACKEND_NAMES:
        raise ConfigError(
            f"no latency backend is called {backend!r}; {name_nearest(backend, BACKEND_NAMES)}"
        )
    benches: dict[Any, Any] = {}  # one a device: what it found out about the machine stays

    def measure(subnet: Any) -> float:
        # Imported when it is needed, so that widths can be searched without a supernet.
        from dpod_search.latency import make_subnet_bench
        from dpod_search.latency import measure_subnet_latency

        device = subnet.placement.device
        if device not in benches:
            benches[device] = make_subnet_bench(
                subnet,
                backend=backend,
                batch_size=batch_size,
                n_threads=n_threads,
                images=images,
            )
        found = measure_subnet_latency(
            subnet,
            batch_size=batch_size,
            max_seconds=max_seconds,
            images=images,
            bench=benches[device],
        )
        return found.median_ms

    return Objective("latency_ms", "minimize", measure)


def check_objectives(objectives: Sequence[Objective]) -> tuple[Objective, ...]:
    """Return the objectives if there are one to four of them, each under its own name.

    Raises:
        ConfigError: If not.
    """
    names = [objective.name for objective in objectives]
    if not 1 <= len(names) <= 4:
        raise ConfigError(f"a search has one to four objectives, got {len(names)}")
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"objective {name} is given twice; drop one or rename it")
    return tuple(objectives)


def call_objective(objective: Objective, argument: object, widths: Widths) -> object:
    """Call an objective's function.

    Args:
        objective: The objective; it has a function.
        argument: What the function takes: a subnet, or the widths.
        widths: The widths of the subnet, for a message.

    Returns:
        Whatever it returned; see :func:`to_number`.

    Raises:
        ObjectiveError: If it raised anything but an error of this package, which passes.
    """
    assert objective.function is not None
    try:
        return objective.function(argument)
    except DpodSearchError:
        raise
    except Exception as error:  # a function of the user's may raise anything
        raise ObjectiveError(
            f"objective {objective.name} raised {describe_error(error)} (widths {widths}); "
            "mend it, and run the same again"
        ) from error


def to_number(value: object, objective: str) -> float:
    """Turn what an objective returned into a number (which may be NaN).

    Raises:
        ConfigError: If it is not a number.
    """
    if not isinstance(value, str | bytes | bool):
        try:
            return float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError, RuntimeError):  # the last is a tensor's of many elements
            pass
        except OverflowError:
            return math.inf
    raise ConfigError(f"objective {objective} must return a number, got {value!r}")
