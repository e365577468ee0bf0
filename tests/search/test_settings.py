from __future__ import annotations

import pytest

from dpod_search.errors import ConfigError
from dpod_search.search import SearchSettings


def test_the_defaults_are_valid():
    assert SearchSettings().n_trials == 240


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("n_trials", 0),
        ("n_evaluated", 0),
        ("seconds", 0.0),
        ("seconds", float("nan")),
        ("stall", 0),
        ("population_size", 1),
        ("objectives", ()),
        ("objectives", ("a", "b", "c", "d", "e")),
        ("sampler", "nsga3"),
        ("min_evaluated", 9),
        ("audit_share", 1.1),
        ("audit_share", float("nan")),
        ("refit_every", 0),
        ("n_ladder", -1),
        ("n_mdp", -1),
        ("confidence", 1.0),
    ],
)
def test_settings_out_of_range_are_named(setting, value):
    with pytest.raises(ConfigError, match=f"search.{setting}"):
        SearchSettings(**{setting: value})


def test_limits_beside_the_trials_are_not_set():
    settings = SearchSettings()
    assert (settings.n_evaluated, settings.seconds, settings.stall) == (None, None, None)


@pytest.mark.parametrize("sampler", ["nsga2", "nsga2-plain", "tpe", "gp", "random"])
def test_every_sampler_has_a_name(sampler):
    assert SearchSettings(sampler=sampler).sampler == sampler
