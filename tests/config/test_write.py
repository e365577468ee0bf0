"""A study written as TOML is the same study, and a difference names its keys."""

from __future__ import annotations

import dataclasses
import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpod_search.config import StudyConfig
from dpod_search.config import diff
from dpod_search.config import dump_toml
from dpod_search.config.parse import parse_study
from dpod_search.config.write import format_value
from dpod_search.data import DataSettings
from dpod_search.errors import ConfigError
from dpod_search.models import ModelSettings
from dpod_search.supernet import SupernetSettings


text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
values = st.recursive(
    st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
configs = st.builds(
    StudyConfig,
    name=st.from_regex(r"[a-z][a-z0-9_.-]{0,8}", fullmatch=True),
    seed=st.integers(0, 2**40),
    threads=st.none() | st.integers(1, 64),
    data=st.builds(
        DataSettings,
        name=text,
        root=text,
        download=st.booleans(),
        arguments=st.dictionaries(text, values, max_size=3),
        image_size=st.none() | st.integers(1, 512),
        validation_share=st.floats(0.01, 0.3),
    ),
    model=st.builds(ModelSettings, name=text, weights=st.none() | text),
    supernet=st.builds(
        SupernetSettings,
        ratios=st.lists(st.floats(0.01, 1), min_size=1, unique=True).map(tuple),
    ),
)


@given(config=configs)
def test_loads_back_to_the_same_study(config: StudyConfig) -> None:
    assert parse_study(tomllib.loads(dump_toml(config)), "test") == config


@given(config=configs)
def test_a_study_does_not_differ_from_itself(config: StudyConfig) -> None:
    assert diff(config, config) == []


@given(value=values)
def test_one_line_values_are_toml(value: Any) -> None:
    line = format_value(value)

    assert "\n" not in line
    assert tomllib.loads(f"value = {line}")["value"] == value


def test_diff_names_each_key() -> None:
    first = StudyConfig(name="a", data=DataSettings(arguments={"x": 1}))
    second = dataclasses.replace(
        first, threads=2, data=DataSettings(arguments={"x": 2, "y": "z"}, root="r")
    )

    assert diff(first, second) == [
        "threads: (not set) -> 2",
        'data.root: "data" -> "r"',
        "data.arguments.x: 1 -> 2",
        'data.arguments.y: (not set) -> "z"',
    ]


def test_what_toml_cannot_say_is_refused() -> None:
    config = StudyConfig(name="a", data=DataSettings(arguments={"x": object()}))
    with pytest.raises(ConfigError, match="cannot be written as TOML"):
        dump_toml(config)

    config = StudyConfig(name="a", model=ModelSettings(arguments={"x": [1, None]}))
    with pytest.raises(ConfigError, match="cannot be written as TOML"):
        dump_toml(config)


def test_none_in_place_of_a_default_is_refused() -> None:
    config = StudyConfig(name="a", data=DataSettings(root=None))  # type: ignore[arg-type]

    with pytest.raises(ConfigError, match=r"does not survive TOML: data\.root"):
        dump_toml(config)
