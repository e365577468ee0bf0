"""From a run folder to a :class:`Run`, and what is known of the machine."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pydantic.dataclasses import dataclass as checked

from dpod_search.errors import CheckpointError
from dpod_search.errors import RunFolderError
from dpod_search.files import parse_toml
from dpod_search.files import read_bounded
from dpod_search.records import exported
from dpod_search.records.exported import ExportedModel
from dpod_search.records.exported import Manifest
from dpod_search.records.front import FinetunedFront
from dpod_search.records.latency import LatencyFit
from dpod_search.records.markers import check_run
from dpod_search.records.oneshot import OneShot
from dpod_search.records.record import Count
from dpod_search.records.record import FileRecord
from dpod_search.records.record import Positive
from dpod_search.records.record import Text
from dpod_search.records.record import fail
from dpod_search.records.record import locate
from dpod_search.records.search import Search
from dpod_search.records.training import Profile
from dpod_search.records.training import ShrinkingPath
from dpod_search.records.training import Training
from dpod_search.records.trials import Trial
from dpod_search.records.trials import read_trials


_MAX_CONFIG = 2**20  # bytes


@checked(frozen=True, kw_only=True)
class Environment(FileRecord):
    """What a run was made with: ``environment.json``; it names neither user nor host.

    Args:
        python: Version of Python.
        platform: Operating system.
        processor: Architecture of the CPU.
        n_cores: Cores of the CPU, or None if that is not known.
        n_threads: PyTorch's threads.
        cuda: Name of the GPU, or None.
        versions: Of the packages that results depend on.
    """

    FILE: ClassVar[str] = "environment.json"

    python: Text
    platform: Text
    processor: Text
    n_cores: Count | None
    n_threads: Positive
    cuda: Text | None
    versions: Mapping[str, Text]


@dataclass(frozen=True)
class Run:
    """A run folder, read and checked. What a stage that has not run would write is None.

    Args:
        folder: The run folder.
        search: ``search.json``.
        trials: ``trials.csv``, ascending in number.
        training: ``training.json``, or None.
        path: The profiles of ``path.json``, or None.
        front: ``front.json``, or None.
        exported: The models of ``exported/manifest.json``, or None.
        config: The text of ``config.toml``, or None.
        environment: ``environment.json`` with dotted names, or None.
        latency: ``latency.json``, or None where no latency was modelled.
        oneshot: ``oneshot.json``, or None where widths were searched.
    """

    folder: Path
    search: Search
    trials: tuple[Trial, ...]
    training: Training | None
    path: tuple[Profile, ...] | None
    front: FinetunedFront | None
    exported: tuple[ExportedModel, ...] | None
    config: str | None
    environment: Mapping[str, str] | None
    latency: LatencyFit | None = None
    oneshot: OneShot | None = None


def read_run(folder: Path) -> Run:
    """Read what the stages of a run have written.

    Args:
        folder: The run folder, ``runs/<study>``.

    Returns:
        The run; what a later stage would have written is None if that stage has not run.

    Raises:
        RunFolderError: If the search stage has not run there.
        CheckpointError: If a file is damaged.
    """
    for name in ("search.json", "trials.csv"):
        if not (folder / name).is_file():
            raise RunFolderError(
                f"{folder} has no {name}: the search stage has not run there; "
                "run `dpod-search search` on this study first, or give another run folder"
            )
    check_run(folder)
    search = Search.read(folder)
    trials = read_trials(folder, search)
    unknown = set(search.front) - {trial.number for trial in trials}
    if unknown:
        fail(folder / "search.json", "front", "trials of trials.csv", sorted(unknown))
    config = _read_config(locate(folder, "config.toml"))
    front = FinetunedFront.read_if_there(folder, search=search)
    path = ShrinkingPath.read_if_there(folder, search=search)
    environment = Environment.read_if_there(folder)
    manifest = Manifest.read_if_there(folder, exported.FOLDER)
    return Run(
        folder=folder,
        search=search,
        trials=trials,
        training=Training.read_if_there(folder),
        path=None if path is None else path.profiles,
        front=front and front.of_search(folder / front.FILE, search, trials),
        exported=None if manifest is None else manifest.of_search(trials),
        config=config,
        environment=None if environment is None else flatten(environment.to_json(), ""),
        latency=(
            LatencyFit.read_if_there(folder)
            if "latency" in search.footprints
            else None  # of an earlier search, which modelled latency
        ),
        oneshot=(
            OneShot.read_if_there(folder, search=search)
            if _may_be_oneshot(config)
            else None  # of an earlier run in this folder, which did not search
        ),
    )


def _may_be_oneshot(config: str | None) -> bool:
    if config is None:
        return True
    settings = tomllib.loads(config).get("oneshot")
    return bool(settings.get("method")) if isinstance(settings, dict) else False


def _read_config(path: Path) -> str | None:
    if not path.is_file():
        return None
    try:
        text = read_bounded(path, _MAX_CONFIG).decode()
        parse_toml(text)
    except ValueError as error:
        raise CheckpointError(
            f"{path} is damaged ({error}); delete it and run the same command again"
        ) from error
    return text


def flatten(value: object, name: str) -> dict[str, str]:
    """Return nested tables as one, with dotted names and the values as text.

    Args:
        value: Dictionaries of dictionaries, or a value.
        name: What ``value`` is called; empty at the top.
    """
    if isinstance(value, dict):
        flat: dict[str, str] = {}
        for key, inner in value.items():
            flat |= flatten(inner, f"{name}.{key}" if name else str(key))
        return flat
    if value is None:
        return {name: "–"}
    return {name: ", ".join(map(str, value)) if isinstance(value, list) else str(value)}
