"""Small pieces of Markdown, as the dashboard shows it. What comes from a run is escaped here."""

from __future__ import annotations

import re
from collections.abc import Iterable
from collections.abc import Sequence


_GAP = "\u00a0" * 3  # the dashboard's style leaves no room between columns
# Dollars stand around formulas, ampersands before names of characters.
_SPECIAL = str.maketrans({character: f"\\{character}" for character in r"\`*_[]<>|#~$&"})


class _Markdown(str):
    """Text in which nothing is left to be escaped."""

    __slots__ = ()


def escape(text: str) -> str:
    """Write text so that Markdown shows it as it is."""
    return text.translate(_SPECIAL)


def code(text: str) -> str:
    """Write text as code, which shows it as it is."""
    fence = "`" * (max(map(len, re.findall("`+", text)), default=0) + 1)
    pad = " " if "`" in text else ""
    return _Markdown(f"{fence}{pad}{text}{pad}{fence}".replace("\n", " "))


def table(
    heads: Sequence[str], rows: Iterable[Sequence[str]], *, is_escaped: bool = False
) -> list[str]:
    """Return the lines of a table; rows of two cells with an empty one are left out.

    Args:
        heads: Its headings, in plain text.
        rows: Its cells, in plain text or from :func:`code`.
        is_escaped: Whether the cells are Markdown already.
    """
    shown = [escape(head) + _GAP for head in heads]
    lines = ["| " + " | ".join(shown) + " |", "|" + "---|" * len(heads)]
    for row in rows:
        if len(row) == 2 and not row[1]:
            continue
        cells = [c if is_escaped else _escape_cell(c) for c in row]
        lines.append("| " + " | ".join(cell.replace("\n", " ") + _GAP for cell in cells) + " |")
    return lines


def _escape_cell(text: str) -> str:
    # In a table a bar ends a cell even inside code, unless it is escaped there.
    return text.replace("|", "\\|") if isinstance(text, _Markdown) else escape(text)
