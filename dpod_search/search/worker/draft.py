"""A trial on its way: what is known of it, and what of that the storage has already."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from dataclasses import field
from datetime import datetime
from typing import Any

from optuna.distributions import IntDistribution
from optuna.trial import FrozenTrial
from optuna.trial import Trial
from optuna.trial import TrialState
from optuna.trial import create_trial

from dpod_search.records.search import Fate
from dpod_search.search.store import attributes
from dpod_search.search.store.trial_table import Change
from dpod_search.widths import Widths


@dataclass
class Draft:
    """A trial that this worker is at.

    Args:
        number: Its number.
        widths: Its widths.
        user: Its user attributes.
        system: Its system attributes.
        stored: It as the storage has it, or None if it is not there yet.
        asked: Optuna's own object of it, if the study's sampler was asked for its parameters.
        values: Its objective values, once it completed.
        state: Its state.
        fate: What becomes of it unless its evaluation fails.
        started: When it was begun.
    """

    number: int
    widths: Widths
    user: dict[str, Any] = field(default_factory=dict)
    system: dict[str, Any] = field(default_factory=dict)
    stored: FrozenTrial | None = None
    asked: Trial | None = None
    values: tuple[float, ...] | None = None
    state: TrialState = TrialState.RUNNING
    fate: Fate = "evaluated"
    started: datetime = field(default_factory=datetime.now)

    def __post_init__(self) -> None:
        """Note the widths, and keep what the storage has of the trial."""
        if self.stored is not None:
            self.stored = copy(self.stored)  # the storage's own is not to be touched
            self.user = {**self.stored.user_attrs, **self.user}
            self.system = {**self.stored.system_attrs, **self.system}
        if attributes.WIDTHS not in self.user:
            self.user = {**self.user, attributes.WIDTHS: dict(self.widths)}

    def freeze(
        self, params: Mapping[str, int], distributions: Mapping[str, IntDistribution]
    ) -> FrozenTrial:
        """Return it as a trial to be written whole.

        Args:
            params: Its parameters.
            distributions: Theirs.
        """
        frozen = create_trial(
            state=self.state,
            values=self.values,
            params=dict(params),
            distributions=dict(distributions),
            user_attrs=dict(self.user),
            system_attrs=dict(self.system),
        )
        frozen.datetime_start = self.started
        return frozen

    def find_change(
        self, params: Mapping[str, int], distributions: Mapping[str, IntDistribution]
    ) -> Change:
        """Return what the storage lacks of it.

        Args:
            params: Its parameters.
            distributions: Theirs.
        """
        assert self.stored is not None
        stored = self.stored
        missing = {name: value for name, value in params.items() if name not in stored.params}
        has_ended = self.state.is_finished()
        return Change(
            user=_find_new(self.user, stored.user_attrs),
            system=_find_new(self.system, stored.system_attrs),
            params=missing,
            distributions=distributions,
            state=self.state if has_ended else None,
            values=self.values if has_ended else None,
        )


def _find_new(now: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    absent = object()
    return {key: value for key, value in now.items() if before.get(key, absent) != value}
