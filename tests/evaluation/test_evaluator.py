"""Measurements equal what one computes by hand, and the supernet is left as it was."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from strategies import Classifier
from strategies import ConvUnit
from strategies import Residual
from strategies import scramble_norms
from torch import Tensor
from torch import nn

from dpod_search.errors import CalibrationError
from dpod_search.errors import ConfigError
from dpod_search.errors import DataError
from dpod_search.evaluation import EvaluationSettings
from dpod_search.evaluation import Evaluator
from dpod_search.evaluation import calibrate
from dpod_search.evaluation import measure
from dpod_search.evaluation import measure_accuracy
from dpod_search.placement import Placement
from dpod_search.supernet import Supernet
from dpod_search.supernet import build_supernet
from dpod_search.supernet import extract_subnet


CPU = torch.device("cpu")


@pytest.fixture
def supernet() -> Supernet:
    body = nn.Sequential(ConvUnit(3, 8), Residual(8, 8, 1), Residual(8, 6, 2))
    model = scramble_norms(Classifier(body, 6, "mean"))
    return build_supernet(model, torch.randn(2, 3, 6, 6))


@pytest.fixture
def images() -> Tensor:
    return torch.randn(23, 3, 6, 6)


@pytest.fixture
def batches() -> list[tuple[Tensor, Tensor]]:
    return [(torch.randn(n, 3, 6, 6), torch.randint(0, 3, (n,))) for n in (7, 5, 1)]


def test_measuring_is_counting_by_hand() -> None:
    scores = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 3.0], [0.0, 0.0, 9.0], [5.0, 6.0, 0.0]])
    labels = torch.tensor([0, 1, 2, 1])
    batches = [(scores[:3], labels[:3]), (scores[3:], labels[3:])]

    measurement = measure(lambda x: x, batches, Placement(CPU))

    assert measurement.first == 3 / 4
    by_hand = scores.softmax(1)[range(4), labels].mean().item()
    assert measurement.quality == pytest.approx(by_hand)
    assert measurement.n_samples == 4
    assert measurement.seconds >= 0


def test_evaluating_is_calibrating_and_measuring_the_extracted_net(
    supernet: Supernet, images: Tensor, batches: list[tuple[Tensor, Tensor]]
) -> None:
    evaluator = Evaluator(supernet, images)
    for ratio in (0.0, 0.5, 1.0):
        widths = supernet.space.uniform(ratio)
        plain = extract_subnet(supernet, widths)
        calibrate(plain, images)
        expected = measure(plain.eval(), batches, Placement(CPU))
        got = evaluator.evaluate(widths, batches)

        assert got.first == expected.first
        assert got.quality == pytest.approx(expected.quality, rel=1e-4)
        assert got.n_samples == 13
        with evaluator.calibrated(widths) as subnet:
            assert measure_accuracy(subnet, batches) == expected.first
            assert subnet.widths == supernet.widths == widths


@pytest.mark.parametrize("fails", [False, True])
def test_the_supernet_is_left_as_it_was(supernet: Supernet, images: Tensor, fails: bool) -> None:
    supernet.train()
    supernet.net.body[0].eval()
    before = copy.deepcopy(supernet)

    def run() -> None:
        with Evaluator(supernet, images).calibrated(supernet.space.smallest):
            assert not any(module.training for module in supernet.modules())
            if fails:
                raise KeyError("the user's own")

    if fails:
        with pytest.raises(KeyError):
            run()
    else:
        run()
    torch.testing.assert_close(supernet.state_dict(), before.state_dict(), rtol=0, atol=0)
    assert supernet.widths == supernet.space.full
    modes = [module.training for module in supernet.modules()]
    assert modes == [module.training for module in before.modules()]


def test_mistakes_leave_the_supernet_as_it_was(
    supernet: Supernet, images: Tensor, batches: list[tuple[Tensor, Tensor]]
) -> None:
    full = supernet.space.full
    before = copy.deepcopy(supernet.state_dict())

    with pytest.raises(DataError, match="there are no samples"):
        Evaluator(supernet, images).evaluate(full, [])
    with pytest.raises(CalibrationError, match="got none"):
        Evaluator(supernet, images[:0]).evaluate(full, batches)
    with pytest.raises(ConfigError, match="not one of its rungs"):
        Evaluator(supernet, images).evaluate(full.replace(full.names[0], 99), batches)
    torch.testing.assert_close(supernet.state_dict(), before, rtol=0, atol=0)
    assert supernet.training
    assert supernet.widths == full


def test_accuracy_of_a_module_is_taken_in_evaluation_mode() -> None:
    class Mode(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return -x if self.training else x

    net = nn.Sequential(Mode(), Mode())
    net[1].eval()
    batches = [(torch.eye(3), torch.arange(3))]

    assert measure_accuracy(net, batches) == 1.0
    assert [module.training for module in net.modules()] == [True, True, False]
    with pytest.raises(DataError):
        measure_accuracy(net, [])


@pytest.mark.parametrize("wrong", [{"n_calibration": 1}, {"batch_size": 1}])
def test_settings_are_checked(wrong: dict[str, int]) -> None:
    with pytest.raises(
        ConfigError, match=r"evaluation\..* must be a whole number >= 2 and .* got 1"
    ):
        EvaluationSettings(**wrong)


def test_an_evaluation_does_not_depend_on_those_before(
    supernet: Supernet, images: Tensor, batches: list[tuple[Tensor, Tensor]]
) -> None:
    rng = np.random.default_rng(0)
    widths = [supernet.space.sample(rng) for _ in range(6)]

    def measure_all(evaluator: Evaluator, order: list[int]) -> dict[int, tuple[float, float]]:
        found = {}
        for i in order:
            measurement = evaluator.evaluate(widths[i], batches)
            found[i] = (measurement.first, measurement.quality)
        return found

    first = measure_all(Evaluator(supernet, images), [0, 1, 2, 3, 4, 5])
    evaluator = Evaluator(supernet, images)
    assert measure_all(evaluator, [5, 3, 1, 0, 4, 2]) == first
    assert measure_all(evaluator, [2, 2, 0]).items() <= first.items()


def test_what_objectives_do_with_a_subnet_is_not_changed_by_measuring_it(
    supernet: Supernet, images: Tensor, batches: list[tuple[Tensor, Tensor]]
) -> None:
    with Evaluator(supernet, images).calibrated(supernet.space.uniform(0.5)) as subnet:
        accuracy = measure_accuracy(subnet, batches)
        plain = subnet.extract()
        assert measure_accuracy(plain, batches) == accuracy
        torch.testing.assert_close(subnet(images), plain(images), rtol=1e-4, atol=1e-5)
        subnet(images).sum().backward()  # gradients reach the supernet's own weights
        assert any(p.grad is not None and p.grad.any() for p in supernet.parameters())
        calibrate(supernet, images[:3])  # an objective's own; measuring follows it
        assert measure_accuracy(subnet, batches) == measure_accuracy(subnet.extract(), batches)


def test_a_net_that_runs_otherwise_than_it_was_watched_is_measured_all_the_same(
    batches: list[tuple[Tensor, Tensor]],
) -> None:
    class Skipping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
            self.head = nn.Linear(4, 3)
            self.skips = False

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(x)
            y = y if self.skips else self.norm(y)
            return self.head(y.mean([2, 3]))

    supernet = build_supernet(Skipping(), torch.randn(2, 3, 6, 6)).eval()
    evaluator = Evaluator(supernet, torch.randn(9, 3, 6, 6))
    widths = supernet.space.uniform(0.5)
    evaluator.evaluate(widths, batches)
    supernet.net.skips = True
    with supernet.active(widths):
        expected = measure(supernet, batches, Placement(CPU))

    got = evaluator.evaluate(widths, batches)
    assert (got.first, got.quality) == (expected.first, expected.quality)
