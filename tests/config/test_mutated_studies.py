"""Two thousand mutated study files: each is refused in one line, or within all its bounds."""

from __future__ import annotations

import dataclasses
import math
import os
import random
import re
import socket
import subprocess
from collections import Counter
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from config.bounds import BOUNDS
from config.bounds import LENGTHS

from dpod_search import imports
from dpod_search.config import StudyConfig
from dpod_search.config import dump_toml
from dpod_search.config import list_studies
from dpod_search.config import load_study
from dpod_search.config import template
from dpod_search.config.parse import list_keys
from dpod_search.errors import DpodSearchError


SEED = 20_261_129
N_TEXTS = 1_000  # files whose text is mutated
N_VALUES = 1_000  # files, and changes of --set, with one hostile value
LONGEST = 600  # characters of a message

NUMBERS = (
    *("0", "1", "-1", "2", "0.5", "1e-400", "-0.0", "1e400", "inf", "-inf", "nan", "+1", "01"),
    *("9223372036854775807", "9223372036854775808", "-9223372036854775808", "1e18", "100000"),
    *("10" * 200, "9" * 5_000, "0x" + "f" * 5_000, "0b1", "1_000_000", "1e5", "0.1"),
)
TEXTS = (
    *('""', '"a"', '"../.."', '"a:b"', '"no.such.module:name"', '"é\\u0000"', '"\\u202e😀"'),
    *('"nan"', '"1"', '"all"', '"cuda:-1"', '"meta"', '"macs<=1e400"', '"macs<=_"', '"<="'),
    *(f'"{"a" * 5_000}"', f'"{"a " * 2_000}"', f"'{'<' * 999}'", '"""\n\nx\n"""', "'\t'"),
)
OTHERS = (
    *("true", "false", "2026-01-02", "10:11:12", "2026-01-02T03:04:05Z", "", "x", "(not set)"),
    *("[]", "{}", "[[]]", "[1, 1]", "[0.5, 0.5]", '["a", "a"]', "[1, 'a']", "[nan]", "{a = 1}"),
    *('{a = "<= 5M"}', "{a = {b = {c = []}}}", '{"" = 1}', "[true]", "[2026-01-02]", "{1 = inf}"),
    *("[" * 3_000, "[" * 30 + "]" * 30, "{a = " * 400, "{a = " * 20 + "1" + "}" * 20),
    *(f"[{'1,' * 20_000}]", f'["{"a" * 9_999}"]', f"{{{'k' * 300} = 1}}"),
)
HOSTILE = (*NUMBERS, *TEXTS, *OTHERS)

Mutate = Callable[[random.Random, bytes, bytes], bytes]


