"""What makes a study the study it is, so that it is never resumed as another one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version
from typing import Any

import optuna

from dpod_search.errors import RunFolderError
from dpod_search.search import attributes
from dpod_search.search.objectives import Objective
from dpod_search.search.proposals import Proposal
from dpod_search.search.settings import SearchSettings
from dpod_search.search.task import SearchTask


def bind_study(
    study: optuna.Study, task: SearchTask, settings: SearchSettings, seeds: Sequence[Proposal]
) -> None:
    """Write down what a new study is about, or check that an old one is about the same.

    Args:
        study: The study; its user attributes ``dpod:*`` are written.
        task: The task it is to answer.
        settings: Its settings. They may change from one call to the next, and decisions after
            that follow the new ones.
        seeds: The proposals it begins with.

    Raises:
        RunFolderError: If the study holds trials of another space, other objectives,
            constraints or seeds, or of another random seed.
    """
    identity: dict[str, Any] = {
        attributes.SPACE: task.space.to_json(),
        attributes.OBJECTIVES: describe_objectives(task.objectives),
        attributes.CONSTRAINTS: [[bound.name, bound.text] for bound in task.bounds.bounds],
        attributes.SEED: task.seed,
        attributes.SEEDS: [[seed.source, list(seed.widths.active)] for seed in seeds],
    }
    known = study.user_attrs
    is_new = not study.get_trials(deepcopy=False)
    for key, value in identity.items():
        if key in known:
            _check_equal(study.study_name, key, known[key], value)
        elif is_new:
            study.set_user_attr(key, value)
        else:
            raise RunFolderError(
                f"study {study.study_name} holds trials that dpod-search did not make; "
                "choose another study name or storage"
            )
    _write_once(study, attributes.VERSION, _find_version(), known)
    described = _to_json(asdict(settings))
    if known.get(attributes.SETTINGS) != described:
        study.set_user_attr(attributes.SETTINGS, described)


def describe_objectives(objectives: Sequence[Objective]) -> list[dict[str, str]]:
    """Return names and directions as JSON values."""
    return [objective.to_json() for objective in objectives]


def check_objectives_of(study: optuna.Study, objectives: Sequence[Objective]) -> None:
    """Raise unless a study that was loaded has these directions.

    Raises:
        RunFolderError: If it was made for other objectives.
    """
    there = [direction.name.lower() for direction in study.directions]
    asked = [objective.direction for objective in objectives]
    known = study.user_attrs.get(attributes.OBJECTIVES)
    if known is not None:
        _check_equal(
            study.study_name, attributes.OBJECTIVES, known, describe_objectives(objectives)
        )
    if there != asked:
        raise RunFolderError(
            f"study {study.study_name} has directions {there}, not {asked}; "
            "choose another study name or storage"
        )


def _check_equal(study: str, key: str, known: Any, value: Any) -> None:
    known, value = _to_json(known), _to_json(value)
    if known != value:
        name = key.removeprefix("dpod:")
        raise RunFolderError(
            f"study {study} was made with another {name}: {_find_difference(known, value)}; "
            "restore it, or choose another study name or storage"
        )


def _find_difference(known: Any, value: Any) -> str:
    # Long lists (groups, seeds) are told apart by their first different entry.
    if isinstance(known, list) and isinstance(value, list):
        for i, (old, new) in enumerate(zip(known, value, strict=False), start=1):
            if old != new:
                return f"entry {i} was {json.dumps(old)}, now {json.dumps(new)}"
        return f"it had {len(known)} entries, now {len(value)}"
    return f"it was {json.dumps(known)}, now {json.dumps(value)}"


def _write_once(study: optuna.Study, key: str, value: Any, known: dict[str, Any]) -> None:
    if key not in known:
        study.set_user_attr(key, value)


def _find_version() -> str:
    try:
        return version("dpod-search")
    except PackageNotFoundError:  # running from a source tree that is not installed
        return "unknown"


def _to_json(value: Any) -> Any:
    return json.loads(json.dumps(value))
