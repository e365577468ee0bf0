"""What ``inspect`` shows of a supernet: plain values without tensors, for people and as JSON."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console

from dpod_search.cli.examples import AskedInput
from dpod_search.config import StudyConfig
from dpod_search.config import load_study
from dpod_search.config import make_study
from dpod_search.data import load_data
from dpod_search.errors import ConfigError
from dpod_search.footprint import build_footprint
from dpod_search.footprint import list_parts
from dpod_search.footprint import measure_shares
from dpod_search.inputs import read_example
from dpod_search.models import build_model
from dpod_search.models import build_untried
from dpod_search.pipeline.nets import build_study
from dpod_search.pipeline.nets import draw_samples
from dpod_search.pipeline.nets import make_supernet
from dpod_search.quantities import in_percent
from dpod_search.quantities import spell
from dpod_search.report.graph import InspectedDimension
from dpod_search.report.graph import InspectedGroup
from dpod_search.report.graph import InspectedOperation
from dpod_search.report.graph import Inspection
from dpod_search.supernet import Grouping
from dpod_search.supernet import Layout
from dpod_search.supernet import Supernet
from dpod_search.supernet import full_size


_MAKERS = ("conv", "linear", "attention", "recurrent")
_OWN = ("module", "parameter")  # operations that a path of the model names


def load_supernet(
    study: str | None, model: str | None, asked: AskedInput, n_classes: int, sets: Sequence[str]
) -> tuple[StudyConfig, Supernet]:
    """Build the supernet of a study, or of a model without one.

    Args:
        study: A study file, or the name of a shipped study.
        model: Without a study, the name of a model.
        asked: Its input. Of a model that takes other than pictures nothing is asked but tensors.
        n_classes: Its outputs.
        sets: Changes of the settings.
    """
    if study is not None:
        if asked.is_given:
            raise ConfigError(
                "--input-shape, --input-dtype and --example are about --model; the data of a study "
                "say what its model takes"
            )
        config = load_study(study, sets)
        return config, build_study(config, load_data(config.data, config.seed))
    config = make_study("inspect", [f"model.name={json.dumps(model)}", *sets])
    picture = asked.find_picture()
    if picture is None:
        example = asked.make_example()
        shape = read_example(example).sample_shape
        net = build_untried(config.model, input_shape=shape, n_classes=n_classes, seed=config.seed)
        return config, make_supernet(config, net, example)
    try:
        net = build_model(config.model, input_shape=picture, n_classes=n_classes, seed=config.seed)
    except ConfigError as error:
        tried = f"--input-shape {','.join(map(str, picture))} --classes {n_classes}"
        raise ConfigError(f"{error} (tried with {tried})") from error
    return config, make_supernet(config, net, draw_samples(config.seed, picture))


def inspect_supernet(supernet: Supernet, title: str) -> Inspection:
    """Read off a supernet what discovery found in the model.

    Args:
        supernet: The net.
        title: The name of the study or model.

    Returns:
        Groups with what they weigh, frozen dimensions with their reasons, and operations.
    """
    footprint = build_footprint(supernet)
    space, grouping = supernet.space, supernet.grouping
    lines: dict[str, str] = {}
    for operation in grouping.operations:
        if operation.kind in _OWN:
            lines.setdefault(operation.what, operation.line)
    weighed = measure_shares(supernet, footprint)
    return Inspection(
        title=title,
        groups=tuple(
            InspectedGroup(
                name=group.name,
                kind=group.kind,
                full=group.full_width,
                rungs=tuple(rungs),
                members=group.members,
                line=_find_line(lines, (group.name, *group.members)),
                in_layers=asdict(shares.in_layers),
                saves=asdict(shares.saves),
                out_of_order=group.out_of_order,
            )
            for group, rungs, shares in zip(grouping.groups, space.rungs, weighed, strict=True)
        ),
        frozen=tuple(
            InspectedDimension(
                name=item.name,
                full=item.full_width,
                reasons=item.reasons,
                members=item.members,  # the only layer of it that discovery tells
                line=_find_line(lines, item.members),
            )
            for item in grouping.frozen
        ),
        operations=_list_operations(grouping),
        uncounted=grouping.uncounted,
        full=footprint.measure(space.full),
        smallest=footprint.measure(space.smallest),
        n_subnets=space.n_subnets,
    )


def _find_line(lines: dict[str, str], names: Iterable[str]) -> str:
    return next((lines[name] for name in names if lines.get(name)), "")


def _list_operations(grouping: Grouping) -> tuple[InspectedOperation, ...]:
    makers = {plan.name for plan in grouping.layers if plan.kind in _MAKERS}
    costs = _sum_costs(grouping)
    listed: list[InspectedOperation] = []
    for operation in grouping.operations:
        is_own = operation.kind in _OWN
        # A layer that is called twice has one cost, which covers all its calls.
        keys = (operation.name, operation.what) if is_own else (operation.name,)
        found = [costs.pop(key, (0, 0)) for key in keys]
        listed.append(
            InspectedOperation(
                name=operation.name,
                what=operation.what,
                kind=operation.kind,
                inputs=operation.inputs,
                shape=tuple(map(full_size, operation.axes[1:])) if operation.axes else None,
                groups=_find_groups(operation.axes),
                blocks=operation.blocks,
                line=operation.line,
                is_maker=is_own and operation.what in makers,
                macs=sum(macs for macs, _ in found),
                params=sum(params for _, params in found),
            )
        )
    return tuple(listed)


def _sum_costs(grouping: Grouping) -> dict[str, tuple[int, int]]:
    """Return macs and params by the name of an operation, or by the path that it calls."""
    products = {plan.node for plan in grouping.products}
    called = {item.what for item in grouping.operations if item.kind in _OWN}
    costs: dict[str, tuple[int, int]] = {}
    for part in list_parts(grouping):
        name = part.name
        while name not in products and name not in called and "." in name:
            name = name.rpartition(".")[0]  # a layer inside one that is called as a whole
        macs, params = costs.get(name, (0, 0))
        costs[name] = (macs + part.macs, params + part.params)
    return costs


def _find_groups(axes: Iterable[Layout]) -> tuple[int, ...]:
    """Return the groups of the first axis that has any, in the order of its channels."""
    for layout in axes:
        groups = [segment.group for segment in layout if segment.group is not None]
        if groups:
            return tuple(dict.fromkeys(groups))
    return ()


def describe_supernet(inspection: Inspection) -> dict[str, Any]:
    """Return what discovery found in a model as JSON values."""
    described = asdict(inspection)
    # Operations are for the picture, and a number of subnets may be too large for a float.
    for name in ("title", "operations"):
        del described[name]
    return described | {"n_subnets": str(inspection.n_subnets)}


def show_supernet(console: Console, inspection: Inspection) -> None:
    """Print what discovery found in a model."""

    def say(*lines: str) -> None:
        for line in lines:
            # Lines are as long as they should be, but a path is never cut.
            console.print(line, highlight=False, markup=False, soft_wrap=True)

    room = max(console.width - _N_NUMBERS, 20)
    say("channel groups", f"{'':<{room}}{_HEADINGS[0]}", f"{'':<{room}}{_HEADINGS[1]}")
    for group in inspection.groups:
        others = [member for member in group.members if member != group.name]
        say(*_show_group(group, room), *_wrap(_join(others), console.width))
        for reason in group.out_of_order:
            say(*_wrap(f"weights not shared in order: {reason}", console.width))
    say("", *_wrap(_GROUPS_CAPTION, console.width, indent=0))
    if inspection.frozen:
        say("", "frozen dimensions")
    for item in inspection.frozen:
        say(item.name if item.full is None else f"{item.name}  {item.full}")
        made = [f"made at {item.line}"] if item.line else []
        for reason in (*item.reasons, *made):
            say(*_wrap(reason, console.width))
    say("", *(f"macs not counted: {operation}" for operation in inspection.uncounted))
    for which, sizes in (("full", inspection.full), ("smallest", inspection.smallest)):
        less = {"macs": " (without those not counted)"} if inspection.uncounted else {}
        costs = ", ".join(
            f"{name} {spell(name, value)}{less.get(name, '')}" for name, value in sizes.items()
        )
        say(f"{which} net: {costs}")
    say(f"subnets: {inspection.n_subnets:,}")


_HEADINGS = (
    "                        in layers     saves, in %",
    "     kind first  full   macs params   macs params",
)
_N_NUMBERS = len(_HEADINGS[1])
_GROUPS_CAPTION = (
    "first, full: width at the first rung and at the last. in layers: share of the net, in %, that "
    "lies in layers which the group widens or narrows (one between two groups counts for both). "
    "saves: what narrowing this group alone to its first rung saves."
)
_N_MEMBERS = 3


def _show_group(group: InspectedGroup, room: int) -> list[str]:
    costs = ("macs", "params")
    shares = [share[cost] for share in (group.in_layers, group.saves) for cost in costs]
    numbers = f"{group.kind:>9} {group.rungs[0]:>5} {group.full:>5}"
    numbers += "".join(f"{in_percent(share):>7}" for share in shares)
    if len(group.name) <= room:
        return [f"{group.name:<{room}}{numbers}"]
    return [group.name, f"{'':<{room}}{numbers}"]


def _join(names: Sequence[str]) -> str:
    more = len(names) - _N_MEMBERS
    return ", ".join(names[:_N_MEMBERS]) + (f" + {more} more" if more > 0 else "")


def _wrap(text: str, width: int, indent: int = 2) -> list[str]:
    space = " " * indent
    return textwrap.wrap(
        text,
        width,
        initial_indent=space,
        subsequent_indent=space,
        break_long_words=False,
        break_on_hyphens=False,
    )
