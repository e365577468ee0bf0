"""What the commands print: tables for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from dpod_search.files import read_json
from dpod_search.footprint import FootprintModel
from dpod_search.footprint import build_footprint
from dpod_search.pipeline import StageOutcome
from dpod_search.supernet import Supernet


def show_json(value: Any) -> None:
    """Print a JSON value on standard output."""
    print(json.dumps(value, indent=2))


def describe_run(out: Path, outcomes: Sequence[StageOutcome]) -> dict[str, Any]:
    """Return what a run did as JSON values."""
    described: dict[str, Any] = {
        "folder": str(out),
        "stages": [
            {"name": o.name, "was_done": o.was_done, "seconds": round(o.seconds, 3)}
            for o in outcomes
        ],
    }
    if (out / "front.json").is_file():
        described["front"] = read_json(out / "front.json")
    if (out / "report.html").is_file():
        described["report"] = str(out / "report.html")
    return described


def show_run(console: Console, out: Path, outcomes: Sequence[StageOutcome]) -> None:
    """Print what a run did, and what to do with it."""
    for outcome in outcomes:
        what = "done before" if outcome.was_done else f"{outcome.seconds:.1f} s"
        console.print(f"{outcome.name:>9}: {what}", highlight=False)
    ran = {outcome.name for outcome in outcomes}
    if (out / "front.json").is_file() and ran & {"finetune", "export", "report"}:
        console.print(_front_table(read_json(out / "front.json")))
    if (out / "report.html").is_file() and "report" in ran:
        console.print(f"report: {out / 'report.html'}", highlight=False, soft_wrap=True)
    if (out / "exported").is_dir() and "export" in ran:
        console.print(f"models: {out / 'exported'}", highlight=False, soft_wrap=True)


def _front_table(front: Mapping[str, Any]) -> Table:
    full = front["full"]
    table = Table(
        title=f"{front['study']}: subnets after finetuning, cheapest first",
        caption="lost: points of test accuracy, against the full net",
        box=box.SIMPLE_HEAD,
    )
    for heading in ("trial", "macs", "of full", "params", "validation", "test", "lost", "front"):
        table.add_column(heading, justify="right", overflow="fold")  # a number is never cut
    for member in front["members"]:
        lost = 100 * (full["test_accuracy"] - member["test_accuracy"])
        is_full = all(member[cost] == full[cost] for cost in ("macs", "params"))
        table.add_row(
            # Without a trial of its own the full net's folder already says so.
            f"{member['trial']} (full)"
            if is_full and member["trial"] is not None
            else member["folder"],
            f"{member['macs']:,}",
            f"{100 * member['macs_share']:.1f} %",
            f"{member['params']:,}",
            f"{100 * member['validation_accuracy']:.1f} %",
            f"{100 * member['test_accuracy']:.1f} %",
            f"{lost:+.1f}",
            "yes" if member["on_front"] else "",
        )
    return table


def describe_supernet(supernet: Supernet) -> dict[str, Any]:
    """Return what discovery found in a model as JSON values."""
    footprint = build_footprint(supernet)
    space = supernet.space
    return {
        "groups": [
            {
                "name": group.name,
                "full": group.full_width,
                "rungs": list(rungs),
                "members": list(group.members),
                "macs_share": _share(footprint, supernet, group.name),
            }
            for group, rungs in zip(supernet.groups, space.rungs, strict=True)
        ],
        "frozen": [
            {"name": item.name, "full": item.full_width, "reasons": list(item.reasons)}
            for item in supernet.grouping.frozen
        ],
        "uncounted": list(supernet.grouping.uncounted),
        "full": footprint.measure(space.full),
        "smallest": footprint.measure(space.smallest),
        "n_subnets": str(space.n_subnets),
    }


def _share(footprint: FootprintModel, supernet: Supernet, name: str) -> float:
    """Return the share of all macs that narrowing one group to its first rung saves."""
    space = supernet.space
    narrowest = space.rungs[space.names.index(name)][0]
    full = footprint.measure(space.full)["macs"]
    return 1 - footprint.measure(space.full.replace(name, narrowest))["macs"] / full


def show_supernet(console: Console, described: Mapping[str, Any]) -> None:
    """Print what discovery found in a model."""
    groups = Table(title="channel groups")
    for heading in ("group", "full", "rungs", "saves macs", "members"):
        groups.add_column(heading, overflow="fold")
    for group in described["groups"]:
        rungs = " ".join(map(str, group["rungs"]))
        share = f"{100 * group['macs_share']:.1f} %"
        groups.add_row(
            group["name"], str(group["full"]), rungs, share, ", ".join(group["members"])
        )
    console.print(groups)
    frozen = Table(title="frozen dimensions")
    for heading in ("dimension", "full", "why"):
        frozen.add_column(heading, overflow="fold")
    for item in described["frozen"]:
        frozen.add_row(item["name"], str(item["full"]), "; ".join(item["reasons"]))
    console.print(frozen)
    for operation in described["uncounted"]:
        console.print(f"macs not counted: {operation}", highlight=False)
    for size in ("full", "smallest"):
        costs = ", ".join(f"{name} {value:,}" for name, value in described[size].items())
        console.print(f"{size} net: {costs}", highlight=False)
    console.print(f"subnets: {int(described['n_subnets']):,}", highlight=False)


def show_status(console: Console, status: Mapping[str, Any]) -> None:
    """Print how far a run is."""
    running = "a process works on it" if status["is_running"] else "no process works on it"
    console.print(
        f"{status['study']} in {status['folder']}: {running}", highlight=False, soft_wrap=True
    )
    for stage, has_ended in status["stages"].items():
        console.print(f"{stage:>9}: {'ended' if has_ended else 'not ended'}", highlight=False)
    trials = ", ".join(f"{n} {state}" for state, n in status["trials"].items()) or "none"
    if "counts" in status and not status["trials"]:
        trials = "not in the run folder; --storage says where they are"
    else:
        trials = f"{trials} of {status['n_trials']}"
    console.print(f"trials: {trials}", highlight=False)
    if "counts" in status:
        fates = ", ".join(f"{n} {fate}" for fate, n in status["counts"].items() if n)
        console.print(f"fates: {fates}; front of {status['n_front']}", highlight=False)
        audit = status["audit"]
        if audit["rate"] is not None:
            console.print(
                f"false prunes: {audit['n_wrong']} of {audit['n_audited']} audited "
                f"(95 % interval {100 * audit['low']:.0f} to {100 * audit['high']:.0f} %)",
                highlight=False,
            )
    console.print(f"finetuned: {status['n_finetuned']}", highlight=False)
