"""Figures as small JSON: hover boxes say the same words thousands of times, the page once.

``words`` holds each piece of text once, ``texts`` each hover box as numbers of words, and a
trace's ``hovertext`` becomes numbers of texts. ``page.js`` puts them together again.
"""

from __future__ import annotations

import json
import re
from typing import Any

import plotly.graph_objects as go


# A word with what follows it up to the next: "stage1.out ", "12, ", "<br>".
_PIECES = re.compile(r"<br>|[^\s<]+\s*|\s+|<")


class _Numbers:
    """Numbers of things, in the order of their first coming."""

    def __init__(self) -> None:
        self._numbers: dict[Any, int] = {}

    def find(self, thing: Any) -> int:
        return self._numbers.setdefault(thing, len(self._numbers))

    def list_all(self) -> list[Any]:
        return list(self._numbers)


def pack_figure(figure: go.Figure) -> dict[str, Any]:
    """Return a figure as a JSON object with its long hover texts packed.

    Args:
        figure: The figure; it is left as it is.

    Returns:
        An object with ``data``, ``layout``, ``words`` and ``texts``.
    """
    document: dict[str, Any] = json.loads(figure.to_json())
    words, texts = _Numbers(), _Numbers()
    for trace in document["data"]:
        hovertext = trace.get("hovertext")
        if isinstance(hovertext, list) and all(isinstance(text, str) for text in hovertext):
            trace["hovertext"] = [
                texts.find(tuple(words.find(piece) for piece in _PIECES.findall(text)))
                for text in hovertext
            ]
    return document | {"words": words.list_all(), "texts": texts.list_all()}
