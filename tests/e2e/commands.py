"""Running the command line as a user does: in its own process, in an empty folder."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from forking import FORKED

from dpod_search.cli import main


# A study of a few seconds: enough steps, trials and subnets for every branch to be walked.
SMALL = (
    "training.epochs=8",
    "training.checkpoint_seconds=0.2",
    "search.n_trials=50",
    "search.min_evaluated=20",
    "search.population_size=12",
    "finetune.n_subnets=3",
    "finetune.epochs=4",
    "finetune.checkpoint_seconds=0.2",
    'export.formats=["safetensors"]',
)


def command(*arguments: str, sets: tuple[str, ...] = ()) -> list[str]:
    """Return the words of a command."""
    return [sys.executable, "-m", "dpod_search", *arguments, *(f"--set={item}" for item in sets)]


def fill_disk() -> None:
    """Let every file grow to 200 kB and not further: small files fit, a checkpoint does not."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))


class Started:
    """A command at work in a process of its own.

    Args:
        arguments: What stands after ``dpod-search``.
        sets: And what after ``--set``, one by one.
        cwd: Where it runs.
        prepare: Called in its process first; of a module that it can import, as this one.
    """

    def __init__(
        self,
        *arguments: str,
        sets: tuple[str, ...] = (),
        cwd: Path,
        prepare: Callable[[], object] | None = None,
    ) -> None:
        self._words = words = (*arguments, *(f"--set={item}" for item in sets))
        self._scratch = tempfile.TemporaryDirectory()
        self._outputs = [Path(self._scratch.name) / name for name in ("out", "err")]
        for file in self._outputs:
            file.touch()
        self._process = FORKED.Process(
            target=_be_command, args=(words, cwd, self._outputs, prepare)
        )
        self._process.start()

    @property
    def pid(self) -> int:
        """The number of its process."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether its process has ended."""
        return self._process.exitcode is not None

    def read(self) -> str:
        """Return what it has printed so far."""
        return "".join(file.read_text() for file in self._outputs)

    def send_signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.join()
        self._scratch.cleanup()

    def end(self, timeout: float = 900) -> subprocess.CompletedProcess[str]:
        """Wait for its end, and return what it printed."""
        self._process.join(timeout)
        code = self._process.exitcode
        out, err = (file.read_text() for file in self._outputs)
        self.kill()
        assert code is not None, f"still at work: {self._words}"
        return subprocess.CompletedProcess(self._words, code, out, err)


def _be_command(
    words: tuple[str, ...], cwd: Path, outputs: list[Path], prepare: Callable[[], object] | None
) -> None:
    os.chdir(cwd)
    for number, file in enumerate(outputs, 1):
        os.dup2(os.open(file, os.O_WRONLY), number)
    # A process inherits what it is deaf to: one in the background to Ctrl-C, for instance.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    multiprocessing.set_start_method(None, force=True)  # forget how this one was started
    sys.argv = ["dpod-search", *words]
    if prepare is not None:
        prepare()
    try:
        main()
    finally:
        # An interpreter lets helpers go before it waits for them; a fork would wait minutes.
        threading._shutdown()
        atexit._run_exitfuncs()


def run_command(
    *arguments: str,
    sets: tuple[str, ...] = (),
    cwd: Path,
    prepare: Callable[[], object] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end and return what it printed."""
    return Started(*arguments, sets=sets, cwd=cwd, prepare=prepare).end()
