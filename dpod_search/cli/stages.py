"""What the commands on a run do: one stage or all, a search joined, widths chosen at once."""

from __future__ import annotations

import json
from contextlib import nullcontext
from contextlib import suppress
from dataclasses import replace
from functools import partial

from dpod_search.bounds import split_budgets
from dpod_search.cli.bars import Bars
from dpod_search.cli.options import Asked
from dpod_search.cli.options import make_console
from dpod_search.cli.places import find_study_of
from dpod_search.cli.show import describe_run
from dpod_search.cli.show import show_choices
from dpod_search.cli.show import show_run
from dpod_search.cli.terminal import PlainConsole
from dpod_search.cli.terminal import hearing_models
from dpod_search.cli.terminal import say
from dpod_search.cli.terminal import show_json
from dpod_search.errors import ConfigError
from dpod_search.pipeline import STAGES
from dpod_search.pipeline import Session
from dpod_search.pipeline import run_stages
from dpod_search.pipeline import work
from dpod_search.pipeline.estimating import describe_seconds
from dpod_search.pipeline.pacing import estimate_stages
from dpod_search.records.oneshot import OneShot
from dpod_search.report import check_png
from dpod_search.report import write_pngs
from dpod_search.training import launched_ranks


def join_search(asked: Asked) -> None:
    """Work on the search of a run until it has ended, and say how it stands."""
    config = asked.load_config()
    folder = asked.find_folder(config)
    is_silent = asked.quiet or asked.as_json
    with Bars(PlainConsole(is_error=True), is_quiet=is_silent) as bars:
        tell = None if is_silent else partial(_tell_seconds, bars)
        result = work(config, folder, storage=asked.storage, progress=bars, tell=tell)
    if asked.as_json:
        counts = {"counts": result.counts, "n_front": len(result.front)}
        show_json({"study": config.name, "folder": str(folder), **counts})
    elif not asked.quiet:
        n_trials = len(result.trials)
        say(f"the study has {n_trials} finished trials and a front of {len(result.front)}")


def _tell_seconds(bars: Bars, session: Session) -> None:
    """Say about how long what is left of a search would take one worker."""
    with suppress(Exception):  # it is not what was asked for, and the search itself will complain
        seconds = estimate_stages(session, ["search"])
        if seconds:
            bars.say(f"{describe_seconds(seconds)}; less with every other worker")


def run_command(command: str, asked: Asked) -> None:
    """Run the stage that a command is called after, or all of them, and show what they did."""
    if asked.png:
        check_png()
    is_at_once = command == "mdp"
    asked = _choose_at_once(asked) if is_at_once else asked
    config = asked.load_config()
    folder = asked.find_folder(config)
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
    config, method = asked.load_config(), asked.method
    name, budgets = config.name, asked.budget or config.oneshot.budgets
    if not budgets:
        raise ConfigError(
            "mdp needs to know what a subnet may cost; give --budget, for instance "
            '--budget "macs<=50%"'
        )
    wanted = [each for text in budgets for each in split_budgets(text)]
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
    study = find_study_of(asked.study, asked.run, asked.out)
    # The folder of a search gives the study alone.
    run = asked.run if own == name else None
    return replace(asked, study=study, run=run, sets=[*(asked.sets or ()), *changes])
