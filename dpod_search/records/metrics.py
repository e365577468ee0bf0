"""What a task measures, and how its numbers stand in the files of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import PlainValidator
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError

from dpod_search.pareto import Direction
from dpod_search.quantities import comparison
from dpod_search.records.record import NOTHING
from dpod_search.records.record import Flag
from dpod_search.records.record import Record
from dpod_search.records.record import Text
from dpod_search.records.record import check_number
from dpod_search.records.record import one_of
from dpod_search.records.record import refuse


_USUAL = "accuracy"


def check_metrics(before: str = "", behind: str = "", *, may_lack: bool = False) -> PlainValidator:
    """Return what takes the metrics of a net by their names, and tells of a wrong one as it stands.

    Args:
        before: What stands before each name in the file.
        behind: What stands behind it.
        may_lack: Whether None is a value too, and nothing at all.
    """

    def check(value: object) -> Mapping[str, float | None]:
        if not isinstance(value, Mapping) or (not value and not may_lack):
            raise refuse("a number", at=f"../{before}{_USUAL}{behind}", got=NOTHING)
        for name, number in value.items():
            if number is None and may_lack:
                continue
            try:
                check_number(number)
            except PydanticCustomError as error:
                told = str((error.context or {})["wanted"])
                raise refuse(told, at=f"../{before}{name}{behind}", got=number) from None
        return value

    return PlainValidator(check)


# What stands before and behind the names of metrics.
ALONE, BEFORE = ("", ""), ("", "_before")
VALIDATION, VALIDATION_BEFORE = ("validation_", ""), ("validation_", "_before")
TEST, TEST_BEFORE = ("test_", ""), ("test_", "_before")

Metrics = Annotated[Mapping[str, float], check_metrics(*ALONE)]
MetricsBefore = Annotated[Mapping[str, float], check_metrics(*BEFORE)]
OnValidation = Annotated[Mapping[str, float], check_metrics(*VALIDATION)]
OnValidationBefore = Annotated[Mapping[str, float], check_metrics(*VALIDATION_BEFORE)]
OnTest = Annotated[Mapping[str, float], check_metrics(*TEST)]
OnTestBefore = Annotated[Mapping[str, float], check_metrics(*TEST_BEFORE)]


@dataclass(frozen=True, kw_only=True)
class Aim(Record):
    """One metric of a task.

    Args:
        name: Its name.
        direction: ``minimize`` or ``maximize``.
    """

    name: Text
    direction: Annotated[Direction, one_of("minimize", "maximize")]

    def gain(self, metrics: Mapping[str, float]) -> float:
        """Return the metric of a net, or its opposite where less is better."""
        value = metrics[self.name]
        return value if self.direction == "maximize" else -value

    def lose(self, full: Mapping[str, float], metrics: Mapping[str, float]) -> float:
        """Return by how much a net is worse than the full net."""
        return self.gain(full) - self.gain(metrics)

    def compare(self, full: Mapping[str, float], metrics: Mapping[str, float]) -> str:
        """Say in words how a net compares with the full net: ``1.9 points less accurate``."""
        lost = self.lose(full, metrics)
        return comparison(self.name, lost, is_maximized=self.direction == "maximize")


@dataclass(frozen=True, kw_only=True)
class Purpose(Record):
    """What a run's nets are for.

    Args:
        name: Of the task.
        metrics: What it measures; nets are compared by the first.
        counts_samples: Whether the first is a share of samples, of which intervals are known.
    """

    name: Text
    metrics: tuple[Aim, ...]
    counts_samples: Flag = False

    @property
    def first(self) -> Aim:
        """The metric by which nets are compared."""
        return self.metrics[0]


CLASSIFICATION = Purpose(
    name="classification",
    metrics=(Aim(name=_USUAL, direction="maximize"),),
    counts_samples=True,
)
