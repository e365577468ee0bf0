"""BatchNorm statistics are those of all the pictures, and nothing else changes."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from strategies import Classifier
from strategies import ConvUnit
from strategies import Net
from strategies import Residual
from strategies import nets
from strategies import scramble_norms
from strategies import widths_of
from torch import Tensor
from torch import nn

from dpod_search.errors import CalibrationError
from dpod_search.errors import ConfigError
from dpod_search.errors import GroupingError
from dpod_search.evaluation import calibrate
from dpod_search.evaluation import calibrated
from dpod_search.supernet import build_supernet
from dpod_search.supernet import extract_subnet


def one_norm_net() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 2, 1))


def deep_net() -> nn.Module:
    return Classifier(
        nn.Sequential(ConvUnit(3, 6), Residual(6, 6, 1), Residual(6, 4, 2)), 4, "mean"
    )


def drifting_pictures(n: int) -> Tensor:
    """Pictures whose mean and spread change on the way, so that batches differ."""
    drift = torch.linspace(-3, 3, n).view(n, 1, 1, 1)
    return torch.randn(n, 3, 6, 6) * (1 + drift.abs()) + drift


def exact_statistics(values: Tensor) -> tuple[Tensor, Tensor]:
    axes = [axis for axis in range(values.ndim) if axis != 1]
    return values.mean(axes), values.var(axes, unbiased=False)


def assert_statistics(norm: nn.Module, values: Tensor) -> None:
    mean, variance = exact_statistics(values.double())
    torch.testing.assert_close(norm.running_mean.double(), mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(norm.running_var.double(), variance, rtol=1e-4, atol=1e-5)


@settings(max_examples=25)
@given(st.integers(2, 40), st.integers(1, 50))
def test_one_norm_has_the_exact_statistics_however_the_data_are_cut(
    n: int, batch_size: int
) -> None:
    torch.manual_seed(n)
    net, images = one_norm_net(), drifting_pictures(n)
    calibrate(net, images, batch_size=batch_size)

    assert_statistics(net[1], net[0](images).detach())


def test_the_spread_between_batches_is_part_of_the_variance() -> None:
    norm = nn.BatchNorm1d(1)
    values = torch.tensor([[-1.0], [-1.2], [1.0], [1.2]])  # two batches, far apart
    calibrate(norm, values, batch_size=2)

    within = torch.stack([half.var(unbiased=False) for half in values.split(2)]).mean()
    assert within.item() == pytest.approx(0.01, abs=1e-6)
    assert norm.running_var.item() == pytest.approx(1.22, abs=1e-6)


def test_in_one_batch_every_norm_of_a_deep_net_is_exact() -> None:
    net, images = scramble_norms(deep_net()), drifting_pictures(32)
    calibrate(net, images)

    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    seen: dict[nn.Module, Tensor] = {}
    hooks = [m.register_forward_hook(lambda m, i, o: seen.update({m: i[0]})) for m in norms]
    with torch.no_grad():
        net.eval()(images)
    for hook in hooks:
        hook.remove()
    for norm in norms:
        assert_statistics(norm, seen[norm])


def test_a_norm_that_is_called_twice_pools_both_calls() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm2d(3, affine=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(x) + self.norm(5 * x + 2)

    net, images = Twice(), drifting_pictures(12)
    calibrate(net, images, batch_size=4)

    assert_statistics(net.norm, torch.cat([images, 5 * images + 2]))


def test_a_last_batch_of_one_picture_is_no_problem() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    images = torch.randn(9, 3)
    calibrate(net, images, batch_size=4)

    assert_statistics(net[1], net[0](images).detach())
    calibrate(net, images, batch_size=1)
    assert_statistics(net[1], net[0](images).detach())


def test_only_statistics_change() -> None:
    net, images = scramble_norms(deep_net()), drifting_pictures(8)
    net.train()
    net.body[1].norm.eval()
    net.body[0][1].momentum = None
    user_calls: list[Tensor] = []
    net.body[0][1].register_forward_hook(lambda m, i, o: user_calls.append(o))
    before = copy.deepcopy(net)
    calibrate(net, images)

    assert len(user_calls) == 1
    for (name, tensor), old in zip(
        net.state_dict().items(), before.state_dict().values(), strict=True
    ):
        assert torch.equal(tensor, old) != ("running" in name or "tracked" in name), name
    for module, old in zip(net.modules(), before.modules(), strict=True):
        assert module.training == old.training
        assert len(module._forward_hooks) == len(old._forward_hooks)
        assert not module._forward_pre_hooks
        assert getattr(module, "momentum", 0) == getattr(old, "momentum", 0)


def test_a_norm_that_does_not_run_keeps_its_statistics() -> None:
    class Branch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used = nn.BatchNorm2d(3)
            self.unused = nn.BatchNorm2d(3)

        def forward(self, x: Tensor) -> Tensor:
            return self.used(x)

    net, images = scramble_norms(Branch()), drifting_pictures(8)
    before = copy.deepcopy(net.unused.state_dict())
    calibrate(net, images)

    assert_statistics(net.used, images)
    torch.testing.assert_close(net.unused.state_dict(), before, rtol=0, atol=0)


def test_dropout_is_off_while_calibrating() -> None:
    net = nn.Sequential(nn.Dropout(0.9), nn.BatchNorm2d(3)).train()
    images = drifting_pictures(8)
    calibrate(net, images)

    assert_statistics(net[1], images)


def test_a_net_without_norms_is_left_alone() -> None:
    net = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2, track_running_stats=False))
    before = copy.deepcopy(net.state_dict())
    calibrate(net, torch.empty(0, 3))

    torch.testing.assert_close(net.state_dict(), before)


@pytest.mark.parametrize("fails", [False, True])
def test_statistics_and_modes_come_back_after_the_block(fails: bool) -> None:
    net, images = scramble_norms(deep_net()).train(), drifting_pictures(8)
    before = copy.deepcopy(net)

    def run() -> None:
        with calibrated(net, images):
            assert not torch.equal(net.body[1].norm.running_mean, before.body[1].norm.running_mean)
            if fails:
                raise KeyError("the user's own")

    if fails:
        with pytest.raises(KeyError):
            run()
    else:
        run()
    torch.testing.assert_close(net.state_dict(), before.state_dict(), rtol=0, atol=0)
    assert all(module.training for module in net.modules())


def enter_calibrated(net: nn.Module, images: Tensor) -> None:
    with calibrated(net, images):
        pass


def poison(net: nn.Module) -> nn.Module:
    net[0].weight.data[1] = float("nan")
    return net


@pytest.mark.parametrize(
    ("net", "images", "message"),
    [
        (one_norm_net(), torch.empty(0, 3, 6, 6), "at least one picture, got none"),
        (
            nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3, 4), nn.BatchNorm1d(4)),
            torch.randn(1, 3, 1, 1),
            "use more calibration pictures",
        ),
        (
            nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 4), nn.BatchNorm1d(4)),
            torch.randn(1, 3),
            "more than 1 value per channel",
        ),
        (poison(one_norm_net()), torch.randn(4, 3, 6, 6), "not finite"),
        (one_norm_net(), torch.full((4, 3, 6, 6), float("inf")), "not finite"),
    ],
    ids=["no pictures", "one value", "one row", "nan weights", "infinite pictures"],
)
@pytest.mark.parametrize("run", [calibrate, enter_calibrated], ids=["calibrate", "calibrated"])
def test_what_cannot_be_calibrated_is_one_line_and_changes_nothing(
    net: nn.Module, images: Tensor, message: str, run: Callable[[nn.Module, Tensor], None]
) -> None:
    net.train()
    before = copy.deepcopy(net)

    with pytest.raises(CalibrationError, match=message) as caught:
        run(net, images)
    assert "\n" not in str(caught.value)
    torch.testing.assert_close(
        net.state_dict(), before.state_dict(), rtol=0, atol=0, equal_nan=True
    )
    assert all(module.training for module in net.modules())
    assert not any(module._forward_hooks for module in net.modules())
    assert all(getattr(module, "momentum", 0.1) == 0.1 for module in net.modules())


@settings(max_examples=20)
@given(nets(), st.data())
def test_a_calibrated_supernet_is_its_calibrated_extracted_net(
    net: Net, data: st.DataObject
) -> None:
    try:
        supernet = build_supernet(net.model, net.example).eval()
    except GroupingError:
        return
    widths = data.draw(widths_of(supernet.space))
    images = torch.randn(6, *net.example.shape[1:], generator=torch.Generator().manual_seed(1))
    plain = extract_subnet(supernet, widths)
    calibrate(plain, images, batch_size=3)

    with supernet.active(widths), calibrated(supernet, images, batch_size=3):
        cut = extract_subnet(supernet, widths)
        torch.testing.assert_close(supernet(images), plain(images), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(cut.state_dict(), plain.state_dict(), rtol=1e-3, atol=1e-4)


def test_an_instance_norm_averages_over_pictures() -> None:
    norm = nn.InstanceNorm2d(3, track_running_stats=True, momentum=0.1)
    images = torch.randn(7, 3, 5, 5) * torch.arange(1.0, 8.0)[:, None, None, None] + 2

    calibrate(nn.Sequential(norm), images, batch_size=3)

    assert norm.running_mean is not None
    assert norm.running_var is not None
    torch.testing.assert_close(norm.running_mean, images.mean([2, 3]).mean(0))
    torch.testing.assert_close(norm.running_var, images.var([2, 3]).mean(0))
    assert norm.momentum == 0.1


@pytest.mark.parametrize("batch_size", [0, -1, 2**63])
def test_batches_of_nothing_are_refused(batch_size: int) -> None:
    with pytest.raises(ConfigError, match="batch_size must be a whole number >= 1"):
        calibrate(one_norm_net(), torch.zeros(2, 3, 6, 6), batch_size=batch_size)
