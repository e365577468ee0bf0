"""Options that several commands have, and what is done with them."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from dpod_search.bounds import split_budgets
from dpod_search.cli.terminal import PlainConsole
from dpod_search.config import StudyConfig
from dpod_search.config import load_study
from dpod_search.environment import STORAGE_VARIABLE


Study = Annotated[
    str,
    typer.Option(
        "--study",
        "-s",
        metavar="STUDY",
        help="A study file (.toml), or the name of a shipped study.",
    ),
]
Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", metavar="FOLDER", help="The run folder; runs/<study> by default."),
]
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="SECTION.KEY=VALUE",
        help="Change a setting, for instance search.n_trials=500; may be given again.",
    ),
]
Seed = Annotated[
    int | None, typer.Option("--seed", metavar="N", help="Seed of everything random.")
]
Storage = Annotated[
    str | None,
    typer.Option(
        "--storage",
        metavar="URL",
        envvar=STORAGE_VARIABLE,  # a password in it is not seen by who lists processes
        help="Optuna storage, for instance sqlite:///x.db; a journal in the run folder by default.",
    ),
]
Jobs = Annotated[
    int,
    typer.Option(
        "--jobs", metavar="N", min=1, help="Processes that search or finetune side by side."
    ),
]
Parent = Annotated[
    int | None,
    typer.Option(hidden=True, help="The process that started this one: it ends when that has."),
]
Budgets = Annotated[
    str | None,
    typer.Option(
        "--budgets",
        metavar="BUDGETS",
        help="Finetune the best subnet under each, for instance macs<=2M,macs<=25%; a comma "
        "between them, quotes around all. The same as finetune.budgets.",
    ),
]
LatencyTableFile = Annotated[
    Path | None,
    typer.Option(
        "--latency-table",
        metavar="FILE",
        help="A table that `dpod-search latency measure` wrote, for objectives and budgets on "
        "latency. The same as latency.table.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


_FREE_WIDTH = 120


def load_config(study: str, sets: list[str] | None, seed: int | None) -> StudyConfig:
    """Load a study with the changes of the command line."""
    changes = [*(sets or ()), *([f"seed={seed}"] if seed is not None else [])]
    return load_study(study, tuple(changes))


def set_budgets(sets: list[str] | None, budgets: str | None) -> list[str]:
    """Return the changes of ``--set`` with what ``--budgets`` changes; the latter wins."""
    chosen = [] if budgets is None else [json.dumps(split_budgets(budgets))]
    # A JSON list of texts is a TOML list.
    return [*(sets or ()), *(f"finetune.budgets={value}" for value in chosen)]


def set_latency_table(sets: list[str] | None, table: Path | None) -> list[str]:
    """Return the changes of ``--set`` with what ``--latency-table`` changes."""
    return [*(sets or ()), *([] if table is None else [f"latency.table={json.dumps(str(table))}"])]


def make_console() -> PlainConsole:
    """Return a console that gives a file or a pipe room for the names of layers."""
    # Rich takes a file or a pipe to be 80 columns wide, which is narrow for names of layers.
    is_free = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return PlainConsole(width=_FREE_WIDTH if is_free else None)
