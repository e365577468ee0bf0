"""The names under which a study and its trials carry what this package knows of them.

Everything is an ordinary Optuna attribute: the dashboard shows it and any program reads it.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any


# User attributes of a trial.
FATE = "fate"
SOURCE = "source"
CLOSING = "closing"  # true of a trial that is besides those of the search
GATE = "gate"
REASON = "reason"
SECONDS = "seconds"
WIDTHS = "widths"
FOOTPRINT = "footprint"
AUDIT = "audit"
AUDIT_WRONG = "audit_wrong"
PARENT = "parent"
PREDICTED = "predicted_"  # the beginning of several

# System attributes of a trial.
WORKER = "dpod:worker"
SIGNATURE = "dpod:signature"
VIOLATIONS = "constraints"  # where optuna-dashboard looks for them, and Optuna too

# User attributes of a study.
SPENT = "dpod:spent"
SPACE = "dpod:space"
OBJECTIVES = "dpod:objectives"
CONSTRAINTS = "dpod:constraints"
SEED = "dpod:seed"
SEEDS = "dpod:seeds"
SAMPLER = "dpod:sampler"
PROVENANCE = "dpod:provenance"
SETTINGS = "dpod:settings"
VERSION = "dpod:version"
FULL = "dpod:full"

# System attribute of a study.
FULL_HASH = "dpod:full-hash"

SAMPLER_SOURCE = "sampler"


def name_prediction(objective: str) -> tuple[str, str, str]:
    """Return the attribute names of an objective's prediction and its lower and upper end."""
    stem = f"{PREDICTED}{objective}"
    return stem, f"{stem}_low", f"{stem}_high"


def read_predictions(
    user: Mapping[str, Any], objectives: Iterable[str]
) -> dict[str, tuple[float, float, float]]:
    """Return mean, low and high of each objective that was predicted for a trial.

    Args:
        user: The trial's user attributes.
        objectives: Names of those that may have been.
    """
    keys = {name: name_prediction(name) for name in objectives}
    return {
        name: (user[mean], user[low], user[high])
        for name, (mean, low, high) in keys.items()
        if mean in user and low in user and high in user
    }
