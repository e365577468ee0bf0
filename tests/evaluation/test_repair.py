"""Closed-form repair: exact where the rest can stand for what was cut, and never a change to stay."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from strategies import scramble_norms
from torch import nn
from torch.nn.utils import parametrizations

from dpod_search.evaluation import Evaluator
from dpod_search.evaluation import RepairingEvaluator
from dpod_search.evaluation import repair
from dpod_search.footprint import build_footprint
from dpod_search.models.resnet import build_resnet8
from dpod_search.supernet import build_supernet


CASES = {
    "conv1d": (lambda n, m, **k: nn.Conv1d(n, m, 3, padding=1, **k), (40,)),
    "conv2d": (lambda n, m, **k: nn.Conv2d(n, m, 3, stride=2, **k), (9, 11)),
    "dilated": (lambda n, m, **k: nn.Conv2d(n, m, 3, dilation=2, padding="same", **k), (9, 7)),
    "reflected": (
        lambda n, m, **k: nn.Conv2d(n, m, (3, 1), padding=(1, 0), padding_mode="reflect", **k),
        (6, 6),
    ),
    "conv3d": (lambda n, m, **k: nn.Conv3d(n, m, (2, 3, 1), **k), (5, 6, 4)),
    "linear": (nn.Linear, ()),
}


class Redundant(nn.Module):
    """Two layers, the second half of the first one's units copies of its first half."""

    def __init__(self, name: str, *, bias: bool) -> None:
        super().__init__()
        make, sizes = CASES[name]
        self.first, self.second = make(2, 8, bias=bias), make(8, 6, bias=bias)
        self.head = nn.Linear(6, 3)
        self.n_axes = len(sizes)
        with torch.no_grad():
            factors = 0.5 + torch.rand(4)
            for tensor in self.first.parameters():
                tensor[4:] = tensor[:4] * factors.view(-1, *[1] * (tensor.dim() - 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.second(torch.relu(self.first(x)))
        return self.head(x.flatten(2).mean(2) if self.n_axes else x)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_what_the_rest_can_stand_for_is_not_missed(name, bias, monkeypatch):
    monkeypatch.setattr(repair, "PRIOR", 1e-3)
    torch.manual_seed(0)
    net = Redundant(name, bias=bias).eval()
    images = torch.randn(256, 2, *CASES[name][1])
    supernet = build_supernet(net, images[:2], ratios=(0.5,))
    first = next(group.name for group in supernet.groups if group.full_width == 8)
    widths = supernet.space.full.replace(first, 4)
    wanted = net(images)
    errors = []
    for kind in (Evaluator, RepairingEvaluator):
        with torch.no_grad(), kind(supernet, images).calibrated(widths) as subnet:
            errors.append(float((subnet(images) - wanted).abs().mean() / wanted.abs().mean()))
            # What is cut out has the repaired weights.
            torch.testing.assert_close(subnet.extract()(images), subnet(images))
    assert errors[0] > 0.05
    assert errors[1] < 0.01


def test_a_subnet_can_come_near_to_another_than_the_full_net(monkeypatch):
    monkeypatch.setattr(repair, "PRIOR", 1e-3)
    torch.manual_seed(0)
    images = torch.randn(256, 2, 9, 11)
    supernet = build_supernet(
        Redundant("conv2d", bias=True).eval(), images[:2], ratios=(0.5, 0.75, 1.0)
    )
    # Of the second half of the units two are there, copies of two that stay.
    target = supernet.space.full.replace("first", 6)
    widths = target.replace("first", 4)
    with torch.no_grad(), Evaluator(supernet, images).calibrated(target) as subnet:
        wanted = subnet(images)
    errors = []
    for chosen in (None, target):
        evaluator = RepairingEvaluator(supernet, images, target=chosen)
        with torch.no_grad(), evaluator.calibrated(widths) as subnet:
            errors.append(float((subnet(images) - wanted).abs().mean() / wanted.abs().mean()))
    assert errors[0] > 0.05
    assert errors[1] < 0.01


def make_grouped():
    return nn.Sequential(
        nn.Conv2d(2, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False),
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 12, 3, groups=4),
        nn.ReLU(),
        nn.Conv2d(12, 8, 1),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, 5),
    )


@pytest.mark.parametrize(
    "make", [make_grouped, lambda: build_resnet8(input_shape=(2, 12, 12), n_classes=5)]
)
def test_any_subnet_comes_nearer_to_the_full_net_and_leaves_no_trace(make):
    torch.manual_seed(1)
    net = scramble_norms(make()).eval()
    images = torch.randn(300, 2, 12, 12)
    supernet = build_supernet(net, images[:2])
    before = copy.deepcopy(supernet.state_dict())
    plain, repairing = Evaluator(supernet, images), RepairingEvaluator(supernet, images)
    assert not repairing.repair.left
    errors = {plain: [], repairing: []}
    with torch.no_grad():
        with plain.calibrated(supernet.space.full) as full:
            wanted = full(images)
        rng = np.random.default_rng(0)
        for _ in range(6):
            widths = supernet.space.sample(rng)
            for evaluator, found in errors.items():
                with evaluator.calibrated(widths) as subnet:
                    found.append(float((subnet(images) - wanted).square().mean()))
                assert all(torch.equal(before[k], v) for k, v in supernet.state_dict().items())
        # The full net lacks nothing.
        with repairing.calibrated(supernet.space.full) as full:
            torch.testing.assert_close(full(images), wanted, rtol=1e-3, atol=1e-4)
    assert np.mean(errors[repairing]) < 0.7 * np.mean(errors[plain])


