"""What a signal leaves to be said, and that it is heard while PyTorch is imported."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dpod_search.cli.interrupts import Interrupts


@pytest.mark.parametrize("comes", [False, True])
def test_what_ends_after_a_signal_has_nothing_to_add(
    comes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[BaseException] = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, error, trace: told.append(error))

    def serve() -> None:  # as `multiprocessing.resource_sharer` tells of a worker that is gone
        try:
            raise ConnectionResetError
        except ConnectionResetError:
            sys.excepthook(*sys.exc_info())

    with Interrupts() as interrupts:
        if comes:
            with pytest.raises(KeyboardInterrupt):
                interrupts(2, None)
        thread = threading.Thread(target=serve)
        thread.start()
        thread.join()
    assert len(told) == (not comes)
    serve()
    assert len(told) == 1 + (not comes)  # as it was before the block


# The command line, which says when it begins to import PyTorch, and then takes for ever. It listens
# to Ctrl-C, to which a process that was started in the background is deaf.
IMPORTING = """
import signal, sys, time
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print("importing", flush=True)
            exec("time.sleep(60)")  # as imports do, for named tuples and the like
sys.meta_path.insert(0, Finder())
signal.signal(signal.SIGINT, signal.default_int_handler)
from dpod_search.cli import main
main()
"""
# Starts it as a helper, and waits to be killed.
PARENT = """
import os, subprocess, sys
subprocess.Popen([sys.executable, "-m", *sys.argv[1:], f"--parent={os.getpid()}"])
sys.stdin.read()
"""


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    """Start a program, and wait until it, or its helper, imports PyTorch."""
    (folder / "importing.py").write_text(IMPORTING)
    process = subprocess.Popen(
        [sys.executable, *words],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "importing\n"
    return process


@pytest.mark.parametrize(
    ("number", "why"),
    [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "told to end (SIGTERM)")],
)
def test_a_signal_while_pytorch_is_imported_is_one_line(
    tmp_path: Path, number: signal.Signals, why: str
) -> None:
    with start(tmp_path, "-m", "importing", "train", "--study=digits") as process:
        process.send_signal(number)
        line = f"dpod-search: {why}; the same command goes on where it stopped\n"
        assert process.communicate(timeout=60)[0] == line
    assert process.returncode == 128 + number


@pytest.mark.skipif(os.name != "posix", reason="Windows does not tell that a parent is gone")
def test_a_helper_ends_with_its_parent_while_it_imports_pytorch(tmp_path: Path) -> None:
    with start(tmp_path, "-c", PARENT, "importing", "worker", "--study=digits") as parent:
        parent.kill()
        # The helper has inherited the other end of it, which closes when it ends.
        assert parent.communicate(timeout=30)[0] == ""
