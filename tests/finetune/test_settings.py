"""Settings of finetuning: ranges, and how long each subnet is trained."""

from __future__ import annotations

import dataclasses
import math

import pytest

from dpod_search.errors import ConfigError
from dpod_search.finetune import FinetuneSettings


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("n_subnets", 0),
        ("epochs", -1),
        ("equal_cost", 1.5),
        ("max_epochs", 1),
        ("n_views", -1),
        ("n_views", 2.5),
        ("patience", 1.5),
        ("epochs", math.nan),
        ("n_subnets", 1.5),
        ("n_subnets", "most"),
        ("budgets", "macs<=2M"),
        ("budgets", ("macs<2M",)),
        ("budgets", ("macs<=2M", "")),
        ("budgets", (2e6,)),
        ("batch_size", 8.0),
        ("max_epochs", math.inf),
        ("features", -0.1),
        ("patience", -1),
        ("batch_size", 1),
        ("lr", 0.0),
        ("momentum", 1.0),
        ("weight_decay", -1.0),
        ("precision", "half"),
        ("distillation", 1.1),
        ("distillation", math.nan),
        ("temperature", 0.0),
        ("checkpoint_seconds", -1.0),
    ],
)
def test_settings_out_of_range_are_named(setting, value):
    with pytest.raises(ConfigError, match=f"finetune.{setting}"):
        FinetuneSettings(**{setting: value})


def test_a_small_subnet_gets_more_epochs():
    settings = FinetuneSettings(epochs=4, equal_cost=1, max_epochs=50)
    assert [settings.epochs_of(share) for share in (1.0, 0.5, 0.1, 0.01, 0.0)] == [
        4,
        8,
        40,
        50,
        50,
    ]
    assert [settings.epochs_of(share) for share in (1.0, 0.25)] == [4, 16]
    assert dataclasses.replace(settings, epochs=0.5).epochs_of(0.5) == 1
    assert settings.epochs_of(0.6) == pytest.approx(4 / 0.6)
    halfway = dataclasses.replace(settings, equal_cost=0.5)
    assert [halfway.epochs_of(share) for share in (1.0, 0.25, 0.01)] == [4, 8, 40]
    alike = dataclasses.replace(settings, equal_cost=0)
    assert [alike.epochs_of(share) for share in (1.0, 0.01, 0.0)] == [4, 4, 4]
