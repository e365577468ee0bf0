"""The runs of a comparison: read, named apart, and refused if they cannot be compared."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpod_search.errors import ConfigError
from dpod_search.figures.style import SERIES
from dpod_search.figures.style import Series
from dpod_search.figures.text import find_purpose
from dpod_search.figures.text import name_samples
from dpod_search.records.run import Run
from dpod_search.records.run import flatten
from dpod_search.records.run import read_run


# Where the pictures lie and how they came says nothing of what they are.
_PLACES = ("root", "download")


@dataclass(frozen=True, eq=False)
class NamedRun:
    """A run of a comparison.

    Args:
        name: What it is called on the page; no other run is called so.
        run: The run.
        style: How its lines and marks are drawn.
    """

    name: str
    run: Run
    style: Series

    @property
    def settings(self) -> Mapping[str, Any]:
        """The study file, in nested tables; empty if the folder has none."""
        return tomllib.loads(self.run.config or "")


def read_runs(folders: Sequence[Path]) -> tuple[NamedRun, ...]:
    """Read the runs to compare.

    Args:
        folders: At least two run folders in which the search stage has run.

    Returns:
        The runs, in the same order.

    Raises:
        ConfigError: If there are fewer than two or more than the styles tell apart, or if their
            objectives or data differ.
        RunFolderError: If the search stage has not run in one of them.
        CheckpointError: If a file is damaged.
    """
    if len({folder.resolve() for folder in folders}) != len(folders):
        raise ConfigError("a run folder is named twice; give each once")
    if not 2 <= len(folders) <= len(SERIES):
        raise ConfigError(
            f"compare takes 2 to {len(SERIES)} run folders, got {len(folders)}; name them one "
            "after the other, such as runs/first runs/second"
        )
    names = _name_apart(folders)
    found = [read_run(folder) for folder in folders]
    runs = tuple(
        NamedRun(_add_method(name, run), run, style)
        for name, run, style in zip(names, found, SERIES, strict=False)
    )
    for other in runs[1:]:
        _check_comparable(runs[0], other)
    return runs


def splits_differ(runs: Sequence[NamedRun]) -> bool:
    """Say whether the runs measured on different samples of the same data."""
    return len({_find_fingerprint(run) for run in runs}) > 1


def _name_apart(folders: Sequence[Path]) -> list[str]:
    paths = [folder.resolve() for folder in folders]
    for n_parts in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-n_parts:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]


def _add_method(name: str, run: Run) -> str:
    """Say how the widths were chosen where there was no search."""
    return name if run.oneshot is None else f"{name} ({run.oneshot.method}, no search)"


def _check_comparable(first: NamedRun, other: NamedRun) -> None:
    for what, tell in (
        ("task", _tell_task),
        ("objectives", _tell_objectives),
        ("data", _tell_data),
    ):
        told = tell(first), tell(other)
        if told[0] != told[1]:
            raise ConfigError(
                f"{first.name} and {other.name} cannot be compared: their {what} differ "
                f"({told[0]} against {told[1]}); compare runs of the same {what}"
            )
    has_same_seed = first.settings.get("seed") == other.settings.get("seed")
    prints = _find_fingerprint(first), _find_fingerprint(other)
    # Another seed splits the same samples otherwise; the same seed does not.
    if has_same_seed and None not in prints and prints[0] != prints[1]:
        raise ConfigError(
            f"{first.name} and {other.name} cannot be compared: their samples differ, though "
            "their data settings and seeds are the same; compare runs of the same samples"
        )


def _tell_task(named: NamedRun) -> str:
    arguments = flatten(named.settings.get("task", {}).get("arguments", {}), "")
    told = [f"{name} {value}" for name, value in arguments.items()]
    return ", ".join([find_purpose(named.run).name, *told])


def _tell_objectives(named: NamedRun) -> str:
    return ", ".join(f"{o.direction} {o.name}" for o in named.run.search.objectives)


def _tell_data(named: NamedRun) -> str:
    data = named.settings.get("data", {})
    kept = {key: value for key, value in flatten(data, "").items() if key not in _PLACES}
    told = [kept.pop("name", "data without a name")]
    told += [f"{key} {value}" for key, value in kept.items()]
    sizes = named.run.training.data.sizes if named.run.training else {}
    noun = name_samples(named.run)
    told += [f"{n} {name} {noun}s" for name, n in sizes.items()]
    return ", ".join(told)


def _find_fingerprint(named: NamedRun) -> str | None:
    return named.run.training.data.fingerprint if named.run.training else None
