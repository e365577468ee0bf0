"""What a figure is: the picture, the numbers behind it, and how to read it."""

from __future__ import annotations

import csv
import functools
import io
from collections.abc import Callable
from collections.abc import Iterable
from dataclasses import dataclass

import plotly.graph_objects as go

from dpod_search.records.run import Run


Cell = str | int | float | bool | None


@dataclass(frozen=True)
class Table:
    """The numbers behind a figure.

    Args:
        columns: Their names.
        rows: One cell per column in each; None where there is no value.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    @classmethod
    def from_rows(cls, columns: Iterable[str], rows: Iterable[Iterable[Cell]]) -> Table:
        """Build a table from any iterables."""
        return cls(tuple(columns), tuple(tuple(row) for row in rows))

    def column(self, name: str) -> tuple[Cell, ...]:
        """Return the cells of one column."""
        place = self.columns.index(name)
        return tuple(row[place] for row in self.rows)

    def to_csv(self) -> str:
        """Write the table as CSV; no value is an empty cell."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(self.rows)
        return text.getvalue()


@dataclass(frozen=True)
class Drawing:
    """A figure that was drawn.

    Args:
        figure: The picture, on a transparent ground, readable on light and dark.
        table: The numbers behind it.
        caption: How to read it, in plain text.
    """

    figure: go.Figure
    table: Table
    caption: str


@dataclass(frozen=True)
class Absent:
    """A figure that could not be drawn.

    Args:
        reason: Why, in plain text.
        is_left_out: Whether the page says nothing of it, because nobody would look for it.
    """

    reason: str
    is_left_out: bool = False


@dataclass(frozen=True)
class FigureKind:
    """One entry of the list of figures.

    Args:
        name: Its name in files and in the page's anchors: letters and underscores.
        title: Its heading.
        draw: Draws it from a run.
    """

    name: str
    title: str
    draw: Callable[[Run], Drawing | Absent]


def of_search(draw: Callable[[Run], Drawing | Absent]) -> Callable[[Run], Drawing | Absent]:
    """Leave a figure out where widths were chosen without a search, as it tells of a search."""

    @functools.wraps(draw)
    def draw_if_searched(run: Run) -> Drawing | Absent:
        if run.oneshot is not None:
            return Absent("Nothing was searched.", is_left_out=True)
        return draw(run)

    return draw_if_searched
