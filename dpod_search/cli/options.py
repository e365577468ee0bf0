"""The options of commands that work on a run, declared once for all of them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from inspect import Parameter
from inspect import Signature
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Annotated
from typing import Any
from typing import get_type_hints

import typer

from dpod_search.cli.places import complete_study
from dpod_search.cli.places import find_folder
from dpod_search.cli.places import find_study_of
from dpod_search.cli.terminal import PlainConsole
from dpod_search.environment import STORAGE_VARIABLE
from dpod_search.orphans import end_with


if TYPE_CHECKING:
    from dpod_search.config import StudyConfig


def _watch(parent: int | None) -> int | None:
    """Look after the process that started this one, from before PyTorch is imported."""
    if parent is not None:
        end_with(parent)
    return parent


Study = Annotated[
    str | None,
    typer.Option(
        "--study",
        "-s",
        metavar="STUDY",
        help="A study file (.toml), or the name of a shipped study; that of the run folder where "
        "it is not given.",
        autocompletion=complete_study,
    ),
]
Run = Annotated[
    Path | None,
    typer.Option(
        "--run",
        "-r",
        metavar="FOLDER",
        help="The folder of a run that was begun: its study is taken from there.",
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
    typer.Option(
        hidden=True,
        callback=_watch,
        help="The process that started this one: it ends when that has.",
    ),
]
OnceBudgets = Annotated[
    list[str] | None,
    typer.Option(
        "--budget",
        "-b",
        metavar="BUDGET",
        help="What a subnet may cost, for instance latency<=50% or macs<=2M; may be given "
        "again, and several with a comma between them.",
    ),
]
OnceMethod = Annotated[
    str,
    typer.Option(
        "--method",
        metavar="METHOD",
        help="mdp, or to compare with it: uniform, magnitude, taylor, random.",
    ),
]
Finetunes = Annotated[
    bool,
    typer.Option(
        "--finetune/--no-finetune",
        help="Train what was chosen on; or deliver it after a closed-form repair alone, which "
        "takes seconds and no labels.",
    ),
]
Budgets = Annotated[
    str | None,
    typer.Option(
        "--budgets",
        metavar="BUDGETS",
        help="Finetune one subnet under each, for instance macs<=2M,macs<=25%; a comma "
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
Png = Annotated[
    bool,
    typer.Option("--png", help="Write each figure as PNG too; needs the extra [png], a browser."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a command that works on a run was asked for: a field for each option there is.

    A command has some of them; the others are as if they had not been given.
    """

    study: Study = None
    run: Run = None
    out: Out = None
    sets: Sets = None
    seed: Seed = None
    storage: Storage = None
    budget: OnceBudgets = None
    method: OnceMethod = "mdp"
    finetunes: Finetunes = True
    budgets: Budgets = None
    latency_table: LatencyTableFile = None
    png: Png = False
    jobs: Jobs = 1
    quiet: Quiet = False
    as_json: AsJson = False
    parent: Parent = None

    def load_config(self) -> StudyConfig:
        """Load the study with what options change in it; they win over ``--set``."""
        sets = set_budgets(self.sets, self.budgets)
        if self.latency_table is not None:
            sets.append(f"latency.table={json.dumps(str(self.latency_table))}")
        return load_config(find_study_of(self.study, self.run, self.out), sets, self.seed)

    def find_folder(self, config: StudyConfig) -> Path:
        """Return the run folder of a study."""
        return find_folder(self.run, self.out) or Path("runs") / config.name


def make_command(work: Callable[[Asked], None], options: str) -> Callable[..., None]:
    """Return a command as Typer reads it: a function with a parameter for each option.

    Args:
        work: What the command does.
        options: Fields of :class:`Asked`, in the order of the help.
    """
    fields, hints = Asked.__dataclass_fields__, get_type_hints(Asked, include_extras=True)
    parameters = []
    for name in options.split():
        default, hint = fields[name].default, hints[name]
        parameters.append(
            Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=hint)
        )

    def command(**given: Any) -> None:
        work(Asked(**given))

    command.__signature__ = Signature(parameters)  # type: ignore[attr-defined]  # read by inspect
    return command


_FREE_WIDTH = 120


def load_config(study: str, sets: list[str] | None, seed: int | None) -> StudyConfig:
    """Load a study with the changes of the command line."""
    from dpod_search.config import load_study

    changes = [*(sets or ()), *([f"seed={seed}"] if seed is not None else [])]
    return load_study(study, tuple(changes))


def set_budgets(sets: list[str] | None, budgets: str | None) -> list[str]:
    """Return the changes of ``--set`` with what ``--budgets`` changes; the latter wins."""
    from dpod_search.bounds import split_budgets

    chosen = [] if budgets is None else [json.dumps(split_budgets(budgets))]
    # A JSON list of texts is a TOML list.
    return [*(sets or ()), *(f"finetune.budgets={value}" for value in chosen)]


def make_console() -> PlainConsole:
    """Return a console that gives a file or a pipe room for the names of layers."""
    # Rich takes a file or a pipe to be 80 columns wide, which is narrow for names of layers.
    is_free = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return PlainConsole(width=_FREE_WIDTH if is_free else None)
