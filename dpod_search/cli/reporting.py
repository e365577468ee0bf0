"""The ``report`` command: the page, and each figure as PNG if it is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dpod_search.cli.options import AsJson
from dpod_search.cli.options import Out
from dpod_search.cli.options import Quiet
from dpod_search.cli.options import Seed
from dpod_search.cli.options import Sets
from dpod_search.cli.options import Storage
from dpod_search.cli.options import Study
from dpod_search.cli.options import load_config
from dpod_search.cli.stages import make_stage_command
from dpod_search.cli.terminal import say
from dpod_search.report import check_png
from dpod_search.report import write_pngs


Png = Annotated[
    bool,
    typer.Option("--png", help="Write each figure as PNG too; needs the extra [png], a browser."),
]

_run_stage = make_stage_command("report")


def report(
    study: Study,
    out: Out = None,
    sets: Sets = None,
    seed: Seed = None,
    storage: Storage = None,
    png: Png = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Write report.html from what the run folder holds."""
    if png:
        check_png()
    _run_stage(study, out, sets, seed, storage, quiet, as_json)
    if png:
        folder = out or Path("runs") / load_config(study, sets, seed).name
        files = write_pngs(folder)
        if not quiet and not as_json:
            say(f"figures: {len(files)} PNG files in {folder / 'figures'}")
