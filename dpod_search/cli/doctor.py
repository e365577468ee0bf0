"""The command that says what is installed, and whether a run would go through here."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from dpod_search.cli.options import AsJson
from dpod_search.cli.terminal import say
from dpod_search.cli.terminal import show_json


def doctor(
    smoke: Annotated[
        bool,
        typer.Option(
            "--smoke/--no-smoke",
            help="Run a tiny study through all stages, in a temporary folder: about ten seconds.",
        ),
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Say what is installed, and try a tiny run. Exit code 1 if something is amiss."""
    from dpod_search.pipeline.doctoring import examine

    found = []
    for finding in examine(has_smoke=smoke):
        found.append(finding)
        if not as_json:
            fix = f"; {finding.fix}" if finding.fix else ""
            say(f"{'ok' if finding.is_ok else 'failed':<6} {finding.name}: {finding.told}{fix}")
    is_ok = all(finding.is_ok for finding in found)
    if as_json:
        checks = [{"ok": each.pop("is_ok"), **each} for each in map(asdict, found)]
        show_json({"ok": is_ok, "checks": checks})
    if not is_ok:
        raise typer.Exit(1)
