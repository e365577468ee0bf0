"""A function of the user's gives several objectives, and is called once a subnet."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from training.fakes import make_batches
from training.fakes import make_supernet

from dpod_search.errors import ConfigError
from dpod_search.errors import ObjectiveError
from dpod_search.evaluation import make_evaluator
from dpod_search.evaluation import measure_accuracy
from dpod_search.search import Accuracy
from dpod_search.search import Evaluation
from dpod_search.search import Macs
from dpod_search.search import TaskMetric
from dpod_search.search import call_objectives
from dpod_search.search import resolve_objectives
from dpod_search.search import search
from dpod_search.supernet import Subnet
from dpod_search.tasks import Classification
from dpod_search.tasks import Metric
from dpod_search.tasks.classes import ClassTally


BATCHES = make_batches()
BOTH = {"right": "maximize", "spread": "minimize"}


class Measure:
    """Measures two things and says a third; counts its calls."""

    def __init__(self) -> None:
        self.n_calls = 0

    def __call__(self, module: nn.Module) -> dict[str, float]:
        self.n_calls += 1
        assert isinstance(module, nn.Module)
        assert not module.training
        assert not torch.is_grad_enabled()
        outputs = module(BATCHES[0][0])
        right = measure_accuracy(module, BATCHES)
        return {"right": right, "spread": outputs.std().item(), "unused": 1.0}


def measure(module: nn.Module) -> dict[str, float]:
    return {"right": 0.5, "spread": float(sum(p.numel() for p in module.parameters()))}


measure.directions = BOTH  # type: ignore[attr-defined]  # how objectives say it


def test_a_search_asks_it_once_a_subnet_and_both_are_objectives():
    function = Measure()
    front = search(
        make_supernet(),
        [Evaluation(function, BOTH), Macs(), Accuracy(BATCHES)],
        n_trials=10,
        calibration_images=BATCHES[0][0],
        constraints={"spread": "<= 1000"},
    )
    assert [o.name for o in front.objectives] == ["right", "spread", "macs", "accuracy"]
    for member in front:
        assert member.values["right"] == pytest.approx(member.values["accuracy"])
    assert 0 < function.n_calls <= 11  # the full net is measured besides


def test_each_objective_is_right_alone_too():
    supernet = make_supernet()
    evaluator = make_evaluator(supernet, BATCHES[0][0])
    function = Measure()
    objectives = Evaluation(function, BOTH).objectives
    with torch.no_grad(), evaluator.calibrated(supernet.space.uniform(0.5)) as subnet:
        together = call_objectives(objectives, subnet, subnet.widths)
        assert function.n_calls == 1
        for objective in objectives:
            assert objective.function is not None
            assert objective.function(subnet) == together[objective.name]
    assert together.keys() == BOTH.keys()


def test_a_callable_with_directions_is_one_and_so_is_its_import_path():
    for spec in (measure, f"{__name__}:measure", Evaluation(measure, BOTH)):
        found = resolve_objectives([spec, "macs"])
        assert [(o.name, o.direction) for o in found] == [*BOTH.items(), ("macs", "minimize")]


def test_its_batches_are_what_a_search_may_calibrate_on():
    found = resolve_objectives([Evaluation(measure, BOTH, BATCHES)])
    assert all(objective.batches is BATCHES for objective in found)
    assert len(search(make_supernet(), [Evaluation(Measure(), BOTH, BATCHES)], n_trials=4)) > 0


def call(function):
    supernet = make_supernet()
    subnet = Subnet(supernet, supernet.space.full)
    return call_objectives(Evaluation(function, BOTH).objectives, subnet, subnet.widths)


def test_what_it_must_return_is_said_in_one_line():
    with pytest.raises(ConfigError, match=r"evaluation <lambda> must return numbers by name, got"):
        call(lambda module: 0.5)
    with pytest.raises(ConfigError, match=r"must return a value for spread, got \['right'\]"):
        call(lambda module: {"right": 0.5})


def test_what_it_raises_names_it_and_the_place():
    def stumble(module):
        raise KeyError("odd")

    with pytest.raises(ObjectiveError, match=r"objective stumble raised KeyError in line \d+ of"):
        call(stumble)


@pytest.mark.parametrize(
    ("function", "directions", "message"),
    [
        (3, BOTH, "an evaluation must be callable, got 3"),
        (measure, {}, "evaluation measure must have directions such as .* got {}"),
        (measure, "maximize", "must have directions such as .* got 'maximize'"),
        (measure, {"right": "up"}, 'objective right must have direction "minimize" or "maximize"'),
    ],
)
def test_mistakes_are_refused(function, directions, message):
    with pytest.raises(ConfigError, match=message):
        Evaluation(function, directions)


class Counted(list):
    """Batches that count how often they are gone through."""

    n_passes = 0

    def __iter__(self):
        self.n_passes += 1
        return super().__iter__()


def test_metrics_of_one_task_and_loader_are_measured_in_one_pass():
    batches, supernet = Counted(BATCHES), make_supernet()
    task = TwoMetrics()
    both = [TaskMetric(metric.name, batches, task) for metric in task.metrics]
    subnet = Subnet(supernet, supernet.space.full)
    module = subnet.extract().eval()
    values = call_objectives(both, module, subnet.widths)
    assert batches.n_passes == 1
    assert values == {objective.name: objective.function(module) for objective in both}
    other = TaskMetric("accuracy", Counted(BATCHES), task)
    call_objectives([both[1], replace(other, name="again")], subnet, subnet.widths)
    assert (batches.n_passes, other.batches.n_passes) == (4, 1)


class TwoMetrics(Classification):
    """Accuracy, and the share that is wrong."""

    metrics = (Metric("accuracy", "maximize", high=1.0), Metric("wrong", "minimize", high=1.0))

    def make_tally(self):
        return WrongTally(self)


class WrongTally(ClassTally):
    def measure(self):
        return {**super().measure(), "wrong": 1 - super().measure()["accuracy"]}
