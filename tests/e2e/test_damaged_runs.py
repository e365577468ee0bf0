"""Whatever happens to a file of a run folder: one line, or the same results; never others.

Every file of a finished run, of one that was interrupted while it finetuned, and of one that was
interrupted while it trained is damaged in every way of ``damages``; so is what only a run with
latency and width programs has, or one that does not search. Then the commands run in this process.
"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from e2e.damages import LINKS
from e2e.damages import SECRET
from e2e.damages import damage
from e2e.damages import list_damages
from e2e.damages import make_outside
from pipeline.clock import LATENCY
from pipeline.clock import FakeClock
from pipeline.tiny import copy_run
from pipeline.tiny import find_finished
from pipeline.tiny import load_tiny

from dpod_search.config import StudyConfig
from dpod_search.dashboard import decorate_study
from dpod_search.errors import DpodSearchError
from dpod_search.pipeline import read_status
from dpod_search.pipeline import run_stages
from dpod_search.report import write_comparison
from dpod_search.training import CheckpointFile


pytestmark = pytest.mark.e2e

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
ALL = ("train", "search", "finetune", "export", "report")


@dataclass(frozen=True)
class Kind:
    """A run to damage.

    Args:
        stages: What is run again.
        leaves_off: It was interrupted after so many checkpoints in this folder of the run.
        overrides: Its study's own settings; none is the tiny study.
        files: What is damaged, as patterns.
    """

    stages: tuple[str, ...]
    leaves_off: tuple[str, int] | None = None
    overrides: tuple[str, ...] = ()
    files: tuple[str, ...] = ("*",)

    def load(self, *more: str) -> StudyConfig:
        """Load its study."""
        return load_tiny(*self.overrides, *more)


FEW = ("search.n_trials=6", "search.n_ladder=2", 'export.formats=["safetensors"]')
KINDS = {
    "finished": Kind(ALL),
    "finetuning": Kind(("train", "search", "finetune"), ("finetuned", 12)),
    "training": Kind(("train",), (".", 9)),
    "seeded": Kind(
        ALL,
        overrides=(
            *FEW,
            *LATENCY,
            'search.objectives=["accuracy", "latency"]',
            "search.n_mdp=2",
        ),
        files=("importance.json", "seeds.json", "latency*.json", ".stages/*"),
    ),
    "oneshot": Kind(
        ALL,
        overrides=(
            *FEW,
            'training.policy="dense"',
            "training.policy_options={}",
            'oneshot.method="mdp"',
            'oneshot.budgets=["macs<=25%", "macs<=50%"]',
        ),
        files=("importance.json", "oneshot.json", ".stages/search.json", "path.json"),
    ),
}


def make_run(kind: Kind, folder: Path, *overrides: str) -> Path:
    """Run a kind's study as far as it goes."""
    if kind.leaves_off is None:
        run_stages(kind.load(*overrides), folder)
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
        run_stages(kind.load(*OFTEN, *overrides), folder)
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return find_finished(tmp_path_factory)


def list_targets(folder: Path, kind: Kind) -> list[str]:
    """Return the files that are damaged, and the folders with a slash at their ends."""
    found = sorted(folder.rglob("*"))
    names = [f"{p.relative_to(folder)}{'/' if p.is_dir() else ''}" for p in found]
    return [name for name in names if any(fnmatchcase(name, wanted) for wanted in kind.files)]


def try_to(do: Callable[[], Any]) -> tuple[bool, Any]:
    """Return whether something was done and what came of it; one line if it was refused."""
    try:
        return True, do()
    except DpodSearchError as error:
        text = str(error)
        return False, "several lines" if "\n" in text else text
    except Exception as error:  # noqa: BLE001  (that is what is looked for)
        return False, error


def find_faults(run: Path, clean: Path, whole: Path, kind: Kind, how: str) -> Iterator[str]:
    """Run the commands on a damaged run, and yield what is wrong with what came of it.

    Args:
        run: The damaged run.
        clean: The run as it was.
        whole: The finished run, whose results are expected.
        kind: Which it is.
        how: How a file was damaged.
    """
    for command, do in list_commands(run, clean, kind).items():
        is_done, found = try_to(do)
        if isinstance(found, BaseException):
            yield f"{command}: {type(found).__name__}: {str(found)[:300]}"
        elif found == "several lines" or (is_done and how in LINKS):
            yield f"{command}: {'several lines' if not is_done else 'a link is not refused'}"
        elif is_done:
            yield from find_wrong(command, found, run, clean, whole, is_gone=how == "delete")
    shown = [run / "report.html", *run.glob("artifacts/*"), *run.glob("exported/*/*")]
    for file in (file for file in shown if file.is_file() and not file.is_symlink()):
        if SECRET.encode() in file.read_bytes():
            yield f"{file.relative_to(run)} tells what lies outside"