class Twice(nn.Module):
    """A layer that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 8, 3, padding=1)
        self.twice = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.twice(torch.relu(self.twice(torch.relu(self.first(x)))))
        return self.head(x.mean((2, 3)))


def test_what_cannot_be_solved_is_named_and_left():
    torch.manual_seed(0)
    images = torch.randn(64, 2, 6, 6)
    supernet = build_supernet(Twice().eval(), images[:2])
    evaluator = RepairingEvaluator(supernet, images)
    assert evaluator.repair.left.keys() == {"twice"}
    assert "once" in evaluator.repair.left["twice"]
    with evaluator.calibrated(supernet.space.smallest) as subnet:
        assert subnet(images).isfinite().all()


class Recurrent(nn.Module):
    """Layers with a closed form in front of one without, and behind it."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.front, self.hidden, self.head = nn.Linear(4, 8), nn.Linear(8, 6), nn.Linear(6, 3)
        if kind == "weight norm":
            self.middle = parametrizations.weight_norm(nn.Linear(8, 8))
        else:
            self.middle = nn.LSTM(8, 8, num_layers=2, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.middle(self.front(x))
        x = torch.relu(x) if self.kind == "weight norm" else x[0]
        return self.head(torch.relu(self.hidden(x[:, -1])))


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("weight norm", "its weight is computed"),
        ("lstm", "a recurrent layer has no closed form here"),
    ],
)
def test_what_stands_around_a_layer_without_a_closed_form_is_solved(kind, reason, caplog):
    torch.manual_seed(0)
    net, images = Recurrent(kind).eval(), torch.randn(256, 5, 4)
    supernet = build_supernet(net, images[:2])
    widths, wanted = supernet.space.uniform(0.5), net(images)
    evaluator = RepairingEvaluator(supernet, images, is_told=True)
    errors = []
    with torch.no_grad():
        for each in (Evaluator(supernet, images), evaluator):
            with each.calibrated(widths) as subnet:
                errors.append(float((subnet(images) - wanted).square().mean()))
                changed = {
                    name.partition(".")[0]
                    for name, p in supernet.net.named_parameters()
                    if not torch.equal(p, dict(net.named_parameters())[name])
                }
    assert evaluator.repair.left == {"middle": reason}
    assert f"repair: middle stays as it is cut: {reason}" in caplog.text
    # All inputs of the front are there, so that what is solved for it are its own weights, to rounding.
    assert {"hidden", "head"} <= changed <= {"front", "hidden", "head"}
    assert errors[1] < 0.7 * errors[0]


class Named(nn.Module):
    """Gives a layer its input by its name, in 16 bits."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 8), nn.Linear(8, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.second(input=torch.relu(self.first(x))).relu())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_inputs_by_name_and_numbers_of_16_bits(dtype):
    torch.manual_seed(0)
    images = torch.randn(64, 4).to(dtype)
    supernet = build_supernet(Named().to(dtype).eval(), images[:2])
    wanted, errors = supernet(images), []
    for kind in (Evaluator, RepairingEvaluator):
        evaluator = kind(supernet, images)
        with torch.no_grad(), evaluator.calibrated(supernet.space.uniform(0.5)) as subnet:
            errors.append(float((subnet(images) - wanted).square().mean()))
    assert errors[1] < errors[0]


def test_a_lent_subnet_may_run_at_other_widths_without_being_solved_again():
    torch.manual_seed(0)
    net = build_resnet8(input_shape=(2, 12, 12), n_classes=5).eval()
    images = torch.randn(64, 2, 12, 12)
    supernet = build_supernet(net, images[:2])
    blocks = [group.name for group in supernet.groups if group.kind == "block"]
    assert blocks
    widths = supernet.space.canonical(supernet.space.uniform(0.5).replace(blocks[0], 0))
    with RepairingEvaluator(supernet, images).calibrated(widths):
        before = copy.deepcopy(supernet.state_dict())
        with torch.no_grad(), supernet.active(supernet.space.full):
            supernet(images[:3])
        assert all(torch.equal(before[k], v) for k, v in supernet.state_dict().items())


def test_dead_units_and_few_pictures_give_finite_weights():
    torch.manual_seed(0)
    net = make_grouped()
    with torch.no_grad():
        net[0].weight[:3] = 0
        net[1].bias[:3] = -1
    images = torch.randn(3, 2, 12, 12)
    supernet = build_supernet(net.eval(), images[:2])
    with RepairingEvaluator(supernet, images).calibrated(supernet.space.smallest) as subnet:
        assert subnet(images).isfinite().all()


@pytest.mark.parametrize("shape", [(2, 40, 7), (2, 7, 40)])
def test_both_ways_to_solve_are_ridge_regression(shape):
    torch.manual_seed(0)
    rows, wanted = torch.randn(shape).double(), torch.randn(*shape[:2], 3).double()
    solved = repair._solve(rows, wanted, 0.1)
    for x, y, w in zip(rows, wanted, solved, strict=True):
        strength = 0.1 * x.square().sum() / x.shape[1]
        gradient = x.T @ (x @ w - y) + strength * w
        assert float(gradient.abs().max()) < 1e-9


def test_big_pictures_are_fewer(monkeypatch):
    net, images = make_grouped().eval(), torch.randn(40, 2, 12, 12)
    supernet = build_supernet(net, images[:2])
    peak = build_footprint(supernet).measure(supernet.space.full)["peak_bytes"]
    monkeypatch.setattr(repair, "_MAX_BYTES", 7.5 * peak)
    seen = []
    net_seen = supernet.net[0].register_forward_hook(lambda _, x, y: seen.append(len(y)))
    with RepairingEvaluator(supernet, images).calibrated(supernet.space.smallest):
        net_seen.remove()
    assert max(seen) == 7
