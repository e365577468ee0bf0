"""From a run folder to a :class:`Run`; the files are described in docs/architecture.md."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from typing import cast

from dpod_search.errors import CheckpointError
from dpod_search.errors import RunFolderError
from dpod_search.files import parse_toml
from dpod_search.pareto import Direction
from dpod_search.records.exported import read_manifest
from dpod_search.records.fields import Fields
from dpod_search.records.fields import fail
from dpod_search.records.front import read_front
from dpod_search.records.latency import LatencyDevice
from dpod_search.records.latency import LatencyFit
from dpod_search.records.oneshot import OneShot
from dpod_search.records.oneshot import OneShotChoice
from dpod_search.records.run import FATES
from dpod_search.records.run import Audit
from dpod_search.records.run import Group
from dpod_search.records.run import Objective
from dpod_search.records.run import Profile
from dpod_search.records.run import Run
from dpod_search.records.run import Search
from dpod_search.records.run import Training
from dpod_search.records.run import TrainingStep
from dpod_search.records.subnets import read_footprint
from dpod_search.records.subnets import read_footprints
from dpod_search.records.subnets import read_widths
from dpod_search.records.trials import read_trials


T = TypeVar("T")


def read_run(folder: Path) -> Run:
    """Read what the stages of a run have written.

    Args:
        folder: The run folder, ``runs/<study>``.

    Returns:
        The run; what a later stage would have written is None if that stage has not run.

    Raises:
        RunFolderError: If the search stage has not run there.
        CheckpointError: If a file is damaged.
    """
    for name in ("search.json", "trials.csv"):
        if not (folder / name).is_file():
            raise RunFolderError(
                f"{folder} has no {name}: the search stage has not run there; "
                "run `dpod-search search` on this study first, or give another run folder"
            )
    search = _read_search(folder / "search.json")
    trials = read_trials(folder / "trials.csv", search)
    unknown = set(search.front) - {trial.number for trial in trials}
    if unknown:
        fail(folder / "search.json", "front", "trials of trials.csv", sorted(unknown))
    config = _read_if_there(folder / "config.toml", _read_config)
    return Run(
        folder=folder,
        search=search,
        trials=trials,
        training=_read_if_there(folder / "training.json", _read_training),
        path=_read_if_there(folder / "path.json", lambda path: _read_path(path, search)),
        front=_read_if_there(folder / "front.json", lambda path: read_front(path, search, trials)),
        exported=_read_if_there(
            folder / "exported" / "manifest.json", lambda path: read_manifest(path, trials)
        ),
        config=config,
        environment=_read_if_there(folder / "environment.json", _read_environment),
        latency=(
            _read_if_there(folder / "latency.json", _read_latency)
            if "latency" in search.footprints
            else None  # of an earlier search, which modelled latency
        ),
        oneshot=(
            _read_if_there(folder / "oneshot.json", lambda path: _read_oneshot(path, search))
            if _may_be_oneshot(config)
            else None  # of an earlier run in this folder, which did not search
        ),
    )


def _read_if_there(path: Path, read: Callable[[Path], T]) -> T | None:
    return read(path) if path.is_file() else None


def _read_search(path: Path) -> Search:
    fields = Fields.from_file(path)
    footprints = read_footprints(fields)
    objectives = tuple(_read_objective(f, footprints) for f in fields.inners("objectives"))
    if not objectives:
        fields.refuse("objectives", "a list of at least one objective")
    full = fields.inner("full")
    full.integer("macs", low=1)
    constraints = fields.inner("constraints")
    counts = fields.inner("counts")
    return Search(
        study=fields.text("study"),
        groups=tuple(_read_group(inner) for inner in fields.inners("groups")),
        objectives=objectives,
        footprints=footprints,
        constraints={name: constraints.text(name) for name in constraints.values},
        full={name: full.number(name) for name in full.values if full.get(name) is not None},
        counts={fate: counts.integer(fate) for fate in FATES},
        audit=_read_audit(fields.inner("audit")),
        front=fields.integers("front"),
        importance=_read_importance(fields),
        importance_r2=_read_numbers(fields, "importance_r2"),
        # An older version wrote none.
        uncounted=fields.texts("uncounted") if "uncounted" in fields.values else (),
    )


def _read_objective(fields: Fields, footprints: tuple[str, ...]) -> Objective:
    direction = cast(Direction, fields.choice("direction", ("minimize", "maximize")))
    name = fields.text("name")
    # A latency is a footprint as well, though it has to be measured.
    return Objective(name, direction, is_footprint=name in (*footprints, "latency_ms"))


def _read_group(fields: Fields) -> Group:
    # A version before 0.3 wrote none.
    shares = _read_numbers(fields, "shares") if "shares" in fields.values else None
    return Group(
        fields.text("name"), fields.integer("full", low=1), fields.integers("rungs"), shares
    )


def _read_numbers(fields: Fields, key: str) -> dict[str, float]:
    inner = fields.inner(key) if key in fields.values else Fields(fields.path, "", {})
    return {name: inner.number(name) for name in inner.values}


def _read_importance(fields: Fields) -> dict[str, dict[str, float]] | None:
    if "importance" not in fields.values:
        return None  # a version before 0.3 wrote it
    importance = fields.inner("importance")
    inners = {name: importance.inner(name) for name in importance.values}
    return {
        name: {group: inner.number(group) for group in inner.values}
        for name, inner in inners.items()
    }


def _read_audit(fields: Fields) -> Audit:
    return Audit(
        n_audited=fields.integer("n_audited"),
        n_wrong=fields.integer("n_wrong"),
        rate=fields.optional_number("rate"),
        low=fields.optional_number("low"),
        high=fields.optional_number("high"),
        n_drawn=fields.integer("n_drawn") if "n_drawn" in fields.values else 0,  # 0.1.0 lacks it
        saved=fields.optional_number("saved"),
        saved_low=fields.optional_number("saved_low"),
        saved_high=fields.optional_number("saved_high"),
    )


def _read_training(path: Path) -> Training:
    fields = Fields.from_file(path)
    data = fields.inner("data") if fields.get("data") else Fields(path, "data.", {})
    sizes = data.inner("sizes") if "sizes" in data.values else data
    return Training(
        seconds=fields.number("seconds"),
        n_steps=fields.integer("n_steps"),
        policy=fields.text("policy"),
        history=tuple(_read_step(inner) for inner in fields.inners("history")),
        full_accuracy=fields.inner("full").optional_number("accuracy"),
        n_pictures={
            name: sizes.integer(name)
            for name in ("train", "calibration", "validation", "test")
            if name in sizes.values
        },
        fingerprint=data.text("fingerprint") if "fingerprint" in data.values else None,
    )


def _read_step(fields: Fields) -> TrainingStep:
    return TrainingStep(
        step=fields.integer("step"),
        loss=fields.optional_number("loss"),
        partial_loss=fields.optional_number("partial_loss"),
        learning_rate=fields.optional_number("lr"),
    )


def _read_path(path: Path, search: Search) -> tuple[Profile, ...]:
    return tuple(
        Profile(
            widths=read_widths(inner, search),
            macs=inner.integer("macs", low=1),
            accuracy=inner.optional_number("accuracy"),
        )
        for inner in Fields.from_file(path).inners("profiles")
    )


def _read_latency(path: Path) -> LatencyFit:
    fields = Fields.from_file(path)
    device = fields.inner("device")
    return LatencyFit(
        device=LatencyDevice(
            **{name: device.text(name) for name in ("processor", "device", "backend", "version")},
            n_threads=device.integer("n_threads", low=1),
            batch_size=device.integer("batch_size", low=1),
        ),
        is_other_device=fields.flag("is_other_device"),
        difference=fields.text("difference"),
        full_ms=fields.number("full_ms"),
        mape=fields.number("mape"),
        worst=fields.number("worst"),
        rank_correlation=fields.number("rank_correlation"),
        n_held_out=fields.integer("n_held_out"),
    )


def _may_be_oneshot(config: str | None) -> bool:
    if config is None:
        return True
    settings = tomllib.loads(config).get("oneshot")
    return bool(settings.get("method")) if isinstance(settings, dict) else False


def _read_oneshot(path: Path, search: Search) -> OneShot:
    fields = Fields.from_file(path)
    unmet = fields.inner("unmet")
    return OneShot(
        method=fields.text("method"),
        choices=tuple(_read_choice(inner, search) for inner in fields.inners("choices")),
        unmet={budget: unmet.text(budget) for budget in unmet.values},
    )


def _read_choice(fields: Fields, search: Search) -> OneShotChoice:
    return OneShotChoice(
        budget=fields.text("budget"),
        widths=read_widths(fields, search),
        footprint=read_footprint(fields.inner("footprint"), search.footprints),
        importance=fields.optional_number("importance"),
        gap=fields.optional_number("gap"),
        is_proven=fields.flag("is_proven") if "is_proven" in fields.values else None,
        measured_share=fields.optional_number("measured_share"),
    )


def _read_config(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
        parse_toml(text)
    except ValueError as error:
        raise CheckpointError(
            f"{path} is damaged ({error}); delete it and run the same command again"
        ) from error
    return text


def _read_environment(path: Path) -> dict[str, str]:
    return flatten(Fields.from_file(path).values, "")


def flatten(value: object, name: str) -> dict[str, str]:
    """Return nested tables as one, with dotted names and the values as text.

    Args:
        value: Dictionaries of dictionaries, or a value.
        name: What ``value`` is called; empty at the top.
    """
    if isinstance(value, dict):
        flat: dict[str, str] = {}
        for key, inner in value.items():
            flat |= flatten(inner, f"{name}.{key}" if name else str(key))
        return flat
    if value is None:
        return {name: "–"}
    return {name: ", ".join(map(str, value)) if isinstance(value, list) else str(value)}
