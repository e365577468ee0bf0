"""One setting of a drafted study, with why it is so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dpod_search.config.write import format_value


@dataclass(frozen=True)
class DraftedSetting:
    """A setting, and why.

    Args:
        key: As ``data.image_size``; of what stands in no section as ``threads``.
        value: A text, number, truth value, list, or table of such.
        reason: One short sentence, for a person.
    """

    key: str
    value: Any
    reason: str

    @property
    def override(self) -> str:
        """The setting as ``--set`` takes it."""
        return f"{self.key}={format_value(self.value)}"
