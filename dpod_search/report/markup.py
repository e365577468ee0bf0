"""Pages and their pieces, by templates that escape whatever comes from a run.

A page is one file: its styles and scripts stand in it, and it asks the network for nothing.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import quote

from jinja2 import Environment
from jinja2 import PackageLoader
from jinja2 import StrictUndefined
from markupsafe import Markup

from dpod_search.escaping import escape_html


def paragraph(text: str, *, kind: str = "") -> Markup:
    """Return a paragraph of plain text.

    Args:
        text: Plain text.
        kind: A class of the style sheet, or nothing.
    """
    return _call("paragraph", text, kind)


def table(
    caption: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, texts: int = 0
) -> Markup:
    """Return a table that scrolls sideways where the page is narrow.

    Args:
        caption: What it shows, in plain text.
        columns: Their headings. The first cell of each row is the row's own heading.
        rows: Cells in plain text, or links, one for each column.
        texts: How many columns, counted from the last, hold text and not numbers.
    """
    rows = list(rows)
    assert all(len(row) == len(columns) for row in rows)
    kinds = ["text", *["number"] * (len(columns) - 1 - texts), *["text"] * texts]
    return _call("table", caption, columns, rows, kinds)


def link(path: str, text: str) -> Markup:
    """Return a link to a file or folder that lies beside the page.

    Args:
        path: From the page's folder, with ``/`` between its parts.
        text: What is shown, in plain text.
    """
    return _call("link", quote(path), text)


def code_block(text: str) -> Markup:
    """Return a block of plain text in which spaces and lines are kept."""
    return _call("code_block", text)


def figure(name: str, title: str, caption: str, numbers: str, drawn: object) -> Markup:
    """Return the place of a figure, with what the page's script draws there.

    Args:
        name: Its name: letters and dashes.
        title: What it is called, for who does not see it.
        caption: What it shows, in plain text.
        numbers: The CSV file behind it.
        drawn: The figure, as :func:`~dpod_search.report.packing.pack_figure` packs it.
    """
    return _call("figure", name, title, caption, link(numbers, numbers), drawn)


def join(parts: Iterable[str]) -> Markup:
    """Put markup together, a piece a line; what is empty is left out."""
    return Markup("\n").join(part for part in parts if part)


def render(template: str, **values: object) -> Markup:
    """Fill a template that stands beside the code of the report.

    Args:
        template: Its file in ``templates/``.
        values: What it names. Text is escaped where it is written, unless it is ``Markup``.
    """
    return Markup(_open_templates().get_template(template).render(**values))


def write_document(
    template: str, *, title: str, styles: Sequence[str], scripts: Sequence[str], **values: object
) -> str:
    """Return a whole HTML file in which only these scripts can run.

    Args:
        template: A template that extends ``document.html``.
        title: Title of the window, in plain text.
        styles: CSS, in this order.
        scripts: JavaScript, run in this order at the end of the body.
        values: What else the template names.
    """
    return render(
        template,
        title=title,
        style=Markup("".join(styles)),
        scripts=[Markup(script) for script in scripts],
        policy=Markup(_write_policy(scripts)),
        **values,
    )


def read_asset(name: str) -> str:
    """Return a style sheet or script that stands beside the code of the report.

    Args:
        name: Its path from this folder, such as ``page.css``.
    """
    return files("dpod_search.report").joinpath(name).read_text(encoding="utf-8")


@cache
def _open_templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("dpod_search.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        keep_trailing_newline=True,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "ensure_ascii": False}
    return environment


def _finalize(value: object) -> object:
    # Jinja2's own escaping would leave what is not seen, such as marks that turn writing around.
    return Markup(escape_html(value)) if type(value) is str else value


def _call(macro: str, *values: object) -> Markup:
    module: Any = _open_templates().get_template("pieces.html").module
    return Markup(getattr(module, macro)(*values))


def _write_policy(scripts: Sequence[str]) -> str:
    # Only these very scripts may run, so that even markup that slipped through is inert.
    # Plotly writes style elements and draws heat maps and downloads through data: and blob:.
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()) for script in scripts]
    allowed = " ".join(f"'sha256-{digest.decode()}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
