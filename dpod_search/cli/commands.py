"""The commands: one a stage, ``run`` for all of them, and a few that only look."""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from dpod_search import __version__
from dpod_search.cli.bars import Bars
from dpod_search.cli.inspection import inspect_supernet
from dpod_search.cli.show import describe_run
from dpod_search.cli.show import describe_supernet
from dpod_search.cli.show import show_json
from dpod_search.cli.show import show_run
from dpod_search.cli.show import show_status
from dpod_search.cli.show import show_supernet
from dpod_search.config import StudyConfig
from dpod_search.config import list_studies
from dpod_search.config import load_study
from dpod_search.config import make_study
from dpod_search.config import template
from dpod_search.data import load_data
from dpod_search.errors import CheckpointError
from dpod_search.errors import ConfigError
from dpod_search.errors import DpodSearchError
from dpod_search.files import write_text
from dpod_search.models import build_model
from dpod_search.pipeline import STAGES
from dpod_search.pipeline import read_status
from dpod_search.pipeline import run_stages
from dpod_search.pipeline import work
from dpod_search.report.graph import build_graph_page
from dpod_search.rng import torch_generator
from dpod_search.supernet import build_supernet
from dpod_search.supernet import import_handlers
from dpod_search.training import is_first_to_fail
from dpod_search.training import launched_ranks


