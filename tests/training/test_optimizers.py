from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from training.fakes import make_net

from dpod_search.errors import ConfigError
from dpod_search.finetune import FinetuneSettings
from dpod_search.training import OptimizerSettings
from dpod_search.training import TrainingSettings


SCHEDULES = ("cosine", "one-cycle")


@given(
    schedule=st.sampled_from(SCHEDULES),
    n_steps=st.integers(1, 500),
    warmup_share=st.floats(0, 0.99),
    lr=st.floats(1e-6, 10),
)
def test_the_rate_rises_then_falls_and_is_never_zero(schedule, n_steps, warmup_share, lr):
    settings = OptimizerSettings(lr=lr, warmup_share=warmup_share, schedule=schedule)
    rates = [settings.rate_at(step, n_steps) for step in range(n_steps)]
    assert all(0 < rate <= lr * (1 + 1e-12) for rate in rates)
    highest = rates.index(max(rates))
    assert rates[:highest] == sorted(rates[:highest])
    assert rates[highest:] == sorted(rates[highest:], reverse=True)
    if schedule == "cosine":
        assert max(rates) == pytest.approx(lr)


def test_the_cosine_follows_its_formula():
    settings = OptimizerSettings(lr=0.4, warmup_share=0.2)
    assert settings.rate_at(0, 10) == pytest.approx(0.2)
    assert settings.rate_at(1, 10) == pytest.approx(0.4)
    assert settings.rate_at(2, 10) == pytest.approx(0.4)
    assert settings.rate_at(6, 10) == pytest.approx(0.2)
    assert settings.rate_at(9, 10) == pytest.approx(0.2 * (1 + math.cos(math.pi * 7 / 8)))


@pytest.mark.parametrize(("n_steps", "warmup_share"), [(50, 0.3), (7, 0.5), (200, 0.05)])
def test_one_cycle_is_that_of_pytorch(n_steps, warmup_share):
    settings = OptimizerSettings(lr=0.4, warmup_share=warmup_share, schedule="one-cycle")
    optimizer = settings.make_optimizer(make_net())
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.4, n_steps, pct_start=warmup_share, cycle_momentum=False
    )
    for step in range(n_steps):
        assert settings.rate_at(step, n_steps) == pytest.approx(theirs.get_last_lr()[0])
        optimizer.step()
        if step < n_steps - 1:
            theirs.step()


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("lr", 0.0),
        ("lr", math.nan),
        ("momentum", 1.0),
        ("momentum", -0.1),
        ("weight_decay", -1e-9),
        ("warmup_share", 1.0),
        ("warmup_share", -0.1),
        ("max_grad_norm", -1.0),
        ("ema_decay", 1.0),
        ("optimizer", "adam"),
        ("schedule", "linear"),
    ],
)
@pytest.mark.parametrize(
    ("make", "section"),
    [
        (OptimizerSettings, "optimizer"),
        (TrainingSettings, "training"),
        (FinetuneSettings, "finetune"),
    ],
)
def test_settings_out_of_range_are_named_in_one_line(make, section, setting, value):
    with pytest.raises(ConfigError, match=f"{section}.{setting} must be .*, got") as caught:
        make(**{setting: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("make", [TrainingSettings, FinetuneSettings])
def test_other_settings_have_those_of_the_optimizer(make):
    values = {
        "optimizer": "adamw",
        "schedule": "one-cycle",
        "lr": 0.01,
        "momentum": 0.8,
        "weight_decay": 0.1,
        "decays_norms": False,
        "warmup_share": 0.3,
        "max_grad_norm": 1.0,
        "ema_decay": 0.9,
    }
    settings = make(**values)
    assert isinstance(settings, OptimizerSettings)
    assert values.items() <= vars(settings).items()
    assert set(values) == {f.name for f in dataclasses.fields(OptimizerSettings)}


@pytest.mark.parametrize("make", [OptimizerSettings, TrainingSettings])
def test_the_defaults_are_those_of_a_plain_training(make):
    made = make().make_optimizer(make_net())
    assert isinstance(made, torch.optim.SGD)
    (group,) = made.param_groups
    assert (group["lr"], group["momentum"], group["nesterov"]) == (0.1, 0.9, True)
    assert group["weight_decay"] == 5e-4


def test_without_momentum_the_optimizer_still_steps():
    assert not OptimizerSettings(momentum=0).make_optimizer(make_net()).defaults["nesterov"]


def test_adamw_has_the_momentum_as_its_first_beta():
    made = OptimizerSettings(optimizer="adamw", momentum=0.8).make_optimizer(make_net())
    assert isinstance(made, torch.optim.AdamW)
    assert made.defaults["betas"] == (0.8, 0.999)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_vectors_can_be_left_without_decay(optimizer):
    net = make_net()
    settings = OptimizerSettings(optimizer, weight_decay=0.3, decays_norms=False, warmup_share=0)
    made = settings.make_optimizer(net)
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    made.step()
    for name, parameter in net.named_parameters():
        assert torch.equal(parameter, before[name]) == (parameter.ndim <= 1)
    assert sum(len(g["params"]) for g in made.param_groups) == len(before)
