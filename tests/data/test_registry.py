"""Sources by name, and what is said when there is none."""

from __future__ import annotations

import pytest

from dpod_search.data import SOURCES
from dpod_search.data import DataSettings
from dpod_search.data.registry import open_source
from dpod_search.errors import ConfigError
from dpod_search.errors import DataError


def test_unknown_name_suggests_the_nearest_and_lists_all() -> None:
    with pytest.raises(DataError, match="did you mean 'digits'") as caught:
        open_source(DataSettings(name="digit"))
    assert all(name in str(caught.value) for name in SOURCES)


def test_unknown_name_far_from_all_lists_all() -> None:
    with pytest.raises(DataError, match="it is one of digits"):
        open_source(DataSettings(name="??"))


def test_arguments_are_for_imported_functions_only() -> None:
    with pytest.raises(ConfigError, match=r"remove \['a'\]"):
        open_source(DataSettings(arguments={"a": 1}))


def test_image_size_is_for_built_in_sources_only() -> None:
    with pytest.raises(ConfigError, match=r"pass the size in data\.arguments"):
        open_source(DataSettings(name="module:function", image_size=8))
