"""What any value of a study may be, whatever setting it is of.

Settings check their own ranges. Here is refused what no setting takes, and what would break those
who compare, write or hand on values before a setting has looked at them: tables of arguments go to
the user's functions as they are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from collections.abc import Sized
from typing import Any

from dpod_search.errors import ConfigError
from dpod_search.errors import shorten
from dpod_search.errors import show


MAX_DEPTH = 16  # of tables and lists in each other
MAX_ENTRIES = 10_000  # of a table or a list
MAX_TEXT = 4096  # characters, those of Linux's longest path
MAX_KEY = 200  # characters
MAX_WHOLE = 2**63 - 1  # the numbers of TOML


def check_values(document: Mapping[str, Any], source: str) -> None:
    """Raise unless every value of a document is one that a study may hold.

    Args:
        document: A study, or a part of one, as read from TOML.
        source: Where it came from, for the message.

    Raises:
        ConfigError: If a number is not finite or has more than 64 bits, a text or key is too long
            or holds what no file name does, a value is a date, or tables lie too deep.
    """
    _check_table(document, f"{source}: ", "", 0)


def _check_table(table: Mapping[str, Any], source: str, prefix: str, depth: int) -> None:
    _check_size(table, source, prefix.removesuffix(".") or "the study", depth)
    for key, value in table.items():
        if fault := _find_fault_of_text(key, MAX_KEY):
            raise ConfigError(f"{source}the key {show(key)} {fault}")
        _check(value, source, prefix + key, depth + 1)


def _check(value: Any, source: str, key: str, depth: int) -> None:
    if isinstance(value, Mapping):
        _check_table(value, source, f"{key}.", depth)
    elif isinstance(value, list | tuple):
        _check_size(value, source, key, depth)
        for entry in value:
            _check(entry, source, key, depth + 1)
    elif fault := _find_fault(value):
        raise ConfigError(f"{source}{shorten(key)} {fault}, got {show(value)}")


def _check_size(value: Sized, source: str, key: str, depth: int) -> None:
    where = f"{source}{shorten(key)}"
    if depth > MAX_DEPTH:
        raise ConfigError(f"{where} must not lie deeper than {MAX_DEPTH} tables or lists")
    if len(value) > MAX_ENTRIES:
        raise ConfigError(f"{where} must have at most {MAX_ENTRIES:,} entries, got {len(value):,}")


def _find_fault(value: object) -> str:
    """Return what is wrong with a value that is no table and no list, or nothing."""
    if isinstance(value, str):
        return _find_fault_of_text(value, MAX_TEXT)
    if isinstance(value, float):
        return "" if math.isfinite(value) else "must be a finite number"
    if isinstance(value, int):
        is_small = -MAX_WHOLE - 1 <= value <= MAX_WHOLE
        return "" if is_small else "must be a number of at most 64 bits"
    if value is None:
        return ""
    return "must be text (in quotes), a number, true or false, a list or a table"


def _find_fault_of_text(text: str, longest: int) -> str:
    if len(text) > longest:
        return f"must have at most {longest:,} characters, not {len(text):,}"
    if "\0" in text:
        return "must not hold the character of number 0"
    try:
        text.encode()
    except UnicodeEncodeError:  # bytes of a command line, or of a file name
        return "must be text in UTF-8"
    return ""
