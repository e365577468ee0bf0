"""One line a trial, every cell checked: ``trials.csv``."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpod_search.errors import CheckpointError
from dpod_search.files import read_bounded
from dpod_search.files import write_text
from dpod_search.records.record import fail
from dpod_search.records.record import locate
from dpod_search.records.search import COMPLETE
from dpod_search.records.search import FATES
from dpod_search.records.search import Search


@dataclass(frozen=True)
class Prediction:
    """What the surrogate said of one objective before the trial was evaluated.

    Args:
        value: Predicted value.
        low: Lower end of its interval; ``-inf`` if it has none.
        high: Upper end of its interval; ``inf`` if it has none.
    """

    value: float
    low: float
    high: float

    def covers(self, measured: float) -> bool:
        """Say whether a measured value lies in the interval."""
        return self.low <= measured <= self.high


@dataclass(frozen=True)
class Trial:
    """One line of ``trials.csv``.

    Args:
        number: The trial's number in the study.
        fate: One of :data:`FATES`.
        source: Who proposed it: ``path``, ``ladder``, ..., ``sampler``.
        generation: Generation of the sampler, or None.
        on_front: Whether it is on the searched front.
        values: Objectives and closed-form footprints that are known, by name.
        predicted: The surrogate's predictions, by objective.
        reason: Why it was pruned or failed; empty otherwise.
        seconds: What its evaluation took, or the whole trial if it was not evaluated; or None.
        widths: Active width by channel group.
    """

    number: int
    fate: str
    source: str
    generation: int | None
    on_front: bool
    values: Mapping[str, float]
    predicted: Mapping[str, Prediction]
    reason: str
    seconds: float | None
    widths: Mapping[str, int]

    @property
    def is_complete(self) -> bool:
        """Whether it has values; one that another program completed has no fate of that kind."""
        return self.fate in COMPLETE or self.on_front


FILE = "trials.csv"

_MAX_BYTES = 2**30

_FIRST = ("number", "fate", "source", "generation", "on_front")
_ENDS = ("", "_low", "_high")
_TRUE = ("true", "1", "yes")
_FALSE = ("false", "0", "no", "")


@dataclass(frozen=True)
class _Line:
    path: Path
    place: str
    cells: Mapping[str, str]

    def number(self, column: str, *, finite: bool = True) -> float | None:
        text = self.cells.get(column, "")
        if not text:
            return None
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if math.isnan(value) or (finite and math.isinf(value)):
            fail(self.path, f"{self.place}, {column}", "a number or empty", text)
        return value

    def integer(self, column: str) -> int | None:
        value = self.number(column)
        if value is not None and (value != int(value) or value < 0):
            fail(self.path, f"{self.place}, {column}", "a whole number >= 0", self.cells[column])
        return None if value is None else int(value)

    def needed(self, column: str) -> int:
        value = self.integer(column)
        if value is None:
            fail(self.path, f"{self.place}, {column}", "a whole number >= 0", "")
        return value

    def flag(self, column: str) -> bool:
        text = self.cells[column].strip().lower()
        if text not in _TRUE + _FALSE:
            fail(self.path, f"{self.place}, {column}", "true or false", self.cells[column])
        return text in _TRUE


def write_trials(
    run: Path, trials: Iterable[Trial], search: Search, predicted: Sequence[str]
) -> None:
    """Write the trials of a search.

    Args:
        run: The run folder.
        trials: The trials, ascending in number.
        search: What was searched.
        predicted: The objectives that have columns for predictions.

    Raises:
        CheckpointError: If the file cannot be written.
        RunFolderError: If there is a link in its place.
    """
    names, groups = _list_values(search), [group.name for group in search.groups]
    guesses = [f"predicted_{name}{end}" for name in predicted for end in _ENDS]
    widths = [f"width:{name}" for name in groups]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*_FIRST, *names, *guesses, "reason", "seconds", *widths])
    for trial in trials:
        told = [trial.predicted.get(name) for name in predicted]
        writer.writerow(
            [
                *(trial.number, trial.fate, trial.source, trial.generation, int(trial.on_front)),
                *(trial.values.get(name) for name in names),
                *(end for p in told for end in ((p.value, p.low, p.high) if p else [None] * 3)),
                *(trial.reason, None if trial.seconds is None else f"{trial.seconds:.6f}"),
                *(trial.widths[name] for name in groups),
            ]
        )
    write_text(locate(run, FILE), file.getvalue())


def _list_values(search: Search) -> list[str]:
    """List what each trial has values of: the objectives, then the other footprints."""
    return list(dict.fromkeys([*(o.name for o in search.objectives), *search.footprints]))


def read_trials(run: Path, search: Search) -> tuple[Trial, ...]:
    """Read the trials of a search.

    Args:
        run: The run folder.
        search: What was searched: the objectives and groups that name the columns.

    Returns:
        The trials, ascending in number.

    Raises:
        CheckpointError: If a column is missing or a cell cannot be what its column says.
        RunFolderError: If there is a link in its place.
    """
    path = locate(run, FILE)
    try:
        # strict: a quote that is left open is an error, not a cell that eats the rest.
        text = read_bounded(path, _MAX_BYTES).decode()
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        _check_columns(path, reader.fieldnames or (), search)
        trials = [_read_line(path, i, cells, search) for i, cells in enumerate(reader, 2)]
    except (csv.Error, ValueError) as error:
        raise CheckpointError(
            f"{path} is damaged ({error}); delete it and run the search stage again"
        ) from error
    numbers = [trial.number for trial in trials]
    if len(set(numbers)) != len(numbers):
        double = next(number for number in numbers if numbers.count(number) > 1)
        fail(path, "number", "different on every line", double)
    return tuple(sorted(trials, key=lambda trial: trial.number))


def _check_columns(path: Path, columns: Sequence[str], search: Search) -> None:
    widths = (f"width:{group.name}" for group in search.groups)
    for column in (*_FIRST, *_list_values(search), "reason", "seconds", *widths):
        if column not in columns:
            fail(path, "the first line", f"the columns, with {column!r} among them", list(columns))


def _read_line(path: Path, i: int, cells: dict[str | Any, str | Any], search: Search) -> Trial:
    line = _Line(path, f"line {i}", cells)
    if None in cells or None in cells.values():
        fail(path, line.place, "as many cells as the first line has", list(cells.values()))
    if cells["fate"] not in FATES:
        fail(path, f"{line.place}, fate", f"one of {', '.join(FATES)}", cells["fate"])
    values = {name: line.number(name) for name in _list_values(search)}
    return Trial(
        number=line.needed("number"),
        fate=cells["fate"],
        source=cells["source"],
        generation=line.integer("generation"),
        on_front=line.flag("on_front"),
        values={name: value for name, value in values.items() if value is not None},
        predicted=_read_predictions(line, search),
        reason=cells["reason"],
        seconds=line.number("seconds"),
        widths={group.name: line.needed(f"width:{group.name}") for group in search.groups},
    )


def _read_predictions(line: _Line, search: Search) -> dict[str, Prediction]:
    predicted = {}
    for objective in search.objectives:
        column = f"predicted_{objective.name}"
        value = line.number(column)
        if value is None:
            continue
        # An interval calibrated on too few trials has no ends; the search writes inf or nothing.
        low = line.number(f"{column}_low", finite=False)
        high = line.number(f"{column}_high", finite=False)
        predicted[objective.name] = Prediction(
            value, -math.inf if low is None else low, math.inf if high is None else high
        )
    return predicted
