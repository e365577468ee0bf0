"""How far a study is, for people who look while it runs."""

from __future__ import annotations

from collections import Counter

import optuna
from optuna.samplers import RandomSampler

from dpod_search.errors import RunFolderError
from dpod_search.search.quiet import quiet_optuna
from dpod_search.search.storage import open_existing


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
        CheckpointError: If a journal is damaged.
    """
    with quiet_optuna():
        try:
            study = optuna.load_study(
                study_name=study_name, storage=open_existing(storage), sampler=RandomSampler()
            )
        except (KeyError, RunFolderError):
            return {}
        found = Counter(trial.state.name.lower() for trial in study.get_trials(deepcopy=False))
    return dict(sorted(found.items()))
