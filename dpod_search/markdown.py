"""Small pieces of Markdown: model cards, and notes of the dashboard. Names are escaped here."""

from __future__ import annotations

import re
from collections.abc import Iterable
from collections.abc import Sequence

from dpod_search.escaping import make_visible


# Dollars stand around formulas, ampersands before names of characters.
# An underscore between letters stands for itself.
_SPECIAL = re.compile(r"[\\`*\[\]<>|#~$&]|(?<![^\W_])_|_(?![^\W_])")


class _Code(str):
    """Code in which nothing is left to be escaped, and the plain text that it shows."""

    plain: str


def escape(text: str) -> str:
    """Write text on one line so that Markdown shows it as it is."""
    return _SPECIAL.sub(r"\\\g<0>", _on_one_line(text))


def code(text: str) -> _Code:
    """Write text as code, which shows it as it is."""
    text = _on_one_line(text) or '""'
    fence = "`" * (max(map(len, re.findall("`+", text)), default=0) + 1)
    pad = " " if "`" in text else ""
    found = _Code(f"{fence}{pad}{text}{pad}{fence}")
    found.plain = text
    return found


def table(
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    is_escaped: bool = False,
    gap: str = "",
) -> list[str]:
    """Return the lines of a table; rows of two cells with an empty one are left out.

    Args:
        heads: Its headings, in plain text.
        rows: Its cells, in plain text or from :func:`code`.
        is_escaped: Whether the cells are Markdown already.
        gap: What stands behind each cell, where a style leaves no room between columns.
    """
    shown = [escape(head) + gap for head in heads]
    lines = ["| " + " | ".join(shown) + " |", "|" + "---|" * len(heads)]
    for row in rows:
        if len(row) == 2 and not row[1]:
            continue
        cells = [c if is_escaped else _escape_cell(c) for c in row]
        lines.append("| " + " | ".join(cell.replace("\n", " ") + gap for cell in cells) + " |")
    return lines


def _on_one_line(text: str) -> str:
    return make_visible(text).replace("\n", " ")


def _escape_cell(text: str) -> str:
    if not isinstance(text, _Code):
        return escape(text)
    # In a table a bar ends a cell even inside code, unless it is escaped there; behind a backslash
    # it cannot be.
    return escape(text.plain) if "\\|" in text else text.replace("|", "\\|")
