"""The command line: the only place that prints, bars aside."""

from __future__ import annotations

from dpod_search.cli.commands import app
from dpod_search.cli.commands import main


__all__ = ["app", "main"]
