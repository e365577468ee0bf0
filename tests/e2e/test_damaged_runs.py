"""Whatever happens to a file of a run folder: one line, or the same results; never others.

Every file of a finished run, of one that was interrupted while it finetuned, and of one that was
interrupted while it trained, is cut in half, filled with zeros, changed in one bit or one digit,
deleted, and replaced by that of a run with another seed. The commands then run in this process.
"""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pipeline.tiny import copy_run
from pipeline.tiny import find_finished
from pipeline.tiny import load_tiny

from dpod_search.errors import DpodSearchError
from dpod_search.pipeline import read_status
from dpod_search.pipeline import run_stages
from dpod_search.training import CheckpointFile


pytestmark = pytest.mark.e2e

# Damage that is not noticed yet, or noticed by a traceback, because of the format of the file:
# (file, damage). The number may fall and must not grow.
WAITING = frozenset(
    {
        # The study and the machine as the report shows them: nothing says how they were written.
        ("config.toml", "truncate"),
        ("config.toml", "digit"),
        ("environment.json", "digit"),
    }
)
N_WAITING = 3

# What every run of a study ends with, to the bit.
RESULTS = (
    "supernet.safetensors",
    "path.json",
    "search.json",
    "front.json",
    "finetuned/*/model.safetensors",
    "exported/manifest.json",
    "exported/*/model.*",
)
OFTEN = ("training.checkpoint_seconds=0", "finetune.checkpoint_seconds=0")
N_DEFAULT = 2  # damages a file, of the six, in the default run


@dataclass(frozen=True)
class Kind:
    """A run to damage.

    Args:
        stages: What is run again.
        leaves_off: It was interrupted after so many checkpoints in this folder of the run.
    """

    stages: tuple[str, ...]
    leaves_off: tuple[str, int] | None = None


KINDS = {
    "finished": Kind(("train", "search", "finetune", "export", "report")),
    "finetuning": Kind(("train", "search", "finetune"), ("finetuned", 12)),
    "training": Kind(("train",), (".", 9)),
}


def make_run(kind: Kind, folder: Path, *overrides: str) -> Path:
    """Run the tiny study as far as a kind of run goes."""
    if kind.leaves_off is None:
        run_stages(load_tiny(*overrides), folder)
        return folder
    place, n_left = kind.leaves_off
    save = CheckpointFile.save

    def save_and_stop(checkpoint: CheckpointFile, *arguments: Any) -> None:
        nonlocal n_left
        save(checkpoint, *arguments)
        n_left -= checkpoint.path.parent == folder / place
        if n_left < 0:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(CheckpointFile, "save", save_and_stop)
        run_stages(load_tiny(*OFTEN, *overrides), folder)
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return find_finished(tmp_path_factory)


