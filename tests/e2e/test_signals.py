"""A stage that is told to end, at work: what it says, its exit code, and that nobody stays."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from signal import Signals

import pytest
from e2e.commands import Started
from e2e.waiting import let_wait
from pipeline.tiny import OVERRIDES

from dpod_search.config import load_study
from dpod_search.pipeline import run_stages


pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds processes in /proc"),
]

SETS = (
    *OVERRIDES,
    "data.name=e2e.waiting:load",
    "training.augmentation=e2e.waiting:make_transform",
    'search.objectives=["accuracy", "macs", "e2e.waiting:Measure"]',
    "finetune.n_views=0",  # or the parent would see the pictures first
    'export.formats=["safetensors"]',
)
# What a stage has written, without which it begins anew.
WRITTEN = {
    "train": (),  # in a folder of its own
    "search": (".stages/search.json", "search.json", "study.journal"),
    "finetune": (".stages/finetune.json", "front.json", "finetuned"),
    "export": (".stages/export.json", "exported"),
    "report": (".stages/report.json", "report.html"),
}
GOES_ON = "the same command goes on where it stopped"


@dataclass(frozen=True)
class Case:
    """A stage at work, and how many of its processes wait in the part that waits."""

    stage: str
    part: str
    options: tuple[str, ...] = ()
    n_at_work: int = 1

    def __str__(self) -> str:
        return " ".join((self.stage, *self.options))


ALONE = (
    Case("train", "batch"),
    Case("search", "trial"),
    Case("finetune", "batch"),
    Case("export", "test"),
    Case("report", "report"),
)
HELPED = (
    Case("train", "batch", ("--set=training.n_workers=2",), 2),
    Case("search", "trial", ("--jobs=3",), 3),
    Case("finetune", "batch", ("--jobs=2",), 2),
    Case("finetune", "batch", ("--set=training.n_workers=1",)),
    Case("finetune", "batch", ("--jobs=2", "--set=training.n_workers=1"), 2),
)
TRAIN, SEARCH, FINETUNE = HELPED[:3]
QUICK = {
    (TRAIN, Signals.SIGTERM),
    (SEARCH, Signals.SIGTERM),
    (FINETUNE, Signals.SIGTERM),
    (ALONE[3], Signals.SIGINT),
    (ALONE[4], Signals.SIGTERM),
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a finished run, shared: copy it to change it."""
    folder = tmp_path_factory.mktemp("signals") / "run"
    run_stages(load_study("digits", SETS), folder)
    return folder


class Command:
    """A stage in a session of its own, in which all its processes are found again."""

    def __init__(self, case: Case, finished: Path, cwd: Path) -> None:
        if case.stage != "train":
            shutil.copytree(finished, cwd / "run")
        for name in WRITTEN[case.stage]:
            path = cwd / "run" / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        self._at_work = cwd / "at-work"
        self._at_work.mkdir()
        self._n_at_work = case.n_at_work
        words = (case.stage, "--study=digits", "--out=run", "--quiet", *case.options)
        prepare = partial(let_wait, case.part, self._at_work)
        self.process = Started(*words, sets=SETS, cwd=cwd, prepare=prepare)

    def wait_until_at_work(self) -> None:
        """Wait until all processes that work are in the midst of it."""
        wait_until(
            lambda: len(list(self._at_work.iterdir())) == self._n_at_work or self.process.has_ended
        )
        assert not self.process.has_ended, self.process.read()

    def list_processes(self) -> list[str]:
        """Return what runs in its session, itself included: number and command."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                state, _, _, session = (
                    (entry / "stat").read_text("latin1").rpartition(")")[2].split()[:4]
                )
                command = (entry / "cmdline").read_text("latin1").replace("\0", " ")
            except OSError:
                continue  # no process, or one that has just ended
            if int(session) == self.process.pid and state != "Z":
                found.append(f"{entry.name} {command}")
        return found

    def read_end(self) -> tuple[int, list[str]]:
        """Wait for the end of all processes; return the exit code and the lines printed."""
        wait_until(lambda: self.process.has_ended and not self.list_processes())
        done = self.process.end()
        return done.returncode, (done.stdout + done.stderr).splitlines()

    def clean_up(self) -> None:
        """Leave nothing behind, whatever happened."""
        for line in self.list_processes():
            os.kill(int(line.split()[0]), signal.SIGKILL)
        self.process.kill()


@pytest.fixture
def start(finished: Path, tmp_path: Path):
    """Start a case, and wait until it is at work."""
    started = []

    def start_one(case: Case) -> Command:
        started.append(Command(case, finished, tmp_path))
        started[0].wait_until_at_work()
        return started[0]

    yield start_one
    for command in started:
        command.clean_up()


def wait_until(is_so: Callable[[], bool]) -> None:
    """Wait, five minutes at most, until something is so."""
    deadline = time.monotonic() + 300
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def choose(*cases: tuple[Case, Signals]) -> list[object]:
    """Return the cases as parameters, all but the quick ones marked slow."""
    return [
        pytest.param(
            case, number, id=f"{case}-{number.name}", marks=[] if quick else pytest.mark.slow
        )
        for case, number in cases
        for quick in [(case, number) in QUICK]
    ]


# joblib's tracker of semaphores dies of a terminal that is closed, and is mourned on that terminal.
CLOSED = (ALONE[0], TRAIN, SEARCH)
EVERY = [
    *(
        (case, number)
        for case in (*ALONE, *HELPED)
        for number in (Signals.SIGINT, Signals.SIGTERM)
    ),
    *((case, Signals.SIGHUP) for case in CLOSED),
]


@pytest.mark.parametrize(("case", "number"), choose(*EVERY))
def test_a_stage_that_is_told_to_end_says_so_and_leaves_nobody(start, case, number):
    command = start(case)
    if number is Signals.SIGTERM:
        command.process.send_signal(number)
    else:  # as a terminal does
        os.killpg(command.process.pid, number)
    why = "interrupted" if number is Signals.SIGINT else f"told to end ({number.name})"
    assert command.read_end() == (128 + number, [f"dpod-search: {why}; {GOES_ON}"])


@pytest.mark.slow
@pytest.mark.parametrize("case", HELPED, ids=str)
def test_helpers_that_are_told_too_as_by_systemd_change_nothing(start, case):
    command = start(case)
    os.killpg(command.process.pid, signal.SIGTERM)
    assert command.read_end() == (143, [f"dpod-search: told to end (SIGTERM); {GOES_ON}"])


@pytest.mark.parametrize(
    "case",
    [pytest.param(TRAIN, id=str(TRAIN))]
    + [pytest.param(case, id=str(case), marks=pytest.mark.slow) for case in HELPED[1:]],
)
def test_a_stage_that_is_killed_takes_its_helpers_along(start, case):
    command = start(case)
    command.process.send_signal(signal.SIGKILL)
    assert command.read_end()[0] == -signal.SIGKILL
