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
        ("[data]\nzzz = 1", "unknown key 'data.zzz'; known in \\[data\\]: name, root"),
        ("[data]\nimage_size = 'abc'", "data.image_size must be a whole number, got 'abc'"),
        ("[data]\nroot = 3", "data.root must be a valid string, got 3"),
        ("[data]\ndownload = 1", "data.download must be a valid boolean, got 1"),
        ("[supernet]\nratios = 0.5", "supernet.ratios must be a list, got 0.5"),
        ("[supernet]\nratios = ['a']", "supernet.ratios must be a number, got 'a'"),
        ("data = 3", "data must be a table, got 3"),
        ("seed = 1.5", "seed must be a whole number, got 1.5"),
        ("seed = true", "seed must be a whole number, got True"),
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
        ("seed=abc", "--set: seed must be a whole number, got 'abc'"),
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


def test_a_mark_at_the_beginning_of_the_file_is_no_mistake(study: Path) -> None:
    study.write_bytes(b"\xef\xbb\xbfseed = 3\n")

    assert load_study(study).seed == 3


DEEP = "{a = " * 40 + "1" + "}" * 40
# What a file may hold of which Python, TOML or JSON can make nothing, and what is said of it.
HOSTILE = {
    "lists too deep to parse": (
        "seed = " + "[" * 3_000,
        "not valid TOML: lists or tables lie too",
    ),
    "tables too deep to parse": (
        "[model]\narguments = " + "{a = " * 2_000,
        "not valid TOML: lists",
    ),
    "tables too deep": (f"[model]\narguments = {DEEP}", "must not lie deeper than 16"),
    "a header too deep": (f"[model.arguments{'.a' * 5_000}]", "must not lie deeper than 16"),
    "too many digits": ("seed = " + "9" * 5_000, "is not valid TOML: Exceeds the limit"),
    "many digits": ("seed = " + "9" * 4_000, "seed must be a number of at most 64 bits, got 999"),
    "too many hexadecimal digits": ("seed = 0x" + "f" * 5_000, "seed must be .* got a int too la"),
    "an infinite power": (
        "[training]\nlr = 1e400",
        "training.lr must be a finite number, got inf",
    ),
    "infinity in arguments": (
        "[model]\narguments = { width = [1, inf] }",
        "model.arguments.width must be a finite number, got inf",
    ),
    "NaN": ("[training]\nlr = nan", "training.lr must be a finite number, got nan"),
    "a date": (
        "name = 2026-01-02",
        "name must be text .in quotes.*, got datetime.date.2026, 1, 2",
    ),
    "a time": (
        "[data]\nroot = 10:11:12",
        "data.root must be text .in quotes.*, got datetime.time.10, 11",
    ),
    "a character of number 0": (
        '[data]\nroot = "a\\u0000b"',
        "data.root must not hold the character of number 0",
    ),
    "a long text": (f'[data]\nroot = "{"a" * 4_097}"', "data.root must have at most 4,096 char"),
    "a long key": (f"[model.arguments]\n{'k' * 201} = 1", "must have at most 200 characters, not"),
    "a long unknown key": (f"{'k' * 150} = 1", "unknown key 'kkk"),
    "a long list": (
        f"[model.arguments]\nx = [{'1,' * 10_001}]",
        "model.arguments.x must have at most 10,000 entries, got 10,001",
    ),
    "a long name": (f'name = "{"n" * 101}"', "name must be at most 100 letters"),
    "a large file": ("#" * 1_000_001, "it has 1,000,001 bytes, and at most 1,000,000 are read"),
    "a number 0 in the file": ("seed = 1\0", "is not valid TOML"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_cannot_be_a_study_is_one_short_line(study: Path, name: str) -> None:
    text, message = HOSTILE[name]
    study.write_text(text)

    with pytest.raises(ConfigError, match=message) as caught:
        load_study(study)
    assert "\n" not in str(caught.value)
    assert str(study) in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed=" + "9" * 5_000, "--set seed=999.*: the value cannot be read"),
        ("seed=0x" + "f" * 5_000, "--set: seed must be a number of at most 64 bits"),
        ("seed=" + "[" * 3_000, "--set seed=.*: the value cannot be read .*too deep"),
        (f"model.arguments={DEEP}", "--set: model.arguments.* must not lie deeper"),
        ("training.lr=1e400", "--set: training.lr must be a finite number, got inf"),
        ("a" + ".a" * 5_000 + "=1", "--set: .* must not lie deeper than 16"),
        ("model.arguments" + ".a" * 5_000 + "=1", "--set: .* must not lie deeper than 16"),
        ("data.root=\udcff", "--set: data.root must be text in UTF-8"),
        ("data.root=a\0b", "--set: data.root must not hold"),
        ("data.root=" + "a" * 5_000, "--set: data.root must have at most 4,096 characters"),
        ("name=2026-01-02", "--set: name must be text .in quotes.* got datetime.date"),
        ("x" * 9_999, "--set reads section.key=value, got 'xxx"),
        ("zz\nz=1", r"--set zz\\nz=1: unknown key"),
    ],
    ids=range(13),
)
def test_an_override_that_cannot_be_is_one_short_line(
    study: Path, override: str, message: str
) -> None:
    study.write_text("")

    with pytest.raises(ConfigError, match=message) as caught:
        load_study(study, [override])
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    "name", ["a" * 9_999, "a" * 9_999 + ".toml", "~nobody-of-this-name/x.toml", "a\0.toml", "b\n"]
)
def test_a_study_of_an_impossible_name_is_not_there(name: str) -> None:
    with pytest.raises(ConfigError, match=r"is not a file|there is no study") as caught:
        load_study(name)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 600
