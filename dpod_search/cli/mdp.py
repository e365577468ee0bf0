"""The ``mdp`` command: widths chosen at once at given budgets, then finetuned and exported."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from dpod_search.bounds import split_budgets
from dpod_search.cli.bars import Bars
from dpod_search.cli.options import AsJson
from dpod_search.cli.options import Jobs
from dpod_search.cli.options import LatencyTableFile
from dpod_search.cli.options import Out
from dpod_search.cli.options import Quiet
from dpod_search.cli.options import Seed
from dpod_search.cli.options import Sets
from dpod_search.cli.options import Storage
from dpod_search.cli.options import Study
from dpod_search.cli.options import load_config
from dpod_search.cli.options import make_console
from dpod_search.cli.options import set_latency_table
from dpod_search.cli.show import describe_run
from dpod_search.cli.show import show_choices
from dpod_search.cli.show import show_json
from dpod_search.cli.show import show_run
from dpod_search.cli.terminal import PlainConsole
from dpod_search.files import read_json
from dpod_search.pipeline import STAGES
from dpod_search.pipeline import run_stages
from dpod_search.pipeline.oneshot import FILE
from dpod_search.training import launched_ranks


def mdp(
    study: Study,
    budget: Annotated[
        list[str],
        typer.Option(
            "--budget",
            "-b",
            metavar="BUDGET",
            help="What a subnet may cost, for instance latency<=50% or macs<=2M; may be given "
            "again, and several with a comma between them.",
        ),
    ],
    method: Annotated[
        str,
        typer.Option(
            "--method",
            metavar="METHOD",
            help="mdp, or to compare with it: uniform, magnitude, taylor, random.",
        ),
    ] = "mdp",
    out: Out = None,
    sets: Sets = None,
    seed: Seed = None,
    storage: Storage = None,
    latency_table: LatencyTableFile = None,
    jobs: Jobs = 1,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Prune at once, without supernet or search: the widths that keep most importance."""
    name = load_config(study, sets, seed).name
    changes = [*(sets or ()), *_make_changes(name, method, budget)]
    config = load_config(study, set_latency_table(changes, latency_table), seed)
    folder = out or Path("runs") / config.name
    every = tuple(stage.name for stage in STAGES)
    is_first = launched_ranks().is_first  # one of the ranks speaks for all
    quiet, as_json = quiet or not is_first, as_json and is_first
    with Bars(PlainConsole(is_error=True), is_quiet=quiet or as_json) as bars:
        outcomes = run_stages(
            config, folder, stages=every, storage=storage, progress=bars, n_jobs=jobs
        )
    if as_json:
        choices = read_json(folder / FILE)["choices"]
        show_json({**describe_run(folder, outcomes), "choices": choices})
    elif not quiet:
        console = make_console()
        show_choices(console, read_json(folder / FILE))
        show_run(console, folder, outcomes)


def _make_changes(name: str, method: str, budgets: Sequence[str]) -> list[str]:
    wanted = [each for text in budgets for each in split_budgets(text)]
    # A run of its own beside that of the search, whatever the study file is called.
    own = name if name.endswith(f"-{method}") else f"{name}-{method}"
    return [
        f"name={json.dumps(own)}",
        f"oneshot.method={json.dumps(method)}",
        f"oneshot.budgets={json.dumps(wanted)}",
        # A study that is searched has the options of another policy.
        'training.policy="dense"',
        "training.policy_options={}",
    ]
