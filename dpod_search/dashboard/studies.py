"""The studies of a run as they stand in the storage: found, never made."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from contextlib import nullcontext
from pathlib import Path

import optuna
from optuna.samplers import RandomSampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from dpod_search.errors import ConfigError
from dpod_search.errors import RunFolderError
from dpod_search.records.trials import Trial
from dpod_search.report import Run
from dpod_search.search.store import BatchJournalStorage
from dpod_search.search.store import attributes
from dpod_search.search.store import find_file
from dpod_search.search.store.quiet import quiet_optuna
from dpod_search.search.store.signatures import check_trial


def need_dashboard() -> None:
    """Check that optuna-dashboard is installed.

    Raises:
        ConfigError: If it is not; says what to install.
    """
    try:
        import optuna_dashboard  # noqa: F401  (only asked whether it is there)
    except ImportError as error:
        raise ConfigError(
            f'the dashboard needs optuna-dashboard ({error}); pip install "dpod-search[dashboard]"'
        ) from error


def may_write(run_folder: Path, storage: str | Path | BaseStorage) -> bool:
    """Say whether what is known of a run may be written beside its study."""
    file = None if isinstance(storage, BaseStorage) else find_file(storage)
    places = [run_folder, *([file, file.parent] if file is not None else [])]
    # By the rights that a write would have, which may be fewer than those of the user.
    is_effective = os.access in os.supports_effective_ids
    return all(
        os.access(place, os.W_OK, effective_ids=is_effective) for place in places if place.exists()
    )


def find_study(name: str, storage: BaseStorage) -> optuna.Study | None:
    """Return a study of a storage, or None if the storage has none of this name."""
    with quiet_optuna():
        try:
            return optuna.load_study(study_name=name, storage=storage, sampler=RandomSampler())
        except KeyError:
            return None


def require_study(name: str, storage: BaseStorage) -> optuna.Study:
    """Return a study of a storage.

    Raises:
        RunFolderError: If the storage has none of this name.
    """
    study = find_study(name, storage)
    if study is None:
        raise RunFolderError(
            f"the storage has no study {name}; run `dpod-search search` first, or give the "
            "--storage that the search was given"
        )
    return study


def check_trials(run: Run, trials: list[FrozenTrial]) -> None:
    """Check that a run folder and a study tell of the same trials.

    Args:
        run: The run.
        trials: All trials of the study.

    Raises:
        RunFolderError: If the front has trials that the study lacks or knows with other widths.
        CheckpointError: If a trial is not what the search wrote.
    """
    known = {trial.number: trial for trial in run.trials}
    for number in run.search.front:
        if find_same(trials, known[number]) is None:
            raise RunFolderError(
                f"trial {number} of the storage is not that of {run.folder}; give the --storage "
                "that the search was given"
            )
    for trial in trials:
        check_trial(trial)


def find_same(trials: Sequence[FrozenTrial], known: Trial) -> FrozenTrial | None:
    """Return the trial of a study that a run folder tells of.

    Args:
        trials: All trials of the study.
        known: The trial as the run folder knows it.

    Returns:
        The trial, or None if the study has none of this number or knows it with other widths.
    """
    if known.number >= len(trials):
        return None
    found = trials[known.number]
    return found if found.user_attrs.get(attributes.WIDTHS) == dict(known.widths) else None


def written_together(storage: BaseStorage) -> AbstractContextManager[None]:
    """Write what the block writes at once, where the storage can: a figure is many records."""
    return storage.together() if isinstance(storage, BatchJournalStorage) else nullcontext()
