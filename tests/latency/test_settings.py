from __future__ import annotations

import pytest

from dpod_search.errors import ConfigError
from dpod_search.latency import LatencySettings
from dpod_search.latency.backends import BACKENDS
from dpod_search.latency.settings import BACKEND_NAMES


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("backend", "tensorrt"),
        ("batch_size", 0),
        ("batch_size", 1.5),
        ("n_threads", 0),
        ("n_grid", 1),
        ("n_fit", 7),
        ("n_held_out", 3),
        ("seconds", -1),
        ("seconds", "long"),
        ("max_error", float("nan")),
    ],
)
def test_what_is_out_of_range_is_named(name, value):
    with pytest.raises(ConfigError, match=f"latency.{name} must be"):
        LatencySettings(**{name: value})


def test_all_backends_have_their_names():
    assert tuple(BACKENDS) == BACKEND_NAMES
    assert all(backend.name == name for name, backend in BACKENDS.items())
