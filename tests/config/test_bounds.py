"""Every number of a study has an upper bound, which its docstring states; lists have lengths."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any
from typing import get_args
from typing import get_type_hints

import pytest
from config.bounds import BOUNDS
from config.bounds import LENGTHS

from dpod_search.config import StudyConfig
from dpod_search.config import make_study
from dpod_search.config.study import find_sections
from dpod_search.config.template import describe_fields
from dpod_search.config.write import format_value
from dpod_search.errors import ConfigError


# What of a study is so many pictures at once.
SMALL = {
    "training.batch_size": 2,
    "evaluation.n_calibration": 2,
    "evaluation.batch_size": 2,
    "latency.batch_size": 1,
    "finetune.batch_size": 2,
}


def list_fields(settings: type[Any], prefix: str = "") -> Iterator[tuple[str, Any, str]]:
    """Give key, type and meaning of every setting."""
    meanings = describe_fields(settings)
    sections = find_sections(settings)
    for name, kind in get_type_hints(settings).items():
        if name in sections:
            yield from list_fields(sections[name], f"{prefix}{name}.")
        else:
            yield prefix + name, kind, meanings[name]


FIELDS = {key: (kind, meaning) for key, kind, meaning in list_fields(StudyConfig)}


def find_kinds(kind: Any) -> set[Any]:
    """Return the types that a value, or an entry of it, may have."""
    return {kind}.union(*map(find_kinds, get_args(kind))) if get_args(kind) else {kind}


def set_to(key: str, value: object) -> str:
    """Spell a change; a number in place of a list is a list of it."""
    return f"{key}={format_value([value] if key in LENGTHS else value)}"


def test_every_number_and_every_list_is_in_the_tables() -> None:
    numbers = {key for key, (kind, _) in FIELDS.items() if find_kinds(kind) & {int, float}}
    lists = {key for key, (kind, _) in FIELDS.items() if tuple in map(get_origin_or, [kind])}

    assert numbers == set(BOUNDS)
    assert lists == set(LENGTHS)


def get_origin_or(kind: Any) -> Any:
    """Return ``tuple`` for ``tuple[...]``, and so on."""
    return getattr(kind, "__origin__", kind)


@pytest.mark.parametrize("key", BOUNDS)
def test_a_number_is_refused_just_beyond_its_bounds_and_at_infinity(key: str) -> None:
    low, high = BOUNDS[key]
    is_whole = int in find_kinds(FIELDS[key][0])
    beyond: list[float] = [low - 1, high + 1] if is_whole else [low - 1e-9, high + 1e-6]
    for value in (*beyond, 2**63, 10**400, math.inf, -math.inf, math.nan):
        with pytest.raises(ConfigError, match=f"{key}|data.validation_share, cal") as caught:
            make_study("mine", [set_to(key, value)])
        assert len(str(caught.value)) < 300


@pytest.mark.parametrize("key", BOUNDS)
def test_the_bounds_themselves_are_allowed_and_stated(key: str) -> None:
    low, high = BOUNDS[key]
    others = {"finetune.epochs": ["finetune.max_epochs=1000000"]}.get(key, [])
    others += ["finetune.epochs=1"] if key == "finetune.max_epochs" else []
    others += ['model.weights="net.pth"'] if key == "training.epochs" else []
    if key == "data.image_size":
        others += [f"{name}={n}" for name, n in SMALL.items()]
    if not key.endswith("_share") or not key.startswith("data."):  # their sum is bounded too
        make_study("mine", [*others, set_to(key, low)])
        make_study("mine", [*others, set_to(key, high)])

    stated = FIELDS[key][1].replace("**", "^")
    spelled = "2^63 - 1" if high == 2**63 - 1 else f"{high:,}"
    assert spelled in stated, f"{key} does not state its upper bound {spelled}: {stated}"


@pytest.mark.parametrize("key", LENGTHS)
def test_a_list_is_refused_where_it_is_too_short_or_too_long_or_says_a_thing_twice(
    key: str,
) -> None:
    fewest, most = LENGTHS[key]
    entries: list[object] = list(range(1, most + 2))
    if key == "supernet.ratios":
        entries = [n / (most + 2) for n in range(1, most + 2)]
    elif key.endswith("budgets"):
        entries = [f"macs<={n}" for n in entries]
    else:
        entries = [f"m:o{n}" for n in entries]

    with pytest.raises(ConfigError, match=rf"{key} must have {fewest:,} to {most:,} entries"):
        make_study("mine", [f"{key}={format_value(entries)}"])
    if fewest:
        with pytest.raises(ConfigError, match=rf"{key} must have {fewest:,} to {most:,} entries"):
            make_study("mine", [f"{key}=[]"])
    first = {"export.formats": "onnx"}.get(key, entries[0])
    with pytest.raises(ConfigError, match=rf"{key} has .* twice"):
        make_study("mine", [f"{key}={format_value([first, first])}"])


@pytest.mark.parametrize(
    ("policy", "option", "high"),
    [
        ("dpod", "n_profiles", 10_000),
        ("progressive", "n_phases", 1_000),
        ("progressive", "n_subnets", 1_000),
        ("independent", "n_subnets", 1_000),
        ("sandwich", "n_random", 1_000),
        ("delayed", "n_random", 1_000),
    ],
)
def test_options_of_policies_have_bounds_too(policy: str, option: str, high: int) -> None:
    chosen = f"training.policy={policy}"
    make_study("mine", [chosen, f"training.policy_options.{option}={high}"])
    with pytest.raises(ConfigError, match=f"{option} must be a whole number >= . and <= {high:,}"):
        make_study("mine", [chosen, f"training.policy_options.{option}={high + 1}"])


@pytest.mark.parametrize("key", [*SMALL])
def test_a_tensor_of_too_many_pixels_is_refused(key: str) -> None:
    few = ["data.image_size=16384", *(f"{key}={n}" for key, n in SMALL.items())]
    make_study("mine", few)
    with pytest.raises(ConfigError, match=f"{key} must be <= 37 with pictures of 16384 x 16384"):
        make_study("mine", [*few, f"{key}=38"])


def test_a_shift_moves_no_picture_out_of_sight() -> None:
    make_study("mine", ["data.image_size=8", "training.crop_padding=7"])
    with pytest.raises(ConfigError, match=r"training.crop_padding must be <= 7 with .* got 8"):
        make_study("mine", ["data.image_size=8", "training.crop_padding=8"])


@pytest.mark.parametrize(
    "name", ["a" * 101, "2026-01-01 ", "1\x00", "..", "a/b", "ü", "-a", "a\n"]
)
def test_a_name_is_short_and_names_a_folder(name: str) -> None:
    with pytest.raises(ConfigError, match="name must be .* got|name holds"):
        StudyConfig(name=name)


@pytest.mark.parametrize(
    "device",
    ["cuda:-1", "cuda:99999999999999999999", "meta", "hpu", "a" * 10_000, "", "cpu:0:0", "\x00"],
)
def test_a_device_is_one_that_a_net_can_run_on(device: str) -> None:
    with pytest.raises(ConfigError, match="device must be cpu, cuda") as caught:
        StudyConfig(name="mine", device=device)
    assert len(str(caught.value)) < 300
