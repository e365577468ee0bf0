"""From a run folder to a :class:`Run`; the files are described in docs/architecture.md."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from typing import cast

from dpod_search.errors import CheckpointError
from dpod_search.errors import RunFolderError
from dpod_search.pareto import Direction
from dpod_search.report.fields import Fields
from dpod_search.report.fields import fail
from dpod_search.report.run import FATES
from dpod_search.report.run import Audit
from dpod_search.report.run import ExportedFile
from dpod_search.report.run import ExportedModel
from dpod_search.report.run import FinetunedFront
from dpod_search.report.run import FullNet
from dpod_search.report.run import Group
from dpod_search.report.run import Member
from dpod_search.report.run import Objective
from dpod_search.report.run import Profile
from dpod_search.report.run import Run
from dpod_search.report.run import Search
from dpod_search.report.run import Training
from dpod_search.report.run import TrainingStep
from dpod_search.report.trials import read_trials


T = TypeVar("T")

# Version 0.1.0 knew these and did not write their names down.
_FIRST_FOOTPRINTS = ("macs", "params", "weight_bytes")


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
    return Run(
        folder=folder,
        search=search,
        trials=trials,
        training=_read_if_there(folder / "training.json", _read_training),
        path=_read_if_there(folder / "path.json", lambda path: _read_path(path, search)),
        front=_read_if_there(folder / "front.json", lambda path: _read_front(path, search)),
        exported=_read_if_there(folder / "exported" / "manifest.json", _read_manifest),
        config=_read_if_there(folder / "config.toml", _read_config),
        environment=_read_if_there(folder / "environment.json", _read_environment),
    )


def _read_if_there(path: Path, read: Callable[[Path], T]) -> T | None:
    return read(path) if path.is_file() else None


def _read_search(path: Path) -> Search:
    fields = Fields.from_file(path)
    footprints = _read_footprints(fields)
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
    )


def _read_footprints(fields: Fields) -> tuple[str, ...]:
    names = fields.texts("footprints") if "footprints" in fields.values else _FIRST_FOOTPRINTS
    if "macs" not in names:
        fields.refuse("footprints", "names with macs among them")
    return names


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
            widths=_read_widths(inner, search),
            macs=inner.integer("macs", low=1),
            accuracy=inner.optional_number("accuracy"),
        )
        for inner in Fields.from_file(path).inners("profiles")
    )


def _read_widths(fields: Fields, search: Search) -> dict[str, int]:
    widths = fields.inner("widths")
    return {
        group.name: widths.integer(group.name, low=min(group.rungs)) for group in search.groups
    }


def _read_front(path: Path, search: Search) -> FinetunedFront:
    fields = Fields.from_file(path)
    full = fields.inner("full")
    unmet = fields.inner("unmet_budgets") if fields.get("unmet_budgets") else Fields(path, "", {})
    footprints = _read_footprints(fields)
    members = [_read_member(inner, search, footprints) for inner in fields.inners("members")]
    return FinetunedFront(
        seed=fields.integer("seed"),
        footprints=footprints,
        full=FullNet(
            footprint=_read_footprint(full, footprints),
            validation_accuracy=full.number("validation_accuracy"),
            test_accuracy=full.number("test_accuracy"),
        ),
        members=tuple(sorted(members, key=lambda member: member.macs)),
        unmet={budget: unmet.text(budget) for budget in unmet.values},
        budgets=fields.texts("budgets") if "budgets" in fields.values else (),
    )


def _read_footprint(fields: Fields, names: tuple[str, ...]) -> dict[str, float]:
    # All but the modelled latency are counts.
    return {
        name: fields.number(name)
        if name == "latency"
        else fields.integer(name, low=1 if name == "macs" else 0)
        for name in names
    }


def _read_member(fields: Fields, search: Search, footprints: tuple[str, ...]) -> Member:
    widths = _read_widths(fields, search)
    is_full = all(widths[group.name] == group.full for group in search.groups)
    return Member(
        # Only the full net, which all others are compared with, may be no trial.
        trial=fields.optional_integer("trial") if is_full else fields.integer("trial"),
        widths=widths,
        footprint=_read_footprint(fields, footprints),
        macs_share=fields.number("macs_share"),
        accuracy_before=fields.number("validation_accuracy_before"),
        validation_accuracy=fields.number("validation_accuracy"),
        test_accuracy=fields.number("test_accuracy"),
        test_accuracy_before=(
            fields.optional_number("test_accuracy_before")
            if "test_accuracy_before" in fields.values
            else None
        ),
        on_front=fields.flag("on_front"),
        is_full=is_full,
        is_knee=fields.flag("knee") if "knee" in fields.values else False,
        budgets=fields.texts("budgets") if "budgets" in fields.values else (),
    )


def _read_manifest(path: Path) -> tuple[ExportedModel, ...]:
    return tuple(
        ExportedModel(
            trial=inner.optional_integer("trial"),
            files=_read_files(inner.inner("files"), inner.optional_number("max_difference")),
        )
        for inner in Fields.from_file(path).inners("models")
    )


def _read_files(fields: Fields, difference: float | None) -> tuple[ExportedFile, ...]:
    # Older versions knew one difference for all files of a model.
    files = [(kind, fields.inner(kind)) for kind in fields.values]
    return tuple(
        ExportedFile(
            kind=kind,
            path=file.text("path"),
            sha256=file.text("sha256"),
            n_bytes=file.integer("bytes"),
            max_difference=(
                file.number("max_difference")
                if file.get("max_difference") is not None
                else difference
            ),
            test_accuracy=file.optional_number("test_accuracy"),
        )
        for kind, file in files
    )


def _read_config(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
        tomllib.loads(text)
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
