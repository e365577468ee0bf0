"""What a benchmark's results were made with."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from dpod_search.pipeline.environment import describe_environment


ROOT = Path(__file__).resolve().parents[1]


def describe_commit() -> str:
    """Name the commit that is checked out; ``+`` after it says that files differ from it."""
    try:
        commit = _git("rev-parse", "--short", "HEAD")
        return commit + ("+" if _git("status", "--porcelain", "--", "dpod_search") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def describe_machine() -> dict[str, Any]:
    """Describe this process's machine, without naming user or host."""
    return describe_environment().to_json()


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
