"""Study files: loaded, overridden, and every mistake in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from dpod_search.config import StudyConfig
from dpod_search.config import load_study
from dpod_search.config import make_study
from dpod_search.errors import ConfigError


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """The place of a study file that is not written yet."""
    return tmp_path / "mine.toml"


def test_what_is_left_out_has_its_default(study: Path) -> None:
    study.write_text("")

    assert load_study(study) == StudyConfig(name="mine")


def test_reads_every_kind_of_value(study: Path) -> None:
    study.write_text(
        'name = "other"\nseed = 3\nthreads = 2\n'
        '[model]\nname = "m:f"\narguments = { width = 8, deep = { a = [1, 2] } }\n'
        "[data]\nvalidation_share = 0.25\n"
        "[supernet]\nratios = [0.5, 1]\n"
        "[training]\nlr = 1\n"
    )
    config = load_study(str(study))

    assert (config.name, config.seed, config.threads) == ("other", 3, 2)
    assert config.model.arguments == {"width": 8, "deep": {"a": [1, 2]}}
    assert config.supernet.ratios == (0.5, 1.0)
    assert isinstance(config.training.lr, float)


def test_overrides_win_and_later_ones_over_earlier(study: Path) -> None:
    study.write_text("seed = 1\n[model]\narguments = { width = 8, other = 1 }\n")
    config = load_study(
        study,
        (
            "seed=2",
            "seed = 5",
            "data.root=/some/folder",
            "data.download=true",
            "model.arguments.width=4",
            "data.image_size=16",
            'model.name="torchvision:resnet18"',
        ),
    )

    assert config.seed == 5
    assert config.data.root == "/some/folder"
    assert config.data.download is True
    assert config.data.image_size == 16
    assert config.model.arguments == {"width": 4, "other": 1}
    assert config.model.name == "torchvision:resnet18"


@pytest.mark.parametrize(
    ("override", "bounds"),
    [
        ("search.constraints={ params = '<= 1k' }", {"params": "<= 1k"}),
        ("search={ constraints = { params = '<= 1k' } }", {"params": "<= 1k"}),
        ("search.constraints={}", {}),
        ("search.constraints.params=<= 1k", {"macs": "<= 40%", "params": "<= 1k"}),
    ],
)
def test_a_table_that_is_named_is_replaced_and_those_above_it_are_kept(
    study: Path, override: str, bounds: dict[str, str]
) -> None:
    study.write_text("[search]\nn_trials = 7\nconstraints = { macs = '<= 40%' }\n")
    config = load_study(study, [override])

    assert config.search.constraints == bounds
    assert config.search.n_trials == 7


def test_a_study_without_a_file() -> None:
    assert make_study("mine") == StudyConfig(name="mine")
    assert make_study("mine", ["seed=3"]).seed == 3
    with pytest.raises(ConfigError, match="--set: seed must be a whole number >= 0"):
        make_study("mine", ["seed=-1"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[search.constraints]\nmacs = 3",
            "search.constraints.macs must be a valid string, got 3",
        ),
        ("seed =\n", r"is not valid TOML: .*line 1"),
        ("[serch]\nn_trials = 3", "unknown section 'serch'; did you mean 'search'"),
        ("[data]\nrot = 'x'", "unknown key 'data.rot'; did you mean 'data.root'"),
        (
            "[model]\nimage_size = 3",
            "unknown key 'model.image_size'; did you mean 'data.image_size'",
        ),
        ("[data]\nzzz = 1", "unknown key 'data.zzz'; known here: data.name, data.root"),
        ("[data]\nimage_size = 'abc'", "data.image_size must be a valid integer, got 'abc'"),
        ("[data]\nroot = 3", "data.root must be a valid string, got 3"),
        ("[data]\ndownload = 1", "data.download must be a valid boolean, got 1"),
        ("[supernet]\nratios = 0.5", "supernet.ratios must be a list, got 0.5"),
        ("[supernet]\nratios = ['a']", "supernet.ratios must be a valid number, got 'a'"),
        ("data = 3", "data must be a table, got 3"),
        ("seed = 1.5", "seed must be a valid integer, got 1.5"),
        ("seed = true", "seed must be a valid integer, got True"),
        ("seed = -1", "seed must be a whole number >= 0 and <= 9,223,372,036,854,775,807, got -1"),
        ("threads = 0", "threads must be a whole number >= 1 and <= 1,024, got 0"),
        ("device = 'toaster'", "device must be cpu, cuda.* got 'toaster'"),
        ("name = 'a/b'", "names a folder; got 'a/b'"),
        (
            "[data]\nvalidation_share = 2",
            "data.validation_share must be >= 0.01 and <= 0.9, got 2",
        ),
    ],
)
def test_mistakes_name_file_and_key_in_one_line(study: Path, text: str, message: str) -> None:
    study.write_text(text)

    with pytest.raises(ConfigError, match=message) as caught:
        load_study(study)
    assert "\n" not in str(caught.value)
    assert str(study) in str(caught.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", "--set reads section.key=value, got 'seed'"),
        (".seed=1", "--set reads section.key=value"),
        ("sed=1", "--set sed=1: unknown key 'sed'; did you mean 'seed'"),
        ("nothing.like=1", "unknown section 'nothing'; known here: name"),
        ("seed=abc", "--set: seed must be a valid integer, got 'abc'"),
        (
            "data.image_size=0",
            "--set: data.image_size must be a whole number >= 1 and <= 16,384, got 0",
        ),
        ("data=3", "--set: data must be a table, got 3"),
    ],
)
def test_mistakes_of_an_override_are_told_from_those_of_the_file(
    study: Path, override: str, message: str
) -> None:
    study.write_text("")

    with pytest.raises(ConfigError, match=message) as caught:
        load_study(study, [override])
    assert str(study) not in str(caught.value)


def test_a_file_that_is_not_text(study: Path) -> None:
    study.write_bytes(b"\xff\xfe\x00")

    with pytest.raises(ConfigError, match="is not valid TOML"):
        load_study(study)
