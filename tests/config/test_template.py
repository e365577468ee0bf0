"""The study file to start from loads, and shows every setting with its true default."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from pathlib import Path

import pytest

from dpod_search.config import StudyConfig
from dpod_search.config import load_study
from dpod_search.config import template
from dpod_search.config.parse import list_keys
from dpod_search.config.parse import parse_study
from dpod_search.config.study import find_sections
from dpod_search.config.template import describe_fields
from dpod_search.errors import ConfigError
from dpod_search.escaping import make_visible


def test_loads_with_nothing_changed(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(template())

    assert load_study(path) == StudyConfig(name="mine")


def test_holds_what_is_given(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(template("torchvision:resnet18", 'imagefolder:/my "pictures"', "clothes"))
    config = load_study(path)

    assert config.model.name == "torchvision:resnet18"
    assert config.data.name == 'imagefolder:/my "pictures"'
    assert config.name == "clothes"


@pytest.mark.parametrize("text", ["a\udcff", "a\0", "a" * 5_000])
def test_what_no_study_may_hold_is_not_written(text: str) -> None:
    with pytest.raises(ConfigError, match="a study file: data.name must "):
        template(data=text)


def test_every_default_can_be_uncommented() -> None:
    text = template()
    document = tomllib.loads(re.sub(r"^#(\w+ = )(?!\(not set\))", r"\1", text, flags=re.MULTILINE))

    assert parse_study(document, "test") == StudyConfig(name="my_study")


def test_every_setting_is_shown() -> None:
    shown = re.findall(r"^#?(\w+) = ", template(), flags=re.MULTILINE)

    assert sorted(shown) == sorted(path.split(".")[-1] for path in list_keys(StudyConfig))


@pytest.mark.parametrize("settings", [StudyConfig, *find_sections(StudyConfig).values()])
def test_every_setting_is_explained(settings: type[StudyConfig]) -> None:
    explained = describe_fields(settings)

    assert [field.name for field in dataclasses.fields(settings)] == list(explained)
    assert all(explained.values())


def test_a_class_without_explanations_has_none() -> None:
    assert describe_fields(type("Plain", (), {"__doc__": "Nothing."})) == {}


def test_values_with_codes_for_a_terminal_load_as_they_were() -> None:
    name = "a\x1b[31m\x9b\u202e:b"
    text = template(model=name)
    assert make_visible(text) == text
    assert tomllib.loads(text)["model"]["name"] == name
    with pytest.raises(ConfigError, match="model.name must be text in UTF-8"):
        template(model="caf\udce9")


@pytest.mark.parametrize(
    ("data", "task"),
    [("text:a.txt", "language-model"), ("segmentation:scenes", "segmentation"), ("digits", None)],
)
def test_data_that_have_a_task_of_their_own_name_it(data: str, task: str | None) -> None:
    written = tomllib.loads(template(data=data))
    assert written.get("task", {}).get("name") == task
