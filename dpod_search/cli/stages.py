"""The commands that run stages: one for each, ``run`` for all of them, and ``worker``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dpod_search.cli.bars import Bars
from dpod_search.cli.options import AsJson
from dpod_search.cli.options import Budgets
from dpod_search.cli.options import Jobs
from dpod_search.cli.options import LatencyTableFile
from dpod_search.cli.options import Out
from dpod_search.cli.options import Parent
from dpod_search.cli.options import Quiet
from dpod_search.cli.options import Seed
from dpod_search.cli.options import Sets
from dpod_search.cli.options import Storage
from dpod_search.cli.options import Study
from dpod_search.cli.options import load_config
from dpod_search.cli.options import make_console
from dpod_search.cli.options import set_budgets
from dpod_search.cli.options import set_latency_table
from dpod_search.cli.show import describe_run
from dpod_search.cli.show import show_json
from dpod_search.cli.show import show_run
from dpod_search.cli.terminal import PlainConsole
from dpod_search.cli.terminal import say
from dpod_search.orphans import end_with
from dpod_search.pipeline import STAGES
from dpod_search.pipeline import run_stages
from dpod_search.pipeline import work
from dpod_search.training import launched_ranks


STAGE_HELP = {
    "train": "Train the supernet.",
    "search": "Search the widths of the trained supernet.",
    "finetune": "Finetune the best subnets and test them.",
    "export": "Export the finetuned subnets as plain models.",
    "report": "Write report.html from what the run folder holds.",
}


def run(
    study: Study,
    out: Out = None,
    sets: Sets = None,
    seed: Seed = None,
    storage: Storage = None,
    budgets: Budgets = None,
    latency_table: LatencyTableFile = None,
    jobs: Jobs = 1,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train, search, finetune, export and report; go on where an earlier run stopped."""
    every = tuple(stage.name for stage in STAGES)
    sets = set_latency_table(set_budgets(sets, budgets), latency_table)
    _run(every, study, out, sets, seed, storage, jobs, quiet, as_json)


def search(
    study: Study,
    out: Out = None,
    sets: Sets = None,
    seed: Seed = None,
    storage: Storage = None,
    latency_table: LatencyTableFile = None,
    jobs: Jobs = 1,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Search the widths of the trained supernet."""
    sets = set_latency_table(sets, latency_table)
    _run(("search",), study, out, sets, seed, storage, jobs, quiet, as_json)


def finetune(
    study: Study,
    out: Out = None,
    sets: Sets = None,
    seed: Seed = None,
    storage: Storage = None,
    budgets: Budgets = None,
    latency_table: LatencyTableFile = None,
    jobs: Jobs = 1,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Finetune the best subnets and test them."""
    sets = set_latency_table(set_budgets(sets, budgets), latency_table)
    _run(("finetune",), study, out, sets, seed, storage, jobs, quiet, as_json)


def worker(
    study: Study,
    out: Out = None,
    sets: Sets = None,
    seed: Seed = None,
    storage: Storage = None,
    latency_table: LatencyTableFile = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
    parent: Parent = None,
) -> None:
    """Join a search: one more process on the study of a run folder, or of a copy of it."""
    if parent is not None:
        end_with(parent)
    config = load_config(study, set_latency_table(sets, latency_table), seed)
    folder = out or Path("runs") / config.name
    with Bars(PlainConsole(is_error=True), is_quiet=quiet or as_json) as bars:
        result = work(config, folder, storage=storage, progress=bars)
    if as_json:
        counts = {"counts": result.counts, "n_front": len(result.front)}
        show_json({"study": config.name, "folder": str(folder), **counts})
    elif not quiet:
        n_trials = len(result.trials)
        say(f"the study has {n_trials} finished trials and a front of {len(result.front)}")


def make_stage_command(name: str) -> Callable[..., None]:
    """Return the command of a stage that has no options of its own."""

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

    return run_one


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
    config = load_config(study, sets, seed)
    folder = out or Path("runs") / config.name
    quiet = quiet or not launched_ranks().is_first  # one of the ranks speaks for all
    as_json = as_json and launched_ranks().is_first
    with Bars(PlainConsole(is_error=True), is_quiet=quiet or as_json) as bars:
        outcomes = run_stages(
            config,
            folder,
            stages=stages,
            storage=storage,
            progress=bars,
            n_jobs=jobs,
            tell=None if quiet or as_json else bars.say,
        )
    if as_json:
        show_json(describe_run(folder, outcomes))
    elif not quiet:
        show_run(make_console(), folder, outcomes)
