"""The ``compare`` command: several runs laid over each other on one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dpod_search.cli.options import AsJson
from dpod_search.cli.options import Quiet
from dpod_search.cli.show import show_json
from dpod_search.cli.terminal import say
from dpod_search.report import write_comparison


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
    """Lay runs of the same data and objectives over each other on one page."""
    files = write_comparison(runs, out)
    if as_json:
        show_json({"page": str(files[0]), "numbers": [str(file) for file in files[1:]]})
    elif not quiet:
        say(f"comparison: {files[0]}")
