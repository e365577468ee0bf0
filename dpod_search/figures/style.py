"""One look for all figures: colours that colour-blind readers tell apart, neutral grounds.

References:
    Okabe, Ito: Color universal design, 2008 (the palette).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from dpod_search.escaping import escape_html
from dpod_search.quantities import short


BLUE = "#0072B2"
SKY = "#56B4E9"
GREEN = "#009E73"
ORANGE = "#E69F00"
VERMILION = "#D55E00"
PURPLE = "#CC79A7"
# A middle tone: contrast above 4 on white and on near-black alike.
NEUTRAL = "#7F7F7F"
_GRID = "rgba(127, 127, 127, 0.25)"
_CLEAR = "rgba(0, 0, 0, 0)"


@dataclass(frozen=True)
class FateMark:
    """How the trials of one fate are drawn: the colour and the shape both tell it."""

    color: str
    symbol: str


MARKS: Mapping[str, FateMark] = {
    "evaluated": FateMark(BLUE, "circle"),
    "audited": FateMark(VERMILION, "diamond"),
    "cached": FateMark(SKY, "square"),
    "pruned-surrogate": FateMark(ORANGE, "triangle-down-open"),
    "pruned-constraint": FateMark(NEUTRAL, "x-thin-open"),
    "failed": FateMark(VERMILION, "asterisk-open"),
}


@dataclass(frozen=True)
class Series:
    """How one of several rows of values is drawn: not by its colour alone."""

    color: str
    symbol: str
    dash: str
    pattern: str


SERIES = (
    Series(BLUE, "circle", "solid", ""),
    Series(ORANGE, "diamond", "dash", "/"),
    Series(GREEN, "square", "dot", "x"),
    Series(PURPLE, "triangle-up", "dashdot", "."),
    Series(VERMILION, "cross", "longdash", "-"),
    Series(SKY, "star", "longdashdot", "+"),
)


def plain(text: str) -> str:
    """Escape text for plotly, which reads a few HTML tags in labels and hover boxes."""
    return escape_html(text, quote=False)


def axis(title: str) -> dict[str, Any]:
    """Return an axis with the report's grid and ink, its title in plain text."""
    return {
        "title": {"text": plain(title), "standoff": 10},
        "gridcolor": _GRID,
        "linecolor": _GRID,
        "zeroline": False,
        "automargin": True,
    }


def log_axis(title: str, values: Iterable[float]) -> dict[str, Any]:
    """Return a logarithmic axis with ticks such as 50k, 200k and 1M.

    Args:
        title: Its title, in plain text.
        values: What is drawn along it, > 0.
    """
    # Plotly writes bare digits (2, 5) between powers of ten, which nobody reads at once.
    drawn = [math.log10(value) for value in values if value > 0] or [0.0]
    powers = range(math.floor(min(drawn)), math.ceil(max(drawn)) + 1)
    # More than four decades leave no room for the ticks between the powers of ten.
    digits = (1, 2, 5) if len(powers) <= 5 else (1,)
    ticks = [digit * 10.0**power for power in powers for digit in digits]
    return axis(title) | {"type": "log", "tickvals": ticks, "ticktext": [*map(short, ticks)]}


def value_axis(title: str, *, is_share: bool) -> dict[str, Any]:
    """Return an axis for an objective; accuracies get ticks in percent."""
    return axis(title) | ({"tickformat": "~%"} if is_share else {})


def lay_out(figure: go.Figure, *, height: int = 480) -> go.Figure:
    """Give a figure the report's ground, fonts, margins and legend.

    Args:
        figure: The figure; it is changed.
        height: In pixels; the width follows the page.

    Returns:
        The same figure.
    """
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 64, "r": 44, "t": 24, "b": 56},
        paper_bgcolor=_CLEAR,
        plot_bgcolor=_CLEAR,
        font={"family": "system-ui, sans-serif", "size": 13, "color": NEUTRAL},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        hoverlabel={"align": "left", "bgcolor": "#222222", "font": {"color": "#FFFFFF"}},
        hovermode="closest",
        modebar={"orientation": "v", "bgcolor": _CLEAR, "color": NEUTRAL, "activecolor": BLUE},
    )
    return figure
