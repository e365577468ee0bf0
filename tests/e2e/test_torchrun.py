"""Training by several ranks: the same command under torchrun, killed and started again."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from e2e.commands import command


pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds torchrun's processes in /proc"),
]

SETS = (
    "model.arguments={width=4}",
    "supernet.ratios=[0.25, 0.5, 0.75, 1.0]",
    "training.policy_options={n_profiles=4}",
    "training.batch_size=128",
    "training.checkpoint_seconds=0.02",
)
N_RANKS = 2
N_KILLS = 10


class Launch:
    """The ``train`` command under torchrun."""

    def __init__(self, cwd: Path, *sets: str) -> None:
        words = command("train", "--study", "digits", sets=(*SETS, *sets))
        launcher = ["torch.distributed.run", "--standalone", f"--nproc-per-node={N_RANKS}"]
        self.folder = cwd / "runs" / "digits"
        self._log = cwd / "output.txt"
        with self._log.open("w") as output:
            self.process = subprocess.Popen(
                [words[0], "-m", *launcher, *words[1:]],
                cwd=cwd,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )

    @property
    def checkpoint(self) -> Path:
        """Where the first rank keeps the state."""
        return self.folder / "training.checkpoint.safetensors"

    def find_ranks(self) -> dict[int, int]:
        """Return the process of each rank."""
        found = {}
        for entry in Path("/proc").iterdir():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == self.process.pid:
                    text = (entry / "environ").read_text()
                    variables = dict(item.split("=", 1) for item in text.split("\0") if item)
                    found[int(variables["RANK"])] = int(entry.name)
            except (OSError, ValueError, LookupError):
                continue  # no process, or one that has just ended
        return found

    def wait_until_training(self) -> bool:
        """Wait for a checkpoint of this launch; say whether it came before the end."""
        before = self._written()
        while self.process.poll() is None:
            if self._written() != before:
                return True
            time.sleep(0.01)
        return False

    def kill(self, *ranks: int) -> None:
        """Kill ranks; all of them together with torchrun itself, in no order."""
        found = self.find_ranks()
        if len(ranks) == N_RANKS:
            self.process.send_signal(signal.SIGKILL)
        for rank in ranks:
            os.kill(found[rank], signal.SIGKILL)

    def end(self, timeout: float = 300) -> tuple[int, list[str]]:
        """Wait for the end; return the exit code and what the command itself printed."""
        try:
            code = self.process.wait(timeout)
        finally:
            if self.process.poll() is None:
                for process in (*self.find_ranks().values(), self.process.pid):
                    os.kill(process, signal.SIGKILL)
                self.process.wait()
        lines = self._log.read_text().splitlines()
        return code, [line for line in lines if line.startswith(("dpod-search:", "    train:"))]

    def _written(self) -> int:
        return self.checkpoint.stat().st_mtime_ns if self.checkpoint.exists() else 0


def read_training(folder: Path) -> dict[str, object]:
    """Return what is known of a training, without the time it took."""
    found = json.loads((folder / "training.json").read_text())
    del found["seconds"]
    return dict(found)


def test_a_killed_rank_ends_the_run_and_the_same_command_goes_on(tmp_path: Path) -> None:
    first = Launch(tmp_path, "training.epochs=15")
    assert first.wait_until_training(), first.end()
    first.kill(1)
    code, lines = first.end()
    assert code != 0
    assert len(lines) == 1, lines
    assert "the same command goes on from the last checkpoint" in lines[0]
    assert first.checkpoint.exists()
    second = Launch(tmp_path, "training.epochs=15")
    code, lines = second.end()
    assert code == 0, lines
    assert len(lines) == 1, lines  # one rank speaks for all
    training = read_training(second.folder)
    assert training["n_ranks"] == N_RANKS
    assert not second.checkpoint.exists()
    messages = [
        json.loads(line)["message"]
        for line in (second.folder / "log.jsonl").read_text().splitlines()
    ]
    assert messages.count("train: starts") == 2  # and one rank writes the log


def test_ranks_end_with_a_torchrun_that_is_killed(tmp_path: Path) -> None:
    launch = Launch(tmp_path, "training.epochs=100000")
    assert launch.wait_until_training(), launch.end()
    ranks = launch.find_ranks()
    assert sorted(ranks) == [0, 1]
    launch.process.kill()
    deadline = time.monotonic() + 60
    try:
        while left := [rank for rank, number in ranks.items() if Path(f"/proc/{number}").exists()]:
            assert time.monotonic() < deadline, left
            time.sleep(0.02)
    finally:
        for rank in left:
            os.kill(ranks[rank], signal.SIGKILL)
        launch.process.wait()


@pytest.mark.slow
def test_a_mistake_is_told_once(tmp_path: Path) -> None:
    code, lines = Launch(tmp_path, "training.batch_size=127").end()
    assert code != 0
    assert len(lines) == 1, lines
    assert "set it to 126 or 128" in lines[0]


@pytest.mark.slow
def test_ten_kills_change_nothing(tmp_path: Path) -> None:
    folders = [tmp_path / "whole", tmp_path / "killed"]
    for folder in folders:
        folder.mkdir()
    sets = "training.epochs=300"
    whole = Launch(folders[0], sets)
    assert whole.end()[0] == 0
    seconds = json.loads((whole.folder / "training.json").read_text())["seconds"]
    # Random on purpose: every run of this test tries other steps.
    moments = random.SystemRandom()
    for number in range(N_KILLS):
        launch = Launch(folders[1], sets)
        assert launch.wait_until_training(), launch.end()
        time.sleep(moments.uniform(0, seconds / 2 / N_KILLS))
        ranks = tuple(range(N_RANKS)) if number % 2 else (moments.randrange(N_RANKS),)
        launch.kill(*ranks)
        code, lines = launch.end()
        assert code != 0
        if len(ranks) == 1:
            assert len(lines) == 1, lines
        assert launch.checkpoint.exists(), "it ended before it was killed"
    last = Launch(folders[1], sets)
    assert last.end()[0] == 0
    weights = [(run.folder / "supernet.safetensors").read_bytes() for run in (whole, last)]
    assert weights[0] == weights[1]
    assert read_training(whole.folder) == read_training(last.folder)
