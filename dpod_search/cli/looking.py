"""The commands that only look: at a model, at a run or several, at the studies that ship."""

from __future__ import annotations

import os
import shlex
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from typing import Annotated

import typer

from dpod_search.cli.options import AsJson
from dpod_search.cli.options import Out
from dpod_search.cli.options import Quiet
from dpod_search.cli.options import Run
from dpod_search.cli.options import Sets
from dpod_search.cli.options import Storage
from dpod_search.cli.options import Study
from dpod_search.cli.options import make_console
from dpod_search.cli.places import find_folder
from dpod_search.cli.places import find_study_of
from dpod_search.cli.terminal import hearing_models
from dpod_search.cli.terminal import say
from dpod_search.cli.terminal import show_json
from dpod_search.errors import CheckpointError
from dpod_search.errors import ConfigError
from dpod_search.files import write_text
from dpod_search.progress import SilentProgress
from dpod_search.quantities import disk_size
from dpod_search.shipped import list_studies


if TYPE_CHECKING:
    from dpod_search.config import StudyConfig


def inspect(
    study: Study = None,
    run: Run = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="NAME", help="A model, without a study.")
    ] = None,
    input_shapes: Annotated[
        list[str] | None,
        typer.Option(
            "--input-shape",
            metavar="C,H,W",
            help="Input of --model, one sample; 3,224,224 by default. May be given again.",
        ),
    ] = None,
    input_dtypes: Annotated[
        list[str] | None,
        typer.Option(
            "--input-dtype",
            metavar="TYPE",
            help="Its type, int64 for instance, once for each shape: for models that take no "
            "pictures, or give no logits.",
        ),
    ] = None,
    example: Annotated[
        str | None,
        typer.Option(
            "--example",
            metavar="MODULE:FUNCTION",
            help="A function that returns the input of --model: a tensor, a tuple, a dictionary "
            "of arguments, or (args, kwargs).",
        ),
    ] = None,
    n_classes: Annotated[
        int,
        typer.Option("--classes", metavar="N", min=1, max=1_000_000, help="Outputs of --model."),
    ] = 1000,
    sets: Sets = None,
    page: Annotated[
        Path | None,
        typer.Option(
            "--html", metavar="FILE", help="Also draw the model's graph, as one HTML file."
        ),
    ] = None,
    times: Annotated[
        bool,
        typer.Option(
            "--times",
            help="Also measure about how long each stage of a run of the study takes, and how "
            "much disk.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show channel groups, and what stays as it is. With the reasons, and what the full net costs."""
    if (study is None and run is None) == (model is None):
        raise ConfigError("inspect needs either --study, --run or --model; give one of them")
    if run is not None:
        study = find_study_of(study, run, None)
    if times and study is None:
        raise ConfigError("--times is about the stages of a study; give --study")
    from dpod_search.cli.examples import AskedInput
    from dpod_search.cli.inspection import describe_supernet
    from dpod_search.cli.inspection import inspect_supernet
    from dpod_search.cli.inspection import load_supernet
    from dpod_search.cli.inspection import show_supernet
    from dpod_search.pipeline.estimating import describe_seconds
    from dpod_search.report.graph import build_graph_page

    with hearing_models(partial(say, is_error=True)):
        asked = AskedInput(input_shapes or (), input_dtypes or (), example)
        config, supernet = load_supernet(study, model, asked, n_classes, sets or [])
    found = inspect_supernet(supernet, study or str(model))
    if page is not None:
        _write_file("--html", page, build_graph_page(found))
    seconds, n_bytes = _estimate(config) if times else (None, 0.0)
    if as_json:
        told = {"seconds": seconds, "disk_bytes": round(n_bytes)} if times else {}
        show_json(describe_supernet(found) | told)
    else:
        show_supernet(make_console(), found)
        if times:
            lines = [describe_seconds(seconds)] if seconds else []
            say("; ".join([*lines, f"about {disk_size(n_bytes)} of disk"]))
        if page is not None:
            say(f"picture: {page}")


def status(
    study: Study = None,
    run: Run = None,
    out: Out = None,
    storage: Storage = None,
    as_json: AsJson = False,
) -> None:
    """Show how far a run is."""
    from dpod_search.cli.show import show_status
    from dpod_search.config import load_study
    from dpod_search.pipeline import read_status

    asked = find_study_of(study, run, out)
    folder = find_folder(run, out) or Path("runs") / load_study(asked).name
    found = read_status(folder, storage)
    if as_json:
        show_json(found)
    else:
        show_status(make_console(), found)


def compare(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN RUN...", help="Two to six run folders.")
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE", help="The HTML file to write.")
    ] = Path("compare.html"),
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Lay runs over each other on one page. They have the same data and objectives."""
    from dpod_search.report import write_comparison

    files = write_comparison(runs, out)
    if as_json:
        show_json({"page": str(files[0]), "numbers": [str(file) for file in files[1:]]})
    elif not quiet:
        say(f"comparison: {files[0]}")


def studies(as_json: AsJson = False) -> None:
    """List the studies that ship with the package."""
    found = list_studies()
    if as_json:
        show_json([{"name": n, "about": about, "file": str(path)} for n, about, path in found])
        return
    for name, about, _ in found:
        say(f"{name:<20} {about}")


def init(
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="NAME",
            help="A model by name, or a function of yours as package.module:function or "
            "file.py:function.",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="NAME",
            help="Data by name, a folder of pictures, or a .txt or .npz file.",
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option("--weights", metavar="FILE", help="Trained weights of the model."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="Write the study there, a .toml file."),
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Show every setting, what it means and its default.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the file of --out if it is there.")
    ] = False,
) -> None:
    """Look at a model and data, and print a study file. It is short, each setting with its reason."""
    from dpod_search.cli.drafts import write_study

    if out is not None:
        _check_file(out, force=force)
    said: dict[str, None] = {}  # what a model is made of, once, though it is made more than once
    with hearing_models(said.setdefault):
        text = write_study(model, data, weights, out, is_full=full)
    for line in said:
        say(line, is_error=True)
    if out is None:
        say(text, is_last=False)
        return
    _write_file("--out", out, text)
    say(f"study: {out}\nnext: dpod-search run --study {shlex.quote(str(out))}")


def _estimate(config: StudyConfig) -> tuple[dict[str, float] | None, float]:
    """Estimate seconds and bytes of the stages of a run that would begin now; no folder is made or read."""
    from dpod_search.pipeline import STAGES
    from dpod_search.pipeline import RunFolder
    from dpod_search.pipeline import Session
    from dpod_search.pipeline.disk import estimate_bytes
    from dpod_search.pipeline.pacing import estimate_stages
    from dpod_search.placement import limit_threads

    with limit_threads(config.threads), TemporaryDirectory() as nowhere:
        session = Session(config, RunFolder(Path(nowhere)), SilentProgress())
        names = [stage.name for stage in STAGES]
        return estimate_stages(session, names), sum(estimate_bytes(session, names).values())


def _check_file(out: Path, *, force: bool) -> None:
    """Raise unless a study may be written there.

    Raises:
        ConfigError: If its name is none of a study file, or a file is there that may not go.
    """
    if out.suffix != ".toml":
        raise ConfigError(f"--out {out} must end in .toml, as study files do; call it so")
    if os.path.lexists(out) and not force:
        raise ConfigError(f"--out {out} is there already; give another name, or --force")


def _write_file(option: str, path: Path, text: str) -> None:
    try:
        write_text(path, text)
    except CheckpointError as error:
        why = error.__cause__
        reason = why.strerror if isinstance(why, OSError) and why.strerror else error
        raise ConfigError(
            f"{option} {path} cannot be written: {reason}; give a file in a folder that can be "
            "written to"
        ) from error