def damage(file: Path, how: str, other: Path) -> bool:
    """Damage a file; say whether it is another one now."""
    data = file.read_bytes()
    changed: bytes | bytearray
    if how == "delete":
        file.unlink()
        return True
    if how == "swap":
        changed = other.read_bytes() if other.is_file() else data
    elif how in ("flip", "digit"):
        draw = random.Random(f"{file.name} {how}")
        places = [i for i, byte in enumerate(data) if how == "flip" or byte in b"012345678"]
        changed = bytearray(data)
        for place in draw.sample(places, min(1, len(places))):
            changed[place] += 1 if how == "digit" else 0
            changed[place] ^= 0 if how == "digit" else 1 << draw.randrange(8)
    else:
        changed = data[: len(data) // 2] if how == "truncate" else bytes(len(data))
    file.write_bytes(changed)
    return changed != data


DAMAGES = ("truncate", "zero", "flip", "digit", "delete", "swap")


def list_files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def choose_damages(number: int, *, is_whole: bool) -> tuple[str, ...]:
    """Return the damages that a file meets: all, or some that its neighbours do not."""
    if is_whole:
        return DAMAGES
    return tuple(DAMAGES[(N_DEFAULT * number + i) % len(DAMAGES)] for i in range(N_DEFAULT))


def try_to(do: Callable[[], Any]) -> tuple[bool, Any]:
    """Return whether something was done and what came of it; one line if it was refused."""
    try:
        return True, do()
    except DpodSearchError as error:
        text = str(error)
        return False, "several lines" if "\n" in text else text
    except Exception as error:  # noqa: BLE001  (that is what is looked for)
        return False, error


def find_faults(run: Path, clean: Path, whole: Path, kind: Kind, *, is_gone: bool) -> list[str]:
    """Run the commands on a damaged run, and return what is wrong with what came of it.

    Args:
        run: The damaged run.
        clean: The run as it was.
        whole: The finished run, whose results are expected.
        kind: Which it is.
        is_gone: A file was deleted: there is less to tell.
    """
    faults = []
    is_told, status = try_to(lambda: read_status(run))
    if not is_told:
        faults += explain("status", status)
    else:
        expected = read_status(clean)
        names = ("study", "counts", "audit", "n_front", "budgets")
        told = {name: status[name] for name in names if name in status}
        if told != {name: expected.get(name) for name in told}:
            faults.append("status: tells of others")
    if kind.leaves_off is None:
        page = (clean / "report.html").read_bytes()
        is_written, error = try_to(lambda: run_stages(load_tiny(), run, stages=["report"]))
        if not is_written:
            faults += explain("report", error)
        elif not is_gone and (run / "report.html").read_bytes() != page:
            faults.append("report: another page")
    is_run, error = try_to(lambda: run_stages(load_tiny(*OFTEN), run, stages=kind.stages))
    if not is_run:
        return faults + explain("run", error)
    return faults + [f"run: another {name}" for name in find_others(run, whole)]


def explain(command: str, error: object) -> list[str]:
    """Return the fault of a refusal: none, if it is one line."""
    if isinstance(error, BaseException):
        return [f"{command}: {type(error).__name__}: {error}"]
    return [f"{command}: several lines"] if error == "several lines" else []


def find_others(run: Path, whole: Path) -> Iterator[str]:
    """Yield the results of a run that are not those of the whole one."""
    for file in (file for name in RESULTS for file in sorted(run.glob(name))):
        expected = whole / file.relative_to(run)
        if not expected.is_file() or file.read_bytes() != expected.read_bytes():
            yield str(file.relative_to(run))
    if read_training(run) != read_training(whole):
        yield "training.json"
    if (run / "trials.csv").is_file() and read_trials(run) != read_trials(whole):
        yield "trials.csv"


def read_training(run: Path) -> dict[str, Any]:
    return {**json.loads((run / "training.json").read_text()), "seconds": None}


def read_trials(run: Path) -> list[dict[str, str]]:
    with (run / "trials.csv").open() as file:
        return [{**row, "seconds": ""} for row in csv.DictReader(file)]


def attack(
    name: str, finished: Path, tmp_path_factory: pytest.TempPathFactory, *, is_whole: bool
) -> list[str]:
    """Damage every file of a run, one at a time, and return what came of it that must not."""
    kind, scratch = KINDS[name], tmp_path_factory.mktemp(name)
    clean = finished if kind.leaves_off is None else make_run(kind, scratch / "clean")
    other = make_run(kind, scratch / "other", "seed=1")
    faults, n_damaged = [], 0
    for number, file in enumerate(list_files(clean)):
        for how in choose_damages(number, is_whole=is_whole):
            run = copy_run(clean, scratch / f"{number}-{how}")
            if (file, how) in WAITING or not damage(run / file, how, other / file):
                continue
            n_damaged += 1
            found = find_faults(run, clean, finished, kind, is_gone=how == "delete")
            faults += [f"{file}, {how}: {fault}" for fault in found]
    assert n_damaged >= len(list_files(clean))
    return faults


@pytest.mark.parametrize("name", KINDS)
def test_a_damaged_file_is_one_line_or_the_same_results(
    finished: Path, tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    assert attack(name, finished, tmp_path_factory, is_whole=False) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_all_damage_is_one_line_or_the_same_results(
    finished: Path, tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    assert attack(name, finished, tmp_path_factory, is_whole=True) == []


def test_what_waits_for_its_format_does_not_grow() -> None:
    assert len(WAITING) == N_WAITING
