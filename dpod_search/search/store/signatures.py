"""Signatures: what the search wrote of a trial, hashed, and kept with the trial.

A storage may lose a line, or be edited. Every trial that this package ends carries the hash of all
that later decisions and stages take from it, and the number that it was written under: a trial
that was changed, or that has moved up because one before it is missing, is told from it. It guards
against accidents, not against somebody who knows how to sign.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from dpod_search.errors import CheckpointError
from dpod_search.files import hash_value
from dpod_search.search.store import attributes
from dpod_search.search.store.optuna_internals import GENERATION


_LENGTH = 16
# Others may add attributes of their own. How long a trial took, and who did it, differs from run
# to run, and nothing follows from it.
_USER = frozenset(
    {
        attributes.FATE,
        attributes.SOURCE,
        attributes.GATE,
        attributes.REASON,
        attributes.WIDTHS,
        attributes.FOOTPRINT,
        attributes.AUDIT,
        attributes.AUDIT_WRONG,
    }
)
_SYSTEM = frozenset({GENERATION, attributes.VIOLATIONS})


def sign_trial(
    number: int,
    state: TrialState,
    *,
    params: Mapping[str, Any],
    values: Sequence[float] | None,
    user: Mapping[str, Any],
    system: Mapping[str, Any],
) -> str:
    """Return the signature of a trial that has ended: its number, and a hash of what it tells.

    Args:
        number: The number that it is written under.
        state: Its final state.
        params: Its parameters.
        values: Its objective values if it completed.
        user: Its user attributes.
        system: Its system attributes.
    """
    told = {
        "number": number,
        "state": state.name,
        "params": dict(params),
        # SQLite gives -0.0 back as 0.0.
        "values": [value + 0.0 for value in values] if values is not None else None,
        "user": {key: value for key, value in user.items() if _is_ours(key)},
        "system": {key: value for key, value in system.items() if key in _SYSTEM},
    }
    return f"{number}:{hash_value(told)[:_LENGTH]}"


def check_trial(trial: FrozenTrial) -> None:
    """Check that a trial is what the search wrote; trials of other programs have no signature.

    Raises:
        CheckpointError: If it is not.
    """
    known = trial.system_attrs.get(attributes.SIGNATURE)
    if known is None or not trial.state.is_finished():
        return
    try:
        number = int(str(known).partition(":")[0])
        # A trial that somebody put in the queue at the same moment moves those behind it down.
        is_same = number <= trial.number and known == _sign(trial, number)
    except (TypeError, ValueError):  # not even the types are what they were
        is_same = False
    if not is_same:
        raise CheckpointError(
            f"trial {trial.number} is not what the search wrote: it was changed, or something "
            "before it is missing; restore the study from a copy, or delete it to search again"
        )


def hash_trials(trials: Iterable[FrozenTrial]) -> str:
    """Return one hash of all that finished trials tell, in their order."""
    return hash_value(
        [t.system_attrs.get(attributes.SIGNATURE) or _sign(t, t.number) for t in trials]
    )


def _sign(trial: FrozenTrial, number: int) -> str:
    values = trial.values if trial.state == TrialState.COMPLETE else None
    return sign_trial(
        number,
        trial.state,
        params=trial.params,
        values=values,
        user=trial.user_attrs,
        system=trial.system_attrs,
    )


def _is_ours(key: str) -> bool:
    return key in _USER or key.startswith(attributes.PREDICTED)
