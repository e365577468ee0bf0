from __future__ import annotations

import pytest
import torch
from torch import nn

from dpod_search.errors import ConfigError
from dpod_search.errors import ObjectiveError
from dpod_search.search import Accuracy
from dpod_search.search import Macs
from dpod_search.search import SearchSettings
from dpod_search.search import search
from dpod_search.search.store.status import count_trials
from dpod_search.supernet import build_supernet


class Logits:
    name = "mean_logit"
    direction = "minimize"

    def __call__(self, subnet):
        return subnet(torch.ones(2, 3, 8, 8)).mean()


@pytest.fixture
def supernet():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 4),
    )
    return build_supernet(net, torch.zeros(2, 3, 8, 8))


@pytest.fixture
def batches():
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(32, 3, 8, 8, generator=generator)
    return [(images, torch.arange(32) % 4)]


def test_a_supernet_becomes_a_front_of_subnets(supernet, batches):
    images = torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    front = search(
        supernet,
        [Accuracy(batches), Macs(), Logits()],
        n_trials=12,
        constraints={"macs": "<= 60%"},
        calibration_images=images,
        seeds=[supernet.space.smallest],
    )
    assert len(front) >= 1
    for member in front:
        assert 0 <= member.values["accuracy"] <= 1
        assert member.values["macs"] == member.footprint["macs"]
        assert member.subnet.widths == member.widths
        assert member.subnet(torch.zeros(2, 3, 8, 8)).shape == (2, 4)


def test_latency_is_measured_by_its_name(supernet, batches):
    front = search(
        supernet,
        [Accuracy(batches), "latency_ms", "macs"],
        n_trials=4,
        settings=SearchSettings(n_ladder=2),
        constraints={"latency_ms": "<= 1k", "accuracy": ">= 0.0"},
    )
    assert len(front) >= 1
    assert all(0 < member.values["latency_ms"] < 1000 for member in front)


def test_without_calibration_images_those_of_the_accuracy_serve(supernet, batches):
    settings = SearchSettings(n_ladder=2)
    first = search(supernet, [Accuracy(batches), "macs"], n_trials=4, settings=settings)
    again = search(
        supernet,
        [Accuracy(batches), "macs"],
        n_trials=4,
        settings=settings,
        calibration_images=batches[0][0],
    )
    assert [m.values for m in first] == [m.values for m in again]


def test_an_objective_without_images_asks_for_them(supernet):
    with pytest.raises(ConfigError, match="pass calibration_images"):
        search(supernet, [Logits(), "macs"], n_trials=2)


def test_footprints_alone_run_no_net(supernet):
    front = search(supernet, ["macs", "params"], n_trials=10)
    assert front[0].widths == supernet.space.smallest


def test_the_number_of_trials_is_that_of_the_settings_unless_given(supernet, tmp_path):
    settings = SearchSettings(n_trials=3)
    for n, options in ((3, {}), (5, {"n_trials": 5})):
        storage = str(tmp_path / f"{n}.journal")
        search(supernet, ["macs", "params"], settings=settings, storage=storage, **options)
        assert count_trials("dpod", storage) == {"complete": n}


def test_a_model_is_no_supernet():
    with pytest.raises(ConfigError, match="takes a supernet, got a Linear; make one with build_"):
        search(nn.Linear(2, 2), ["macs"], n_trials=2)


def test_a_search_ends_at_the_first_limit(supernet, batches, tmp_path):
    for at_most, options in ((3, {"n_evaluated": 3}), (2, {"seconds": 0.001})):
        storage = str(tmp_path / f"{at_most}.journal")
        search(supernet, [Accuracy(batches), "macs"], storage=storage, **options)
        assert count_trials("dpod", storage).get("complete", 0) <= at_most


def test_an_objective_that_raises_stops_the_search_at_its_trial(supernet, batches, tmp_path):
    calls = []

    def third(subnet):
        calls.append(subnet.widths)
        if len(calls) == 3:
            raise ZeroDivisionError("odd")
        return 0.0

    third.direction = "minimize"
    options = {"storage": str(tmp_path / "j"), "n_trials": 4, "calibration_images": batches[0][0]}
    with pytest.raises(ObjectiveError, match="^trial 2: objective third raised ZeroDivisionErr"):
        search(supernet, [third, "macs"], **options)
    assert len(search(supernet, [third, "macs"], **options)) >= 1
    assert calls[2] == calls[3]
    assert count_trials("dpod", options["storage"]) == {"complete": 4}


class TwoInputs(nn.Module):
    def __init__(self, norm):
        super().__init__()
        self.first, self.second, self.norm = nn.Linear(6, 8), nn.Linear(5, 8), norm
        self.head = nn.Linear(8, 3)

    def forward(self, u, v):
        return self.head(self.norm(self.first(u) + self.second(v)).relu())


@pytest.mark.parametrize("repair", [False, True])
def test_a_model_of_two_inputs_is_searched_by_an_objective_of_the_users(repair):
    torch.manual_seed(0)
    u, v = torch.randn(32, 6), torch.randn(32, 5)
    supernet = build_supernet(TwoInputs(nn.BatchNorm1d(8)), (u[:2], v[:2]))
    seen = {}

    def spread(subnet):
        assert subnet.supernet.net.norm.running_mean.isfinite().all()
        seen[subnet.widths] = subnet.supernet.net.norm.running_var[
            : subnet.widths["first"]
        ].clone()
        return subnet(u, v).std()

    spread.direction = "minimize"
    options = {"n_trials": 4, "settings": SearchSettings(n_ladder=2), "repair": repair}
    with pytest.raises(ConfigError, match=r"for a model of several inputs a tuple of them"):
        search(supernet, [spread, "macs"], **options)
    with pytest.raises(ConfigError, match=r"missing .*'v'.*calibration_images=\(first, second\)"):
        search(supernet, [spread, "macs"], calibration_images=u, **options)
    for images in ((u, v), {"v": v, "u": u}):
        assert len(search(supernet, [spread, "macs"], calibration_images=images, **options)) >= 1
    if not repair:
        for widths, found in seen.items():
            with supernet.active(widths), torch.no_grad():
                net = supernet.net
                wanted = (net.first(u) + net.second(v)).var(0, correction=0)
            torch.testing.assert_close(found, wanted)


def test_a_model_without_batchnorm_needs_nothing_to_calibrate_on():
    u, v = torch.randn(4, 6), torch.randn(4, 5)
    supernet = build_supernet(TwoInputs(nn.Identity()), (u, v))

    def spread(subnet):
        return subnet(u, v).std()

    spread.direction = "minimize"
    assert len(search(supernet, [spread, "macs"], n_trials=3)) >= 1
