"""The command that shows a run in Optuna's dashboard."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from typing import Annotated

import typer

from dpod_search.cli.options import Out
from dpod_search.cli.options import Run
from dpod_search.cli.options import Storage
from dpod_search.cli.options import Study
from dpod_search.cli.places import find_folder
from dpod_search.cli.places import find_study_of
from dpod_search.cli.terminal import say
from dpod_search.quantities import plural


if TYPE_CHECKING:
    from dpod_search.dashboard import Decorated


_MAX_PORT = 65535


def dashboard(
    study: Study = None,
    run: Run = None,
    out: Out = None,
    storage: Storage = None,
    host: Annotated[
        str, typer.Option("--host", metavar="HOST", help="The address to listen on.")
    ] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(
            "--port", metavar="N", min=0, max=_MAX_PORT, help="The port; 0 is any that is free."
        ),
    ] = 8080,
    allow_remote: Annotated[
        bool,
        typer.Option(
            "--allow-remote", help="Let other machines look. There is no login: all can."
        ),
    ] = False,
    is_served: Annotated[
        bool,
        typer.Option(
            "--serve/--no-serve", help="Start the dashboard, or only write what it shows."
        ),
    ] = True,
) -> None:
    """Show a run in Optuna's dashboard. With notes, figures and files."""
    from dpod_search.config import load_study
    from dpod_search.dashboard import decorate_study
    from dpod_search.dashboard import is_loopback
    from dpod_search.dashboard import open_server
    from dpod_search.dashboard import serve
    from dpod_search.pipeline.storage import find_storage

    name = load_study(find_study_of(study, run, out)).name
    folder = find_folder(run, out) or Path("runs") / name
    found = decorate_study(folder, name, find_storage(folder, storage).url)
    if not is_served:
        _tell(found)
        return
    with open_server(
        found.storage, folder / "artifacts", host=host, port=port, allow_remote=allow_remote
    ) as server:
        _tell(found)
        if not is_loopback(host):
            say(
                "dpod-search: warning: the dashboard has no login; whoever reaches "
                f"{host} sees every study of the storage",
                is_error=True,
            )
        address = f"{server.address}/dashboard/studies/{found.study_id}"
        serve(server, lambda: say(f"{name}: {address} (Ctrl-C ends it)"))


def _tell(found: Decorated) -> None:
    if found.is_searching:
        say(
            "the search has not ended: its trials are shown as they come; give the command again "
            "afterwards for notes, figures and files"
        )
        return
    if found.is_read_only:
        say("nothing can be written here: the study is shown as it is, without new notes")
        return
    counts = {"note": found.n_notes, "figure": found.n_figures, "file": found.n_files}
    told = [plural(n, noun) for noun, n in counts.items() if n]
    say("written: " + ", ".join(told) if told else "notes, figures and files are as they were")
