"""Small pieces of HTML. Everything that comes from a run is escaped here."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence

from dpod_search.escaping import escape_html


def paragraph(text: str, *, kind: str = "") -> str:
    """Return a paragraph of plain text.

    Args:
        text: Plain text.
        kind: A class of the style sheet, or nothing.
    """
    opening = f'<p class="{kind}">' if kind else "<p>"
    return f"{opening}{escape_html(text)}</p>"


def section(name: str, title: str, body: str) -> str:
    """Return a section with its heading.

    Args:
        name: Its anchor: letters and dashes.
        title: Its heading, in plain text.
        body: HTML.
    """
    heading = f'<h2 id="{name}-title">{escape_html(title)}</h2>'
    return f'<section id="{name}" aria-labelledby="{name}-title">\n{heading}\n{body}\n</section>'


def table(
    caption: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, texts: int = 0
) -> str:
    """Return a table that scrolls sideways where the page is narrow.

    Args:
        caption: What it shows, in plain text.
        columns: Their headings. The first cell of each row is the row's own heading.
        rows: Cells in plain text.
        texts: How many columns, counted from the last, hold text and not numbers.
    """
    n_numbers = len(columns) - 1 - texts
    kinds = ["text", *["number"] * n_numbers, *["text"] * texts]
    head = "".join(
        f'<th scope="col" class="{kind}">{escape_html(column)}</th>'
        for column, kind in zip(columns, kinds, strict=True)
    )
    body = "\n".join(_row(row, kinds) for row in rows)
    return (
        f'<div class="wide"><table><caption><span>{escape_html(caption)}</span></caption>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
    )


def _row(cells: Sequence[str], kinds: Sequence[str]) -> str:
    heading = f'<th scope="row" class="{kinds[0]}">{escape_html(cells[0])}</th>'
    rest = zip(cells[1:], kinds[1:], strict=True)
    return (
        "<tr>"
        + heading
        + "".join(f'<td class="{kind}">{escape_html(cell)}</td>' for cell, kind in rest)
        + "</tr>"
    )


def code_block(text: str) -> str:
    """Return a block of plain text in which spaces and lines are kept."""
    return f"<pre><code>{escape_html(text)}</code></pre>"


def embed_json(json_text: str) -> str:
    """Make JSON safe inside a script element: no ``<`` is left to end it early."""
    escapes = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}
    for character, escape in escapes.items():
        json_text = json_text.replace(character, escape)
    return json_text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
