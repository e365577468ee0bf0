"""How values show themselves at a prompt and in a notebook: a title, facts and a small table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dpod_search.escaping import escape_html
from dpod_search.escaping import make_visible


# One screen, of text and of HTML.
_MAX_COLUMNS = 100
_MAX_ROWS = 16
_MAX_CELL = 40
_MAX_FACTS = 6
# Grounds and inks are the page's own, so that light and dark themes both fit.
_TABLE = "border-collapse:collapse;color:inherit;font-size:90%"
_CELL = "padding:2px 8px;border-bottom:1px solid rgba(128,128,128,.35);text-align:"


@dataclass(frozen=True)
class Sheet:
    """What is told of a value; nothing in it is escaped.

    Args:
        title: What it is.
        facts: Names and values.
        columns: Headings of the table; the first is of text, the others of numbers.
        rows: Its cells.
        is_brief: As text, leave the table out.
        folded: A heading and a long text that HTML shows when it is unfolded.
    """

    title: str
    facts: Sequence[tuple[str, str]] = ()
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    is_brief: bool = False
    folded: tuple[str, str] | None = None

    def to_text(self) -> str:
        """Write it in a line, or in at most 24 lines of at most 100 columns."""
        facts = [f"{_one_line(name)} {_one_line(value)}" for name, value in self._some_facts()]
        title, has_table = _one_line(self.title), bool(self.columns) and not self.is_brief
        line = f"{title}({', '.join(facts)})"
        lines = [line] if len(line) <= _MAX_COLUMNS else [title, *(f"  {fact}" for fact in facts)]
        return "\n".join(map(_cut, lines + (self._align() if has_table else [])))

    def to_html(self) -> str:
        """Write it as one element of HTML that needs no style sheet, script or network."""
        facts = " · ".join(
            f"{_escape(name)} <b>{_escape(value)}</b>" for name, value in self._some_facts()
        )
        parts = [f"<div><strong>{_escape(self.title)}</strong> {facts}</div>"]
        if self.columns:
            head = _write_row("th", self.columns)
            body = "".join(_write_row("td", row) for row in _shorten(self.rows))
            parts.append(
                f'<div style="overflow-x:auto"><table style="{_TABLE}"><thead>{head}</thead>'
                f"<tbody>{body}</tbody></table></div>"
            )
        if self.folded is not None:
            heading, text = self.folded
            parts.append(
                f"<details><summary>{_escape(heading)}</summary>"
                f'<pre style="max-height:24em;overflow:auto;color:inherit;background:none">'
                f"{escape_html(text)}</pre></details>"
            )
        return f"<div>{''.join(parts)}</div>"

    def _some_facts(self) -> Sequence[tuple[str, str]]:
        return self.facts[:_MAX_FACTS]

    def _align(self) -> list[str]:
        rows = [[_one_line(cell) for cell in row] for row in (self.columns, *_shorten(self.rows))]
        wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return [
            "  ".join(
                cell.rjust(width) if place else cell.ljust(width)
                for place, (cell, width) in enumerate(zip(row, wide, strict=True))
            ).rstrip()
            for row in rows
        ]


class Shown:
    """A value that is shown by its sheet; nothing is computed before somebody looks."""

    def _describe(self) -> Sheet:
        """Return what is told of it."""
        raise NotImplementedError

    def __repr__(self) -> str:
        """Tell it in a few lines."""
        return self._describe().to_text()

    def _repr_html_(self) -> str:
        """Tell it to a notebook."""
        return self._describe().to_html()


def _shorten(rows: Sequence[Sequence[str]]) -> list[Sequence[str]]:
    """Return the first and the last rows, and between them how many are left out."""
    if len(rows) <= _MAX_ROWS:
        return list(rows)
    n_first = _MAX_ROWS - 4
    gap = [f"… {len(rows) - _MAX_ROWS + 1} more", *[""] * (len(rows[0]) - 1)]
    return [*rows[:n_first], gap, *rows[n_first + 1 - _MAX_ROWS :]]


def _one_line(text: str) -> str:
    shown = make_visible(text).replace("\n", "\\n").replace("\t", "\\t")
    return shown if len(shown) <= _MAX_CELL else f"{shown[: _MAX_CELL - 1]}…"


def _cut(line: str) -> str:
    return line if len(line) <= _MAX_COLUMNS else f"{line[: _MAX_COLUMNS - 1]}…"


def _escape(text: str) -> str:
    return escape_html(_one_line(text))


def _write_row(tag: str, cells: Sequence[str]) -> str:
    told = (
        f'<{tag} style="{_CELL}{"right" if place else "left"}">{_escape(cell)}</{tag}>'
        for place, cell in enumerate(cells)
    )
    return f"<tr>{''.join(told)}</tr>"
