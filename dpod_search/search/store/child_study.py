"""What became of the chosen subnets: a child study beside the search.

A finished trial of Optuna's cannot be changed, so results that come later are trials of their
own, with the same parameters, in the study ``<name>-finetune``. Nor can one be taken out: when
something else comes of finetuning, the child study is made anew, or its best trials would be those
of two finetunings.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import optuna
from optuna.samplers import RandomSampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from dpod_search.errors import RunFolderError
from dpod_search.search.store import attributes
from dpod_search.search.store import load_or_create_study
from dpod_search.search.store import open_storage
from dpod_search.search.store import telling_database_errors
from dpod_search.search.store.quiet import quiet_optuna


def name_finetune_study(study_name: str) -> str:
    """Return the name of the child study."""
    return f"{study_name}-finetune"


@telling_database_errors()
def record_finetuned(
    study_name: str,
    storage: str | Path | BaseStorage,
    finetuned: Mapping[int, Mapping[str, float]],
) -> optuna.Study:
    """Make the child study tell the values after the last finetuning, and no others.

    Args:
        study_name: Name of the search's study.
        storage: Where it is kept; the child study is kept there too.
        finetuned: For each trial of the search its objective values after finetuning, by
            name; objectives that are not named keep their value (a footprint, for instance).
            These are all: what an earlier finetuning found otherwise is forgotten.

    Returns:
        The child study: one completed trial for each, with the user attributes ``parent`` and
        ``before_<objective>``. What it says already is not written again.

    Raises:
        RunFolderError: If the study is missing, or a trial of it did not complete.
    """
    opened = open_storage(storage)
    parent = _load_parent(study_name, opened)
    names = parent.metric_names or [f"value_{i}" for i in range(len(parent.directions))]
    found = parent.get_trials(deepcopy=False)
    trials = [
        _make_trial(_find_trial(found, number, study_name), names, values)
        for number, values in finetuned.items()
    ]
    child = _open_child(parent, opened)
    known = child.get_trials(deepcopy=False)
    if not all(any(_is_same(old, new) for new in trials) for old in known):
        optuna.delete_study(study_name=child.study_name, storage=opened)
        child, known = _open_child(parent, opened), []
    if child.metric_names != names:
        with quiet_optuna():
            child.set_metric_names(names)
    child.add_trials(new for new in trials if not any(_is_same(old, new) for old in known))
    return child


def _open_child(parent: optuna.Study, storage: BaseStorage) -> optuna.Study:
    name = name_finetune_study(parent.study_name)
    return load_or_create_study(name, storage, parent.directions, RandomSampler())


def _is_same(one: FrozenTrial, other: FrozenTrial) -> bool:
    """Say whether two trials tell the same; their numbers and times do not matter."""
    return (one.params, one.values, one.user_attrs) == (
        other.params,
        other.values,
        other.user_attrs,
    )


def _load_parent(study_name: str, storage: BaseStorage) -> optuna.Study:
    try:
        return optuna.load_study(study_name=study_name, storage=storage, sampler=RandomSampler())
    except KeyError as error:
        raise RunFolderError(f"the storage has no study {study_name}; search first") from error


def _find_trial(trials: list[FrozenTrial], number: int, study_name: str) -> FrozenTrial:
    if not (0 <= number < len(trials) and trials[number].state == TrialState.COMPLETE):
        raise RunFolderError(f"study {study_name} has no completed trial {number}")
    return trials[number]


def _make_trial(parent: FrozenTrial, names: list[str], values: Mapping[str, float]) -> FrozenTrial:
    before = dict(zip(names, parent.values, strict=True))
    after = {**before, **values}
    kept = (attributes.WIDTHS, attributes.FOOTPRINT)
    return optuna.trial.create_trial(
        state=TrialState.COMPLETE,
        params=parent.params,
        distributions=parent.distributions,
        values=[float(after[name]) for name in names],
        user_attrs={
            attributes.PARENT: parent.number,
            **{f"before_{name}": value for name, value in before.items()},
            **{key: parent.user_attrs[key] for key in kept if key in parent.user_attrs},
        },
    )
