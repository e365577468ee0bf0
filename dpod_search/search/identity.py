"""What makes a study the study it is, so that it is never resumed as another one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version
from typing import Any

import optuna
from optuna.samplers import BaseSampler
from optuna.trial import TrialState

from dpod_search.errors import RunFolderError
from dpod_search.search.objectives import Objective
from dpod_search.search.samplers.sampler import make_sampler
from dpod_search.search.seeds import Proposal
from dpod_search.search.seeds import keep_first
from dpod_search.search.settings import SearchSettings
from dpod_search.search.store import attributes
from dpod_search.search.task import SearchTask
from dpod_search.widths import Widths


class OtherStudyError(RunFolderError):
    """A study was begun as another one than it is asked for now.

    Args:
        told: What is different.
        restore: What to do to go on with it.
    """

    def __init__(self, told: str, restore: str) -> None:
        """Put it in a line with the other way, for who has no run folder."""
        super().__init__(f"{told}; {restore}, or choose another --out, study name or storage")
        self.told = told
        self.restore = restore


_UNKNOWN = "unknown"
# How a message names what a study was made with.
_NAMES = {
    attributes.VERSION: "another version of dpod-search",
    attributes.SPACE: "another space",
    attributes.OBJECTIVES: "other objectives",
    attributes.CONSTRAINTS: "other constraints",
    attributes.SAMPLER: "another sampler",
    attributes.SEED: "another random seed",
    attributes.SEEDS: "other subnets to try first",
    "data": "other data",
    "weights": "other weights of the supernet",
    "latency": "another latency table",
    "repair": "another repair of subnets",
}


def bind_study(
    study: optuna.Study,
    task: SearchTask,
    settings: SearchSettings,
    seeds: Sequence[Proposal],
    *,
    sampler: str | None = None,
) -> None:
    """Write down what a new study is about, or check that an old one is about the same.

    Args:
        study: The study; its user attributes ``dpod:*`` are written.
        task: The task it is to answer.
        settings: Its settings. Those that no entry below covers may change from one call to the
            next, and decisions after that follow the new ones.
        seeds: The proposals it begins with.
        sampler: Name of what proposes the widths; by default that of the study's sampler, see
            :func:`name_sampler`.

    Raises:
        RunFolderError: If the study was made by another version of this package, or holds trials
            of another space, other objectives, constraints, sampler or seeds, of another random
            seed, or of other data or weights.
    """
    identity: dict[str, Any] = {
        attributes.VERSION: _find_version(),
        attributes.SPACE: task.space.to_json(),
        attributes.OBJECTIVES: describe_objectives(task.objectives),
        attributes.CONSTRAINTS: [[bound.name, bound.text] for bound in task.bounds.bounds],
        attributes.SAMPLER: sampler or name_sampler(study.sampler, task, settings),
        attributes.SEED: task.seed,
        attributes.SEEDS: _describe_seeds(seeds),
    }
    known = study.user_attrs
    # First, because other weights come with other seeds, and are what the user has to know.
    kept = _check_provenance(study, task)
    # Trials that somebody has put in the queue of a new study say nothing of it yet.
    is_new = all(t.state == TrialState.WAITING for t in study.get_trials(deepcopy=False))
    for key, value in identity.items():
        if key in known:
            _check_equal(study.study_name, key, known[key], value)
        elif is_new:
            study.set_user_attr(key, value)
        else:
            raise RunFolderError(
                f"study {study.study_name} holds trials that dpod-search did not make; "
                "choose another --out, study name or storage"
            )
    if not task.provenance.keys() <= kept.keys():
        study.set_user_attr(attributes.PROVENANCE, {**kept, **task.provenance})
    described = _to_json(asdict(settings))
    if known.get(attributes.SETTINGS) != described:
        study.set_user_attr(attributes.SETTINGS, described)


def grow_seeds(study: optuna.Study, task: SearchTask, seeds: Sequence[Proposal]) -> list[Proposal]:
    """Let a study have further seeds, where its trials are its seeds alone.

    Args:
        study: The study; if it is not new its seeds are written.
        task: The task it is to answer.
        seeds: Those it is to have, besides those it has.

    Returns:
        All of them, those that the study had before first: trials keep their numbers.

    Raises:
        RunFolderError: If the study is of other data or weights.
    """
    _check_provenance(study, task)
    known = study.user_attrs.get(attributes.SEEDS)
    if known is None or study.user_attrs.get(attributes.SPACE) != _to_json(task.space.to_json()):
        return list(seeds)  # it is new, or will be refused
    names = task.space.names
    old = [Proposal(Widths(names, tuple(active)), source) for source, active in known]
    every = keep_first([*old, *seeds])
    if len(every) > len(old):
        study.set_user_attr(attributes.SEEDS, _describe_seeds(every))
    return every


def name_sampler(sampler: BaseSampler, task: SearchTask, settings: SearchSettings) -> str:
    """Return what a study remembers of its sampler.

    Returns:
        The name in the settings if it is of the class that they name; the name of its class if
        it was passed in.
    """
    is_named = type(sampler) is type(make_sampler(settings, task))
    return settings.sampler if is_named else type(sampler).__qualname__


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
            "choose another --out, study name or storage"
        )


def _describe_seeds(seeds: Sequence[Proposal]) -> list[Any]:
    return [[seed.source, list(seed.widths.active)] for seed in seeds]


def _check_provenance(study: optuna.Study, task: SearchTask) -> dict[str, str]:
    """Raise unless a study was made with the data and weights of a task; return what it knows."""
    kept: dict[str, str] = study.user_attrs.get(attributes.PROVENANCE, {})
    # What one of the two does not tell cannot differ: a task made in Python may know less.
    for key in sorted(kept.keys() & task.provenance.keys()):
        _check_equal(study.study_name, key, kept[key], task.provenance[key])
    return kept


def _check_equal(study: str, key: str, known: Any, value: Any) -> None:
    known, value = _to_json(known), _to_json(value)
    if known == value or (key == attributes.VERSION and _UNKNOWN in (known, value)):
        return
    name = _NAMES.get(key, f"another {key}")
    raise OtherStudyError(
        f"study {study} was made with {name}: {_find_difference(known, value)}",
        f"restore {'them' if name.startswith('other ') else 'it'}",
    )


def _find_difference(known: Any, value: Any) -> str:
    # Long lists (groups, seeds) are told apart by their first different entry.
    if isinstance(known, list) and isinstance(value, list):
        for i, (old, new) in enumerate(zip(known, value, strict=False), start=1):
            if old != new:
                return f"entry {i} was {_spell(old)}, now {_spell(new)}"
        return f"it had {len(known)} entries, now {len(value)}"
    return f"it was {_spell(known)}, now {_spell(value)}"


def _spell(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _find_version() -> str:
    try:
        return version("dpod-search")
    except PackageNotFoundError:  # running from a source tree that is not installed
        return _UNKNOWN


def _to_json(value: Any) -> Any:
    return json.loads(json.dumps(value))
