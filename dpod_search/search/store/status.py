"""How far a study is, for people who look while it runs."""

from __future__ import annotations

from collections import Counter

import optuna
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial

from dpod_search.errors import RunFolderError
from dpod_search.search.store import hide_password
from dpod_search.search.store import open_existing
from dpod_search.search.store import telling_database_errors
from dpod_search.search.store.quiet import quiet_optuna
from dpod_search.search.store.signatures import check_trial
from dpod_search.search.store.signatures import hash_trials


def count_trials(study_name: str, storage: str) -> dict[str, int]:
    """Count the trials of a study by state; no file is changed.

    Args:
        study_name: Name of the study.
        storage: Path of a journal, or a URL of Optuna's.

    Returns:
        For each of Optuna's states that occurs, in lower case, the number of trials; empty if
        the storage has no such study.

    Raises:
        ConfigError: If the storage cannot be opened.
        RunFolderError: If a database cannot be read.
        CheckpointError: If a journal is damaged.
    """
    found = Counter(trial.state.name.lower() for trial in _read_trials(study_name, storage))
    return dict(sorted(found.items()))


def require_written(study_name: str, storage: str, n: int, trials_hash: str) -> None:
    """Check that a study has the trials that its search ended with; no file is changed.

    Args:
        study_name: Name of the study.
        storage: Path of a journal, or a URL of Optuna's.
        n: Number of finished trials there were.
        trials_hash: Their hash.

    Raises:
        RunFolderError: If trials are missing, or they are others, or a database cannot be read.
        CheckpointError: If one is not what the search wrote, or a journal is damaged.
        ConfigError: If the storage cannot be opened.
    """
    trials = [t for t in _read_trials(study_name, storage) if t.state.is_finished()]
    fix = "put the study back, or delete search.json to search again"
    if len(trials) < n:
        raise RunFolderError(
            f"{hide_password(storage)} has {len(trials)} finished trials of the {n} that "
            f"search.json tells of; {fix}"
        )
    for trial in trials:
        check_trial(trial)
    if trials_hash != hash_trials(trials[:n]):
        raise RunFolderError(
            f"{hide_password(storage)} has other trials than search.json tells of; {fix}"
        )


@telling_database_errors()
def _read_trials(study_name: str, storage: str) -> list[FrozenTrial]:
    with quiet_optuna():
        try:
            study = optuna.load_study(
                study_name=study_name, storage=open_existing(storage), sampler=RandomSampler()
            )
        except (KeyError, RunFolderError):
            return []
        return study.get_trials(deepcopy=False)
