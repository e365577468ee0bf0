"""A page of one file: its styles and scripts stand in it, and it asks the network for nothing."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files

from dpod_search.escaping import escape_html


def write_document(*, title: str, style: str, body: str, scripts: Sequence[str]) -> str:
    """Return a whole HTML file in which only these scripts can run.

    Args:
        title: Title of the window, in plain text.
        style: CSS.
        body: HTML, already escaped.
        scripts: JavaScript, run in this order at the end of the body.
    """
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_write_policy(scripts)}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{escape_html(title)}</title>",
            f"<style>\n{style}</style>\n</head>\n<body>",
            body,
            *(f"<script>{script}</script>" for script in scripts),
            "</body>\n</html>\n",
        ]
    )


def read_asset(name: str) -> str:
    """Return a style sheet or script that stands beside the code of the report.

    Args:
        name: Its path from this folder, such as ``page.css``.
    """
    return files("dpod_search.report").joinpath(name).read_text(encoding="utf-8")


def _write_policy(scripts: Sequence[str]) -> str:
    # Only these very scripts may run, so that even markup that slipped through is inert.
    # Plotly writes style elements and draws heat maps and downloads through data: and blob:.
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()) for script in scripts]
    allowed = " ".join(f"'sha256-{digest.decode()}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
