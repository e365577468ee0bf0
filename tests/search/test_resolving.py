from __future__ import annotations

import pytest

from dpod_search.errors import ConfigError
from dpod_search.errors import DpodSearchError
from dpod_search.footprint import METRICS
from dpod_search.search import Accuracy
from dpod_search.search import Macs
from dpod_search.search import Objective
from dpod_search.search import Params
from dpod_search.search import PeakBytes
from dpod_search.search import WeightBytes
from dpod_search.search import resolve_objective
from dpod_search.search import resolve_objectives
from dpod_search.search.resolving import list_footprints


class Latency:
    direction = "minimize"

    def __call__(self, subnet):
        return 1.0


class Depth(Latency):
    name = "depth"
    needs = "widths"


class Unmakeable:
    direction = "minimize"

    def __init__(self):
        raise KeyError("nothing")


class NeedsArguments(Latency):
    def __init__(self, device):
        self.device = device


def undirected(subnet):
    return 1.0


def test_objectives_pass_through():
    for objective in (Macs(), Params(), WeightBytes(), PeakBytes(), Accuracy([])):
        assert resolve_objective(objective) is objective


def test_every_footprint_is_an_objective_by_its_name(monkeypatch):
    monkeypatch.setitem(METRICS, "toy_bytes", METRICS["params"])
    for name in METRICS:
        assert resolve_objective(name) == Objective(name, "minimize", needs="footprint")
    assert list_footprints() == tuple(METRICS)
    with pytest.raises(ConfigError, match="did you mean toy_bytes"):
        resolve_objective("toy_byte")


def test_a_callable_is_measured_under_the_name_of_its_class():
    objective = resolve_objective(Latency())
    assert (objective.name, objective.direction, objective.needs) == (
        "Latency",
        "minimize",
        "subnet",
    )


def test_a_callable_may_need_widths_only():
    objective = resolve_objective(Depth())
    assert (objective.name, objective.needs) == ("depth", "footprint")


def test_an_import_path_names_an_object_or_a_class_without_arguments():
    assert resolve_objective("search.test_resolving:Depth").name == "depth"


def test_names_resolve_to_what_is_built_in():
    assert resolve_objectives(["accuracy", "macs"], loader=[])[1] == Macs()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (undirected, 'objective undirected must have direction "minimize" or "maximize"'),
        (NeedsArguments, "NeedsArguments cannot be made without arguments"),
        (
            Unmakeable,
            r"objective Unmakeable cannot be made: KeyError in line \d+ of .*: 'nothing'; mend it",
        ),
        (3, "must be callable or a name"),
        ("mac", "no objective is called mac; did you mean macs"),
        ("accuracy", "objective accuracy needs validation data"),
        ("dpod_search.search:Nothing", "Nothing"),
    ],
)
def test_mistakes_are_our_own_errors(spec, message):
    with pytest.raises(DpodSearchError, match=message):
        resolve_objective(spec)


def test_an_unknown_need_is_a_config_error():
    objective = Latency()
    objective.needs = "gpu"
    with pytest.raises(ConfigError, match='must be "subnet" or "widths"'):
        resolve_objective(objective)


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        ([], "one to four objectives, got 0"),
        (["macs", "params", "weight_bytes", Latency(), Depth()], "got 5"),
        (["macs", Macs()], "objective macs is given twice"),
        ("accuracy", "objectives must be a list, got 'accuracy'"),
        (Macs(), "objectives must be a list, got Objective"),
    ],
)
def test_the_number_of_objectives_is_limited(specs, message):
    with pytest.raises(ConfigError, match=message):
        resolve_objectives(specs)
