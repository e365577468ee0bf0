"""The studies that come with the package load, and are found by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from dpod_search.config import list_studies
from dpod_search.config import load_study
from dpod_search.errors import ConfigError
from dpod_search.shipped import find_study


NAMES = [name for name, _, _ in list_studies()]


def test_the_promised_studies_are_there() -> None:
    pictures = {"digits", "digits_gru", "fashion_mnist", "cifar10_resnet20"}
    assert pictures | {"diabetes_mlp", "camvid_unet", "shakespeare_gpt"} <= set(NAMES)


@pytest.mark.parametrize(("name", "comment", "path"), list_studies())
def test_each_loads_and_says_what_it_is(name: str, comment: str, path: Path) -> None:
    assert load_study(name).name == name
    assert load_study(path) == load_study(name)
    assert len(comment) > 20


@pytest.mark.parametrize("wrong", ["digit", "no/such.toml", "none.toml", "something"])
def test_a_missing_study_names_those_that_exist(wrong: str) -> None:
    with pytest.raises(
        ConfigError, match="cifar10_resnet20, diabetes_mlp, digits, digits_gru, fashion_mnist"
    ):
        find_study(wrong)


def test_a_name_near_another_suggests_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="did you mean 'digits'"):
        find_study("digit")

    (tmp_path / "digit.toml").touch()
    with pytest.raises(ConfigError, match=r"did you mean 'digit\.toml'"):
        find_study("digit")