app = typer.Typer(
    name="dpod-search",
    help="Search the layer widths of a PyTorch model for accuracy against footprint.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

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
        help="Optuna storage, for instance sqlite:///x.db; a journal in the run folder by default.",
    ),
]
Jobs = Annotated[
    int,
    typer.Option(
        "--jobs", metavar="N", min=1, help="Processes that search or finetune side by side."
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]

_FREE_WIDTH = 120
_INTERRUPTED = 130  # what Typer makes of Ctrl-C

_STAGE_HELP = {
    "train": "Train the supernet.",
    "search": "Search the widths of the trained supernet.",
    "finetune": "Finetune the best subnets and test them.",
    "export": "Export the finetuned subnets as plain models.",
    "report": "Write report.html from what the run folder holds.",
}


def main() -> None:
    """Run the command line: errors of the user are one line, and exit code 2."""
    logging.getLogger("dpod_search").addHandler(logging.NullHandler())
    try:
        app(standalone_mode=True)
    except DpodSearchError as error:
        _fail(error)
    except OSError as error:
        # One without a file may come from a user's own function, in words of its own.
        _fail(f"{error.filename or type(error).__name__}: {error.strerror or error}")
    except SystemExit as stop:
        if stop.code == _INTERRUPTED:
            _say_error("interrupted; the same command goes on where it stopped")
        raise


@app.callback(invoke_without_command=True)
def show_version(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Search the layer widths of a PyTorch model for accuracy against footprint."""
    if version:
        print(__version__)
        raise typer.Exit


@app.command()
def run(
    study: Study,
    out: Out = None,
    sets: Sets = None,
    seed: Seed = None,
    storage: Storage = None,
    jobs: Jobs = 1,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train, search, finetune, export and report; go on where an earlier run stopped."""
    every = tuple(stage.name for stage in STAGES)
    _run(every, study, out, sets, seed, storage, jobs, quiet, as_json)


@app.command(help=_STAGE_HELP["search"])
def search(
    study: Study,
    out: Out = None,
    sets: Sets = None,
    seed: Seed = None,
    storage: Storage = None,
    jobs: Jobs = 1,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Search the widths of the trained supernet."""
    _run(("search",), study, out, sets, seed, storage, jobs, quiet, as_json)


@app.command(help=_STAGE_HELP["finetune"])
def finetune(
    study: Study,
    out: Out = None,
    sets: Sets = None,
    seed: Seed = None,
    storage: Storage = None,
    jobs: Jobs = 1,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Finetune the best subnets and test them."""
    _run(("finetune",), study, out, sets, seed, storage, jobs, quiet, as_json)


@app.command()
def worker(
    study: Study,
    out: Out = None,
    sets: Sets = None,
    seed: Seed = None,
    storage: Storage = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Join a search: one more process on the study of a run folder, or of a copy of it."""
    config = _load(study, sets, seed)
    folder = out or Path("runs") / config.name
    with Bars(Console(stderr=True, markup=False), is_quiet=quiet or as_json) as bars:
        result = work(config, folder, storage=storage, progress=bars)
    if as_json:
        counts = {"counts": result.counts, "n_front": len(result.front)}
        show_json({"study": config.name, "folder": str(folder), **counts})
    elif not quiet:
        n_trials = len(result.trials)
        print(f"the study has {n_trials} finished trials and a front of {len(result.front)}")


def _add_stage_command(name: str) -> None:
    @app.command(name, help=_STAGE_HELP[name])
    def run_one(
        study: Study,
        out: Out = None,
        sets: Sets = None,
        seed: Seed = None,
        storage: Storage = None,
        quiet: Quiet = False,
        as_json: AsJson = False,
    ) -> None:
        _run((name,), study, out, sets, seed, storage, 1, quiet, as_json)


for _stage in STAGES:
    if _stage.name not in ("search", "finetune"):  # they have an option more
        _add_stage_command(_stage.name)


@app.command()
def inspect(
    study: Annotated[
        str | None,
        typer.Option("--study", "-s", metavar="STUDY", help="A study file or a shipped study."),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="NAME", help="A model, without a study.")
    ] = None,
    input_shape: Annotated[
        str, typer.Option("--input-shape", metavar="C,H,W", help="Input of --model.")
    ] = "3,224,224",
    n_classes: Annotated[
        int, typer.Option("--classes", metavar="N", min=1, help="Outputs of --model.")
    ] = 1000,
    sets: Sets = None,
    page: Annotated[
        Path | None,
        typer.Option(
            "--html", metavar="FILE", help="Also draw the model's graph, as one HTML file."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show channel groups, frozen dimensions and why, and the footprint of the full net."""
    if (study is None) == (model is None):
        raise ConfigError("inspect needs either --study or --model; give one of them")
    if study is not None:
        config = load_study(study, tuple(sets or ()))
        splits = load_data(config.data, config.seed)
        shape, n_classes = splits.input_shape, splits.n_classes
    else:
        changes = [f"model.name={json.dumps(model)}", *(sets or ())]
        config = make_study("inspect", changes)
        shape = _parse_shape(input_shape)
    try:
        net = build_model(config.model, input_shape=shape, n_classes=n_classes, seed=config.seed)
    except ConfigError as error:
        if study is not None:
            raise
        tried = f"--input-shape {','.join(map(str, shape))} --classes {n_classes}"
        raise ConfigError(f"{error} (tried with {tried})") from error
    supernet = build_supernet(
        net,
        torch.randn((2, *shape), generator=torch_generator(config.seed, "example")),
        ratios=config.supernet.ratios,
        multiple=config.supernet.multiple,
        removes_blocks=config.supernet.removes_blocks,
        handlers=import_handlers(config.supernet.handlers),
    )
    found = inspect_supernet(supernet, study or str(model))
    if page is not None:
        _write_page(page, build_graph_page(found))
    if as_json:
        show_json(describe_supernet(found))
    else:
        show_supernet(_make_console(), found)
        if page is not None:
            print(f"picture: {page}")


@app.command()
def status(
    study: Study,
    out: Out = None,
    storage: Storage = None,
    as_json: AsJson = False,
) -> None:
    """Show how far a run is."""
    found = read_status(out or Path("runs") / load_study(study).name, storage)
    if as_json:
        show_json(found)
    else:
        show_status(_make_console(), found)


@app.command()
def studies(as_json: AsJson = False) -> None:
    """List the studies that ship with the package."""
    found = list_studies()
    if as_json:
        show_json([{"name": n, "about": about, "file": str(path)} for n, about, path in found])
        return
    for name, about, _ in found:
        print(f"{name:<20} {about}")


@app.command()
def init(
    model: Annotated[
        str | None, typer.Option("--model", metavar="NAME", help="A model by name.")
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", metavar="NAME", help="A data set by name.")
    ] = None,
) -> None:
    """Print a commented study file to start from."""
    print(template(model=model, data=data), end="")


def _run(  # the one body of all the commands that run stages
    stages: tuple[str, ...],
    study: str,
    out: Path | None,
    sets: list[str] | None,
    seed: int | None,
    storage: str | None,
    jobs: int,
    quiet: bool,
    as_json: bool,
) -> None:
    config = _load(study, sets, seed)
    folder = out or Path("runs") / config.name
    quiet = quiet or not launched_ranks().is_first  # one of the ranks speaks for all
    as_json = as_json and launched_ranks().is_first
    with Bars(Console(stderr=True, markup=False), is_quiet=quiet or as_json) as bars:
        outcomes = run_stages(
            config, folder, stages=stages, storage=storage, progress=bars, n_jobs=jobs
        )
    if as_json:
        show_json(describe_run(folder, outcomes))
    elif not quiet:
        show_run(_make_console(), folder, outcomes)


def _load(study: str, sets: list[str] | None, seed: int | None) -> StudyConfig:
    changes = [*(sets or ()), *([f"seed={seed}"] if seed is not None else [])]
    return load_study(study, tuple(changes))


def _make_console() -> Console:
    # Rich takes a file or a pipe to be 80 columns wide, which is narrow for names of layers.
    is_free = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return Console(markup=False, width=_FREE_WIDTH if is_free else None)


def _write_page(path: Path, text: str) -> None:
    try:
        write_text(path, text)
    except CheckpointError as error:
        why = error.__cause__
        reason = why.strerror if isinstance(why, OSError) and why.strerror else error
        raise ConfigError(
            f"--html {path} cannot be written: {reason}; give a file in a folder that can be "
            "written to"
        ) from error


def _parse_shape(text: str) -> tuple[int, int, int]:
    try:
        channels, height, width = (int(part) for part in text.split(","))
        if min(channels, height, width) < 1:
            raise ValueError(text)
    except ValueError as error:
        raise ConfigError(
            f"--input-shape must be channels,height,width such as 3,224,224, got {text!r}"
        ) from error
    return channels, height, width


def _fail(error: object) -> None:
    _say_error(" ".join(str(error).split()))
    sys.exit(2)


def _say_error(message: str) -> None:
    # Of the ranks that torchrun started, those that fail because of another have nothing to add.
    if is_first_to_fail():
        print(f"dpod-search: {message}", file=sys.stderr)
