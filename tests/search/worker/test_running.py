from __future__ import annotations

import pytest
from search.fakes import finish
from search.fakes import make_history
from search.fakes import make_task

from dpod_search.errors import ObjectiveError
from dpod_search.search import Objective
from dpod_search.search import SearchSettings
from dpod_search.search.store import attributes
from dpod_search.search.worker.draft import Draft
from dpod_search.search.worker.running import TrialRunner


def test_an_adopted_trial_does_not_keep_the_reason_that_a_dead_worker_was_given():
    task = make_task()
    user = {attributes.GATE: "surrogate", attributes.REASON: "audit: accuracy is dominated"}
    draft = Draft(1, task.space.smallest, user)
    assert TrialRunner(task, SearchSettings()).decide(draft, make_history(task, []))
    assert draft.fate == "evaluated"
    assert draft.user[attributes.REASON] == ""


@pytest.mark.parametrize(("bound", "is_wrong"), [(">= 0.1", True), (">= 0.9", False)])
def test_pruning_what_is_beyond_a_measured_bound_would_not_have_been_wrong(bound, is_wrong):
    task = make_task(constraints={"accuracy": bound})
    history = make_history(task, [finish(task, 0, task.space.full)])
    # The cheapest of all: nothing dominates it.
    draft = Draft(1, task.space.smallest, fate="audited")
    runner = TrialRunner(task, SearchSettings())
    runner.conclude(draft, task.evaluate(draft.widths), history)
    assert draft.user[attributes.AUDIT_WRONG] is is_wrong


def test_an_objective_that_raises_names_the_trial():
    def count(widths):
        if is_broken:
            raise ValueError("odd")
        return 1.0

    is_broken = False
    task = make_task(objectives=(Objective("own", "minimize", count, "footprint"),))
    runner = TrialRunner(task, SearchSettings())
    is_broken = True
    message = (
        rf"^trial 7: objective own raised ValueError in line .*: odd \(widths {task.space.full}\)"
    )
    with pytest.raises(ObjectiveError, match=message) as caught:
        runner.decide(Draft(7, task.space.full), make_history(task, []))
    assert isinstance(caught.value.__cause__, ValueError)
