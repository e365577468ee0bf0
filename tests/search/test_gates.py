from __future__ import annotations

import math

import pytest
from search.fakes import compute_accuracy
from search.fakes import make_task

from dpod_search.rng import numpy_generator
from dpod_search.search import SearchSettings
from dpod_search.search.gates import ConstraintGate
from dpod_search.search.gates import DuplicateGate
from dpod_search.search.gates import Question
from dpod_search.search.gates import SurrogateGate
from dpod_search.search.gates import make_gates
from dpod_search.search.history import FinishedTrial
from dpod_search.search.history import History


SETTINGS = SearchSettings(min_evaluated=30, refit_every=10, audit_share=0.0)


def ask(task, widths, number=100):
    return Question(number, widths, task.measure_footprint(widths))


def make_history(task, n=30):
    history = History(task.directions)
    rng = numpy_generator(0, "history")
    for number in range(n):
        add(history, task, number, task.space.full if number == 0 else task.space.sample(rng))
    return history


def add(history, task, number, widths):
    footprint = task.measure_footprint(widths)
    values = (compute_accuracy(widths, task.space), footprint["macs"])
    history.add(FinishedTrial(number, widths, "evaluated", footprint, values))


def find_beaten(task):
    """Return a clearly poor subnet: one group strangles the others."""
    return task.space.full.replace("group0", task.space.rungs[0][0])


def test_the_constraint_gate_says_which_bound():
    task = make_task(constraints={"macs": "<= 50%"})
    verdict = ConstraintGate(task).check(ask(task, task.space.full), History(task.directions))
    assert not verdict.passed
    assert verdict.fate == "pruned-constraint"
    assert verdict.reason.startswith("macs ")
    assert "is above 50% (" in verdict.reason
    passed = ConstraintGate(task).check(ask(task, task.space.smallest), History(task.directions))
    assert passed.passed
    assert passed.reason == ""


def test_the_duplicate_gate_answers_with_the_first_values():
    task = make_task()
    history = make_history(task, 3)
    verdict = DuplicateGate().check(ask(task, task.space.full), history)
    assert not verdict.passed
    assert verdict.reason == "trial 0 has the same widths"
    assert verdict.values == history.measured[0].values
    assert DuplicateGate().check(ask(task, task.space.smallest), history).passed


def test_the_surrogate_gate_is_open_until_enough_is_evaluated():
    task = make_task()
    verdict = SurrogateGate(task, SETTINGS).check(
        ask(task, find_beaten(task)), make_history(task, 29)
    )
    assert verdict.passed
    assert not verdict.attributes


def test_the_surrogate_gate_prunes_with_a_reason_and_its_prediction():
    task = make_task()
    history = make_history(task, 60)
    verdict = SurrogateGate(task, SETTINGS).check(ask(task, find_beaten(task)), history)
    assert not verdict.passed
    assert verdict.fate == "pruned-surrogate"
    assert verdict.reason.startswith("accuracy at best 0.")
    assert verdict.reason.endswith("is dominated by the front")
    low, mean, high = (
        verdict.attributes[f"predicted_accuracy{end}"] for end in ("_low", "", "_high")
    )
    assert low < mean < high
    assert mean == pytest.approx(compute_accuracy(find_beaten(task), task.space), abs=0.1)


def test_the_surrogate_gate_lets_the_promising_pass_with_its_prediction():
    task = make_task()
    verdict = SurrogateGate(task, SETTINGS).check(
        ask(task, task.space.uniform(0.5)), make_history(task, 60)
    )
    assert verdict.passed
    assert verdict.fate == "evaluated"
    assert set(verdict.attributes) == {
        "predicted_accuracy",
        "predicted_accuracy_low",
        "predicted_accuracy_high",
    }


def test_the_surrogate_gate_leaves_a_footprint_without_a_number_to_the_measurement():
    task = make_task()
    footprint = {**task.measure_footprint(find_beaten(task)), "own": math.nan}
    question = Question(100, find_beaten(task), footprint)
    assert SurrogateGate(task, SETTINGS).check(question, make_history(task, 60)).passed


def test_audits_are_drawn_by_trial_number_at_the_share_asked_for():
    task = make_task()
    history = make_history(task, 60)
    gate = SurrogateGate(task, SearchSettings(min_evaluated=30, audit_share=0.25))
    widths = find_beaten(task)
    fates = [gate.check(ask(task, widths, number), history).fate for number in range(400)]
    assert set(fates) == {"audited", "pruned-surrogate"}
    assert 70 <= fates.count("audited") <= 130
    other = SurrogateGate(task, SearchSettings(min_evaluated=30, audit_share=0.25))
    assert fates[7] == other.check(ask(task, widths, 7), history).fate


def test_a_gate_that_has_seen_more_answers_like_a_new_one():
    task = make_task()
    used, history = SurrogateGate(task, SETTINGS), make_history(task, 30)
    question = ask(task, find_beaten(task))
    rng = numpy_generator(0, "more")
    for number in range(30, 57):
        used.check(question, history)
        add(history, task, number, task.space.sample(rng))
    assert used.check(question, history) == SurrogateGate(task, SETTINGS).check(question, history)


def test_gates_are_asked_from_the_cheapest_to_the_dearest():
    names = [gate.name for gate in make_gates(make_task(), SETTINGS)]
    assert names == ["constraint", "duplicate", "surrogate"]
    no_surrogate = SearchSettings(surrogate=False)
    assert len(make_gates(make_task(), no_surrogate)) == 2