def find_wrong(
    command: str, found: Any, run: Path, clean: Path, whole: Path, *, is_gone: bool
) -> Iterator[str]:
    """Yield what is wrong with what a command did; if a file is gone there is less to tell."""
    if command == "status":
        expected = read_status(clean)
        names = ("study", "counts", "audit", "n_front", "budgets")
        told = {name: found[name] for name in names if name in found}
        if told != {name: expected.get(name) for name in told}:
            yield "status: tells of others"
    elif command == "report" and not is_gone:
        if (run / "report.html").read_bytes() != (clean / "report.html").read_bytes():
            yield "report: another page"
    elif command == "run":
        yield from (f"run: another {name}" for name in find_others(run, whole))


def list_commands(run: Path, clean: Path, kind: Kind) -> dict[str, Callable[[], Any]]:
    """Return the commands that look at a run, and then the one that goes on with it."""
    commands: dict[str, Callable[[], Any]] = {"status": lambda: read_status(run)}
    if kind.leaves_off is None:
        commands |= {
            "compare": lambda: write_comparison([clean, run], run.parent.parent / "page.html"),
            "dashboard": lambda: decorate_study(run, "digits"),
            "report": lambda: run_stages(kind.load(), run, stages=["report"]),
        }
    return {
        **commands,
        "run": lambda: run_stages(kind.load(*OFTEN), run, stages=kind.stages),
    }


def find_others(run: Path, whole: Path) -> Iterator[str]:
    """Yield the results of a run that are not those of the whole one."""
    for file in (file for name in RESULTS for file in sorted(run.glob(name))):
        expected = whole / file.relative_to(run)
        if not expected.is_file() or file.read_bytes() != expected.read_bytes():
            yield str(file.relative_to(run))
    for name, read in (
        ("training.json", read_training),
        ("oneshot.json", read_choices),
        ("trials.csv", read_trials),
    ):
        if (run / name).is_file() and read(run / name) != read(whole / name):
            yield name


def read_training(file: Path) -> dict[str, Any]:
    return {**json.loads(file.read_text()), "seconds": None}


def read_choices(file: Path) -> list[dict[str, Any]]:
    return [{**choice, "seconds": None} for choice in json.loads(file.read_text())["choices"]]


def read_trials(file: Path) -> list[dict[str, str]]:
    with file.open() as rows:
        return [{**row, "seconds": ""} for row in csv.DictReader(rows)]


def attack(
    name: str, finished: Path, tmp_path_factory: pytest.TempPathFactory, *, is_whole: bool
) -> list[str]:
    """Damage every file of a run, one at a time, and return what came of it that must not."""
    kind, scratch = KINDS[name], tmp_path_factory.mktemp(name)
    is_tiny = not kind.overrides
    clean = finished if name == "finished" else make_run(kind, scratch / "clean")
    other = make_run(kind, scratch / "other", "seed=1")
    faults, n_damaged = [], 0
    for number, file in enumerate(list_targets(clean, kind)):
        damages = list_damages(file)
        first = number % len(damages)  # by default each meets one, and its neighbours others
        for how in (*damages[first:], *damages[:first]):
            run = copy_run(clean, scratch / f"{number}-{how}" / "run")
            is_untouched = make_outside(run.parent)
            if damage(run, file, how, other):
                n_damaged += 1
                is_untouched()
                whole = finished if is_tiny else clean
                found = [*find_faults(run, clean, whole, kind, how)]
                found += [] if is_untouched() else ["something is written outside"]
                faults += [f"{file}, {how}: {fault}" for fault in found]
            shutil.rmtree(run.parent)
            if n_damaged > number and not is_whole:
                break
    assert n_damaged >= len(list_targets(clean, kind))
    return faults


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """What nets take is known, and the same each time."""
    return FakeClock().attach(monkeypatch)


@pytest.mark.parametrize("name", KINDS)
def test_a_damaged_file_is_one_line_or_the_same_results(
    finished: Path, tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    faults = attack(name, finished, tmp_path_factory, is_whole=False)
    assert not faults, "\n".join(faults)


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_all_damage_is_one_line_or_the_same_results(
    finished: Path, tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    faults = attack(name, finished, tmp_path_factory, is_whole=True)
    assert not faults, "\n".join(faults)
