from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np
import pytest
from search.fakes import compute_accuracy
from search.fakes import finish
from search.fakes import make_history
from search.fakes import make_task
from search.fakes import sample_trials

from dpod_search.rng import numpy_generator
from dpod_search.search import Macs
from dpod_search.search import Objective
from dpod_search.search import Params
from dpod_search.search import SearchSettings
from dpod_search.search.plan.gates import ConstraintGate
from dpod_search.search.plan.gates import DuplicateGate
from dpod_search.search.plan.gates import Question
from dpod_search.search.plan.gates import SurrogateGate
from dpod_search.search.plan.gates import make_gates
from dpod_search.search.plan.history import History
from dpod_search.search.plan.surrogate import SurrogateFitter


SETTINGS = SearchSettings(min_evaluated=30, refit_every=10, audit_share=0.0)


def ask(task, widths, number=100):
    return Question(number, widths, task.measure_footprint(widths))


def make_gate(task, settings=SETTINGS):
    return SurrogateGate(task, settings, SurrogateFitter(task, settings))


def sample_history(task, n):
    """Return a history of n evaluated subnets, the full net first."""
    return make_history(task, [finish(task, 0, task.space.full), *sample_trials(task, n)[1:]])


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
    history = sample_history(task, 3)
    verdict = DuplicateGate().check(ask(task, task.space.full), history)
    assert not verdict.passed
    assert verdict.reason == "trial 0 has the same widths"
    assert verdict.values == history.measured[0].values
    assert DuplicateGate().check(ask(task, task.space.smallest), history).passed


def test_the_surrogate_gate_is_open_until_enough_is_evaluated():
    task = make_task()
    verdict = make_gate(task).check(ask(task, find_beaten(task)), sample_history(task, 29))
    assert verdict.passed
    assert not verdict.attributes


def test_the_surrogate_gate_prunes_with_a_reason_and_its_prediction():
    task = make_task()
    history = sample_history(task, 60)
    verdict = make_gate(task).check(ask(task, find_beaten(task)), history)
    assert not verdict.passed
    assert verdict.fate == "pruned-surrogate"
    assert re.match(r"accuracy at best \d\d\.\d\d % with macs", verdict.reason)
    assert verdict.reason.endswith("is dominated by the front")
    low, mean, high = (
        verdict.attributes[f"predicted_accuracy{end}"] for end in ("_low", "", "_high")
    )
    assert low < mean < high
    assert mean == pytest.approx(compute_accuracy(find_beaten(task), task.space), abs=0.1)


def test_the_surrogate_gate_lets_the_promising_pass_with_its_prediction():
    task = make_task()
    gate, history = make_gate(task), sample_history(task, 60)
    trials = sample_trials(task, 400, seed=1)
    good = [trial.widths for trial in trials if not history.is_beaten(trial.values)]
    verdicts = [gate.check(ask(task, widths), history) for widths in good]
    assert len(verdicts) >= 20
    assert np.mean([verdict.passed for verdict in verdicts]) >= 0.9
    assert {verdict.fate for verdict in verdicts if verdict.passed} == {"evaluated"}
    keys = {"predicted_accuracy", "predicted_accuracy_low", "predicted_accuracy_high"}
    assert all(set(verdict.attributes) == keys for verdict in verdicts)


def test_the_surrogate_gate_leaves_a_footprint_without_a_number_to_the_measurement():
    task = make_task()
    footprint = {**task.measure_footprint(find_beaten(task)), "own": math.nan}
    question = Question(100, find_beaten(task), footprint)
    assert make_gate(task).check(question, sample_history(task, 60)).passed


def test_audits_are_drawn_by_trial_number_at_the_share_asked_for():
    task = make_task()
    history = sample_history(task, 60)
    settings = SearchSettings(min_evaluated=30, audit_share=0.25)
    gate = make_gate(task, settings)
    widths = find_beaten(task)
    fates = [gate.check(ask(task, widths, number), history).fate for number in range(400)]
    assert set(fates) == {"audited", "pruned-surrogate"}
    assert 70 <= fates.count("audited") <= 130
    other = make_gate(task, settings)
    assert fates[7] == other.check(ask(task, widths, 7), history).fate


def test_a_gate_that_has_seen_more_answers_like_a_new_one():
    task = make_task()
    used, history = make_gate(task), sample_history(task, 30)
    question = ask(task, find_beaten(task))
    rng = numpy_generator(0, "more")
    for number in range(30, 57):
        used.check(question, history)
        history.add(finish(task, number, task.space.sample(rng)))
    assert used.check(question, history) == make_gate(task).check(question, history)


def test_the_gate_asks_the_surrogate_that_the_sampler_has_already():
    task = make_task()
    fitter = SurrogateFitter(task, SETTINGS)
    history = sample_history(task, 60)
    gate = make_gates(task, SETTINGS, fitter)[-1]
    own = make_gates(task, SETTINGS)[-1]
    surrogate = fitter.find_surrogate(history)
    widths = find_beaten(task)
    surrogate.prepare([widths, task.space.full])
    assert gate.check(ask(task, widths), history).attributes == pytest.approx(
        own.check(ask(task, widths), history).attributes, rel=1e-9
    )
    assert fitter.find_surrogate(history) is surrogate


def test_nothing_is_predicted_where_all_is_exact():
    task = make_task(objectives=(Macs(), Params()))
    assert [gate.name for gate in make_gates(task, SETTINGS)] == ["constraint", "duplicate"]


def test_of_an_objective_that_is_minimised_the_low_end_is_the_optimistic_one():
    error = Objective("error", "minimize", lambda subnet: 0.0)
    task = make_task(objectives=(error, Macs()))
    space = task.space
    task = replace(task, evaluate=lambda widths: {"error": 1 - compute_accuracy(widths, space)})
    verdict = make_gate(task).check(ask(task, find_beaten(task)), sample_history(task, 60))
    low = verdict.attributes["predicted_error_low"]
    assert verdict.reason.startswith(f"error at best {low:.4g} with macs ")
    assert not verdict.passed


def test_gates_are_asked_from_the_cheapest_to_the_dearest():
    names = [gate.name for gate in make_gates(make_task(), SETTINGS)]
    assert names == ["constraint", "duplicate", "surrogate"]
    no_surrogate = SearchSettings(surrogate=False)
    assert len(make_gates(make_task(), no_surrogate)) == 2
