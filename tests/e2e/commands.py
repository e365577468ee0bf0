"""Running the command line as a user does: in its own process, in an empty folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


# A study of a few seconds: enough steps, trials and subnets for every branch to be walked.
SMALL = (
    "training.epochs=8",
    "training.checkpoint_seconds=0.2",
    "search.n_trials=90",
    "search.min_evaluated=30",
    "search.population_size=12",
    "finetune.n_subnets=5",
    "finetune.epochs=4",
    "finetune.checkpoint_seconds=0.2",
    'export.formats=["safetensors"]',
)


def command(*arguments: str, sets: tuple[str, ...] = ()) -> list[str]:
    """Return the words of a command."""
    return [sys.executable, "-m", "dpod_search", *arguments, *(f"--set={item}" for item in sets)]


def run_command(
    *arguments: str,
    sets: tuple[str, ...] = (),
    cwd: Path,
    timeout: float = 300,
    env: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end and return what it printed."""
    return subprocess.run(
        command(*arguments, sets=sets),
        cwd=cwd,
        timeout=timeout,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **(env or {})},
    )
