"""Reading one JSON object field by field, with a one-line error that names the field."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from typing import NoReturn

from dpod_search.files import read_json
from dpod_search.records.record import fail


@dataclass(frozen=True)
class Fields:
    """One JSON object of a file.

    Args:
        path: The file, for messages.
        where: Where the object stands in the file, ending in a dot; empty at the top.
        values: The object.
    """

    path: Path
    where: str
    values: Mapping[str, Any]

    @classmethod
    def from_file(cls, path: Path) -> Fields:
        """Read a file that holds one JSON object.

        Raises:
            CheckpointError: If the file is missing, is not JSON, or holds something else.
        """
        value = read_json(path)
        if not isinstance(value, dict):
            fail(path, "the file", "a JSON object", value)
        return cls(path, "", value)

    def get(self, key: str) -> Any:
        """Return a field as it stands, or None if there is none."""
        return self.values.get(key)

    def text(self, key: str) -> str:
        """Return a field that must be text."""
        value = self.get(key)
        return value if isinstance(value, str) else self.refuse(key, "text")

    def flag(self, key: str) -> bool:
        """Return a field that must be true or false."""
        value = self.get(key)
        return value if isinstance(value, bool) else self.refuse(key, "true or false")

    def number(self, key: str) -> float:
        """Return a field that must be a finite number."""
        value = self.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.refuse(key, "a number")
        return float(value) if math.isfinite(value) else self.refuse(key, "a finite number")

    def optional_number(self, key: str) -> float | None:
        """Return a field that may be missing or null, and is a finite number otherwise."""
        return None if self.get(key) is None else self.number(key)

    def integer(self, key: str, *, low: int = 0) -> int:
        """Return a field that must be a whole number >= ``low``."""
        value = self.get(key)
        # A footprint may come as 1000.0: objectives are floats wherever they are kept.
        whole = int(value) if isinstance(value, float) and value.is_integer() else value
        if isinstance(whole, bool) or not isinstance(whole, int) or whole < low:
            self.refuse(key, f"a whole number >= {low}")
        return whole

    def optional_integer(self, key: str) -> int | None:
        """Return a field that may be missing or null, and is a whole number >= 0 otherwise."""
        return None if self.get(key) is None else self.integer(key)

    def choice(self, key: str, choices: tuple[str, ...]) -> str:
        """Return a field that must be one of some words."""
        value = self.get(key)
        if not isinstance(value, str) or value not in choices:
            self.refuse(key, f"one of {', '.join(choices)}")
        return value

    def inner(self, key: str) -> Fields:
        """Return a field that must be an object."""
        value = self.get(key)
        if not isinstance(value, dict):
            self.refuse(key, "an object")
        return Fields(self.path, f"{self.where}{key}.", value)

    def sequence(self, key: str) -> list[Any]:
        """Return a field that must be a list."""
        value = self.get(key)
        return value if isinstance(value, list) else self.refuse(key, "a list")

    def inners(self, key: str) -> list[Fields]:
        """Return a field that must be a list of objects."""
        values = self.sequence(key)
        if not all(isinstance(value, dict) for value in values):
            self.refuse(key, "a list of objects")
        return [
            Fields(self.path, f"{self.where}{key}[{i}].", value) for i, value in enumerate(values)
        ]

    def integers(self, key: str) -> tuple[int, ...]:
        """Return a field that must be a list of whole numbers."""
        values = self.sequence(key)
        if not all(isinstance(value, int) and not isinstance(value, bool) for value in values):
            self.refuse(key, "a list of whole numbers")
        return tuple(values)

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a field that must be a list of texts."""
        values = self.sequence(key)
        if not all(isinstance(value, str) for value in values):
            self.refuse(key, "a list of texts")
        return tuple(values)

    def refuse(self, key: str, wanted: str) -> NoReturn:
        """Raise the error that says what a field must be.

        Raises:
            CheckpointError: Always.
        """
        got = self.get(key) if key in self.values else "nothing"
        fail(self.path, f"{self.where}{key}", wanted, got)