def flip_bytes(rng: random.Random, text: bytes, _: bytes) -> bytes:
    data = bytearray(text)
    for _ in range(rng.choice((1, 1, 2, 8))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def delete(rng: random.Random, text: bytes, _: bytes) -> bytes:
    start = rng.randrange(len(text))
    return text[:start] + text[start + rng.choice((1, 3, 30, len(text))) :]


def insert(rng: random.Random, text: bytes, _: bytes) -> bytes:
    place = rng.randrange(len(text))
    odd = ("=", "[", "]", "{", '"', "'''", "\0", "\n", ".", "#", ",", "\ufeff", "é", "\r", "\\")
    new = rng.choice((*odd, rng.choice(HOSTILE))).encode() + rng.choice((b"", b"\xff"))
    return text[:place] + new + text[place:]


def move_lines(rng: random.Random, text: bytes, _: bytes) -> bytes:
    lines = text.splitlines(keepends=True)
    start = rng.randrange(len(lines))
    part = lines[start : start + rng.choice((1, 1, 5))]
    if rng.random() < 0.5:  # else they stand there twice
        del lines[start : start + len(part)]
    place = rng.randrange(len(lines) + 1)
    return b"".join([*lines[:place], *part, *lines[place:]])


def splice(rng: random.Random, text: bytes, other: bytes) -> bytes:
    return text[: rng.randrange(len(text))] + other[rng.randrange(len(other)) :]


def replace_value(rng: random.Random, text: bytes, _: bytes) -> bytes:
    found = list(re.finditer(rb"(?<= = ).*", text))
    value = rng.choice(found) if found else None
    new = rng.choice(HOSTILE).encode()
    return text if value is None else text[: value.start()] + new + text[value.end() :]


def encode_otherwise(rng: random.Random, text: bytes, _: bytes) -> bytes:
    return text.decode(errors="replace").encode(rng.choice(("utf-16", "utf-8-sig", "utf-32")))


MUTATIONS: tuple[Mutate, ...] = (
    *(flip_bytes, flip_bytes, delete, insert, move_lines, splice, replace_value, replace_value),
    encode_otherwise,
)


def make_bases() -> list[bytes]:
    """Return the studies that ship, the one of ``init``, and it with every default uncommented."""
    blank = template(name="mine")
    whole = re.sub(r"^#(\w+ = )(?!\(not set\))", r"\1", blank, flags=re.MULTILINE)
    bare = "\n".join(line for line in whole.splitlines() if line[:1] != "#")
    shipped = [path.read_bytes() for _, _, path in list_studies()]
    return [*shipped, blank.encode(), whole.encode(), bare.encode(), bare.encode()]


def mutate_texts() -> Iterator[tuple[bytes, tuple[str, ...]]]:
    rng = random.Random(SEED)
    bases = make_bases()
    for _ in range(N_TEXTS):
        text = rng.choice(bases)
        for _ in range(rng.choice((1, 1, 1, 3))):
            text = rng.choice(MUTATIONS)(rng, text, rng.choice(bases)) or b"#"
        yield text, ()


def choose_value(rng: random.Random, key: str) -> str:
    """Choose what no setting takes, or what lies at or near a bound of this one."""
    if key not in BOUNDS or rng.random() < 0.5:
        return rng.choice(HOSTILE)
    low, high = BOUNDS[key]
    between = round(rng.uniform(low, high))
    value = rng.choice(
        (low, high, between, between, high + 1, low - 1, 2 * high, rng.uniform(0, 1))
    )
    return f"[{value}]" if key in LENGTHS else f"{value}"


def mutate_values() -> Iterator[tuple[bytes, tuple[str, ...]]]:
    rng = random.Random(SEED + 1)
    keys = list_keys(StudyConfig)
    policies = ("dpod", "progressive", "independent", "sandwich", "delayed", "dense", "m:Own")
    options = ("n_profiles", "warmup_share", "n_subnets", "n_random", "epsilon", "n_phases", "x")
    for number in range(N_VALUES):
        # Each setting at least ten times, alone or with one that may have to agree with it.
        chosen = (
            {keys[number % len(keys)], rng.choice(keys)}
            if number % 2
            else {keys[number % len(keys)]}
        )
        values = {key: choose_value(rng, key) for key in sorted(chosen)}
        if "training.policy_options" in values:
            values["training.policy"] = rng.choice(policies)
            values[f"training.policy_options.{options[number % 7]}"] = rng.choice(HOSTILE)
        changes = tuple(f"{key}={value}" for key, value in values.items())
        # In a file `a.b = 1` stands for the `b` of a table `[a]`, too.
        yield ("\n".join(changes).encode(), ()) if rng.random() < 0.5 else (b"", changes)


def walk(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Give every value of a study that is no table, with its key."""
    if dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from walk(getattr(value, field.name), f"{key}.{field.name}".lstrip("."))
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from walk(inner, f"{key}.{name}")
    else:
        yield key, value
        if isinstance(value, list | tuple):
            for inner in value:
                yield from walk(inner, key)


def check_bounds(config: StudyConfig) -> None:
    """Assert that everything in a study is what its docstrings say."""
    for key, value in walk(config):
        if isinstance(value, bool | None):
            continue
        if isinstance(value, int | float):
            low, high = BOUNDS.get(key, (-(2**63), 2**63 - 1))  # else of a table of arguments
            assert math.isfinite(value), key
            assert low <= value <= high, key
        elif isinstance(value, list | tuple):
            fewest, most = LENGTHS.get(key, (0, 10_000))
            assert fewest <= len(value) <= most, key
        else:
            assert isinstance(value, str), key
            assert len(value) <= 4096, key


def check_message(error: DpodSearchError) -> None:
    """Assert that what is said is one short line that every terminal can show."""
    text = str(error)
    assert len(text.splitlines()) == 1, text[:999]
    assert len(text) <= LONGEST, text[:999]
    assert text.isprintable(), ascii(text)


def forbid(*_: object, **__: object) -> None:
    """Stand in for what reading a study must not do."""
    raise AssertionError("reading a study imported, started or opened something")


def test_two_thousand_mutated_studies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mine.toml"
    fates: Counter[str] = Counter()
    load_study("digits")  # what is imported late is imported now
    for module, name in (
        (imports, "_import_module"),  # of the user's modules
        (subprocess, "Popen"),
        (os, "fork"),
        (socket, "socket"),
    ):
        monkeypatch.setattr(module, name, forbid)
    for text, overrides in (*mutate_texts(), *mutate_values()):
        path.write_bytes(text)
        try:
            config = load_study(path, overrides)
        except DpodSearchError as error:
            check_message(error)
            fates["refused"] += 1
            continue
        check_bounds(config)
        path.write_text(dump_toml(config), encoding="utf-8")
        assert load_study(path) == config
        fates["accepted"] += 1

    assert fates.total() == 2_000
    assert min(fates["refused"], fates["accepted"]) > 300, fates  # both are looked at
