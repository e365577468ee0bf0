from __future__ import annotations

import optuna
from optuna.trial import TrialState

from dpod_search.search.worker.draft import Draft
from dpod_search.widths import Widths


def test_a_trial_that_goes_on_has_no_values_to_be_written():
    stored = optuna.trial.create_trial(state=TrialState.RUNNING)
    draft = Draft(0, Widths(("a",), (1,)), stored=stored, values=(1.0, 2.0))
    assert draft.find_change({}, {}).values is None
    draft.state = TrialState.COMPLETE
    assert draft.find_change({}, {}).values == (1.0, 2.0)
