"""What the commands on a run do: one stage or all, a search joined, widths chosen at once."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from dpod_search.bounds import split_budgets
from dpod_search.cli.bars import Bars
from dpod_search.cli.options import Asked
from dpod_search.cli.options import make_console
from dpod_search.cli.show import describe_run
from dpod_search.cli.show import show_choices
from dpod_search.cli.show import show_run
from dpod_search.cli.terminal import PlainConsole
from dpod_search.cli.terminal import hearing_models
from dpod_search.cli.terminal import say
from dpod_search.cli.terminal import show_json
from dpod_search.pipeline import STAGES
from dpod_search.pipeline import run_stages
from dpod_search.pipeline import work
from dpod_search.records.oneshot import OneShot
from dpod_search.report import check_png
from dpod_search.report import write_pngs
from dpod_search.training import launched_ranks


def join_search(asked: Asked) -> None:
    """Work on the search of a run until it has ended, and say how it stands."""
    config = asked.load_config()
    folder = asked.out or Path("runs") / config.name
    with Bars(PlainConsole(is_error=True), is_quiet=asked.quiet or asked.as_json) as bars:
        result = work(config, folder, storage=asked.storage, progress=bars)
    if asked.as_json:
        counts = {"counts": result.counts, "n_front": len(result.front)}
        show_json({"study": config.name, "folder": str(folder), **counts})
    elif not asked.quiet:
        n_trials = len(result.trials)
        say(f"the study has {n_trials} finished trials and a front of {len(result.front)}")


def run_command(command: str, asked: Asked) -> None:
    """Run the stage that a command is called after, or all of them, and show what they did."""
    if asked.png:
        check_png()
    is_at_once = command == "mdp"
    config = (_choose_at_once(asked) if is_at_once else asked).load_config()
    folder = asked.out or Path("runs") / config.name
    every = tuple(stage.name for stage in STAGES)
    is_first = launched_ranks().is_first  # one of the ranks speaks for all
    is_silent = asked.quiet or asked.as_json or not is_first
    is_heard = is_first and not asked.quiet
    with (
        Bars(PlainConsole(is_error=True), is_quiet=is_silent) as bars,
        hearing_models(bars.say) if is_heard else nullcontext(),
    ):
        outcomes = run_stages(
            config,
            folder,
            stages=(command,) if command in every else every,
            storage=asked.storage,
            progress=bars,
            n_jobs=asked.jobs,
            tell=None if is_silent else bars.say,
        )
    chosen = OneShot.read(folder) if is_at_once else None
    if asked.as_json and is_first:
        choices = {"choices": chosen.to_json()["choices"]} if chosen is not None else {}
        show_json({**describe_run(folder, outcomes), **choices})
    elif not is_silent:
        console = make_console()
        if chosen is not None:
            show_choices(console, chosen)
        show_run(console, folder, outcomes)
    if asked.png:
        files = write_pngs(folder)
        if not is_silent:
            say(f"figures: {len(files)} PNG files in {folder / 'figures'}")


def _choose_at_once(asked: Asked) -> Asked:
    """Return what was asked, as changes of a study that would be searched otherwise."""
    name, method = asked.load_config().name, asked.method
    wanted = [each for text in asked.budget for each in split_budgets(text)]
    # A run of its own beside that of the search, whatever the study file is called.
    own = name if name.endswith(f"-{method}") else f"{name}-{method}"
    changes = [
        f"name={json.dumps(own)}",
        f"oneshot.method={json.dumps(method)}",
        f"oneshot.budgets={json.dumps(wanted)}",
        # A study that is searched has the options of another policy.
        'training.policy="dense"',
        "training.policy_options={}",
    ]
    if not asked.finetunes:
        changes += ["evaluation.repair=true", "finetune.epochs=0"]
    return replace(asked, sets=[*(asked.sets or ()), *changes])
