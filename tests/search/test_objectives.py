from __future__ import annotations

import pytest
import torch
from search.fakes import ACCURACY
from search.fakes import make_space
from search.fakes import make_task

from dpod_search.errors import ConfigError
from dpod_search.errors import DataError
from dpod_search.errors import ObjectiveError
from dpod_search.latency import Latency as MeasuredLatency
from dpod_search.latency import LatencySettings
from dpod_search.placement import Placement
from dpod_search.search import LatencyMs
from dpod_search.search import Objective
from dpod_search.search import PeakBytes
from dpod_search.search import call_objective
from dpod_search.search import resolve_objective
from dpod_search.search import resolve_objectives
from dpod_search.search import to_number


def test_a_footprint_that_the_model_does_not_know_is_refused_before_the_search():
    with pytest.raises(ConfigError, match=r"no footprint is called peak_bytes; .*known: macs"):
        make_task(objectives=(ACCURACY, PeakBytes()))


def test_an_objective_needs_a_name_and_a_function():
    with pytest.raises(ConfigError, match="needs a name"):
        Objective("", "minimize", len)
    with pytest.raises(ConfigError, match="needs a function"):
        Objective("x", "minimize")


class Placed:
    """What latency needs of a subnet."""

    placement = Placement(torch.device("cpu"))


@pytest.fixture
def timed(monkeypatch):
    """What the clock is asked."""
    seen = []

    def watch(subnet, **options):
        seen.append((subnet, options))
        return MeasuredLatency(7.5, 7.0, 8.0, 5)

    monkeypatch.setattr("dpod_search.latency.measure_subnet_latency", watch)
    return seen


def test_latency_has_a_name_and_asks_the_clock(timed):
    named = resolve_objective("latency_ms")
    assert (named.name, named.direction, named.is_measured) == ("latency_ms", "minimize", True)
    assert named.function(Placed()) == 7.5

    subnet = Placed()
    LatencyMs(batch_size=8, n_threads=2, max_seconds=0.5).function(subnet)
    found, options = timed[1]
    assert found is subnet
    device = options["bench"].fingerprint
    assert (device.backend, device.n_threads, device.batch_size) == ("eager", 2, 8)
    del options["bench"]
    assert options == {"batch_size": 8, "max_seconds": 0.5, "images": None}


def test_one_bench_measures_all_subnets(timed):
    objective = LatencyMs(n_threads=1)
    for _ in range(3):
        objective.function(Placed())
    assert len({id(options["bench"]) for _, options in timed}) == 1


def test_the_settings_of_a_study_reach_the_clock(timed):
    settings = LatencySettings(backend="compile", batch_size=4, n_threads=3, seconds=0.25)
    (objective,) = resolve_objectives(["latency_ms"], latency=settings)
    objective.function(Placed())

    ((_, options),) = timed
    device = options["bench"].fingerprint
    assert (device.backend, device.n_threads, device.batch_size) == ("compile", 3, 4)
    assert (options["batch_size"], options["max_seconds"]) == (4, 0.25)


def test_an_unknown_backend_is_named():
    with pytest.raises(
        ConfigError, match="'onnxruntim'; did you mean onnxruntime.*eager, compile"
    ):
        LatencyMs(backend="onnxruntim")


@pytest.mark.parametrize(
    ("option", "value"), [("batch_size", 0), ("n_threads", 0), ("max_seconds", -1.0)]
)
def test_options_of_the_latency_out_of_range_are_named(option, value):
    with pytest.raises(ConfigError, match=f"{option} of LatencyMs"):
        LatencyMs(**{option: value})


SMALLEST = make_space().smallest


def call(error):
    def fail(_subnet):
        raise error

    return call_objective(Objective("mine", "minimize", fail), None, SMALLEST)


def test_an_answer_is_passed_on():
    objective = Objective("mine", "minimize", lambda subnet: (subnet, 3))
    assert call_objective(objective, "subnet", SMALLEST) == ("subnet", 3)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("two\n lines"), "ValueError in line .*: two lines"),
        (
            FileNotFoundError(2, "No such file", "x.bin"),
            "FileNotFoundError in line .* No such file: 'x",
        ),
        (ZeroDivisionError(), "ZeroDivisionError"),
    ],
)
def test_an_error_names_the_objective_and_the_widths(error, words):
    message = rf"^objective mine raised {words}.* \(widths {SMALLEST}\); mend it"
    with pytest.raises(ObjectiveError, match=message) as caught:
        call(error)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", [DataError("in words of its own"), KeyboardInterrupt()])
def test_our_own_errors_and_interrupts_pass(error):
    with pytest.raises(type(error)) as caught:
        call(error)
    assert caught.value is error


def test_a_number_is_made_of_what_has_one():
    assert to_number(torch.tensor([2.5]), "mine") == 2.5
    for value in (torch.ones(2), "3", True, None):
        with pytest.raises(ConfigError, match="objective mine must return a number, got"):
            to_number(value, "mine")
