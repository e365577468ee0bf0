"""The page: one HTML file with everything in it, which asks the network for nothing."""

from __future__ import annotations

import html
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass

from plotly.offline import get_plotlyjs

from dpod_search.report import sections
from dpod_search.report.choices import show_picks
from dpod_search.report.document import read_asset
from dpod_search.report.document import write_document
from dpod_search.report.figures import Absent
from dpod_search.report.figures import Drawing
from dpod_search.report.figures import FigureKind
from dpod_search.report.markup import embed_json
from dpod_search.report.markup import paragraph
from dpod_search.report.markup import section
from dpod_search.report.packing import pack_figure
from dpod_search.report.run import Run
from dpod_search.report.summary import summarize


@dataclass(frozen=True)
class SectionKind:
    """One section of tables: its anchor, its heading, and what shows it."""

    name: str
    title: str
    show: Callable[[Run], str]


BEFORE_FIGURES = (SectionKind("picks", "What to pick", show_picks),)
AFTER_FIGURES = (
    SectionKind("finetuned", "The front after finetuning", sections.show_finetuned),
    SectionKind("searched", "The front as searched", sections.show_searched),
    SectionKind("fates", "Trials and audit", sections.show_fates),
    SectionKind("exported", "Exported models", sections.show_exported),
    SectionKind("environment", "Environment", sections.show_environment),
    SectionKind("config", "Study", sections.show_config),
)


def build_page(run: Run, drawn: Sequence[tuple[FigureKind, Drawing | Absent]]) -> str:
    """Build the report.

    Args:
        run: The run.
        drawn: The figures, in order.

    Returns:
        The whole HTML file.
    """
    drawn = [(kind, drawing) for kind, drawing in drawn if not _is_left_out(drawing)]
    body = [
        f"<header>\n<h1>{html.escape(run.search.study)}</h1>",
        paragraph(summarize(run), kind="summary"),
        _list_contents([kind for kind, _ in drawn]),
        "</header>\n<main>",
        *(_show(kind, run) for kind in BEFORE_FIGURES),
        *(show_figure(kind, drawing) for kind, drawing in drawn),
        *(_show(kind, run) for kind in AFTER_FIGURES),
        "</main>",
        show_colours(),
    ]
    return write_document(
        title=f"{run.search.study}: subnets and what they cost",
        style=read_asset("page.css"),
        body="\n".join(body),
        scripts=[get_plotlyjs(), read_asset("page.js")],
    )


def show_colours() -> str:
    """Say which colours the figures use, and that shapes tell the same."""
    note = (
        "Colours: Okabe and Ito's palette and, in heat maps, Cividis, which colour-blind readers "
        "tell apart; shapes, dashes and hatching tell the same without any colour."
    )
    return f"<footer>{paragraph(note)}</footer>"


def _is_left_out(drawing: Drawing | Absent) -> bool:
    return isinstance(drawing, Absent) and drawing.is_left_out


def _show(kind: SectionKind, run: Run) -> str:
    return section(kind.name, kind.title, kind.show(run))


def _list_contents(kinds: Sequence[FigureKind]) -> str:
    links = [(kind.name, kind.title) for kind in BEFORE_FIGURES]
    links += [(f"figure-{kind.name}", kind.title) for kind in kinds]
    links += [(kind.name, kind.title) for kind in AFTER_FIGURES]
    items = "".join(f'<li><a href="#{name}">{html.escape(text)}</a></li>' for name, text in links)
    return f'<nav aria-label="Contents"><ul>{items}</ul></nav>'


def show_figure(kind: FigureKind, drawing: Drawing | Absent, *, numbers: str | None = None) -> str:
    """Show a figure in a section of its own, or why there is none.

    Args:
        kind: Its name and title.
        drawing: The figure.
        numbers: The CSV file behind it; that of the report by default.
    """
    numbers = numbers or f"figures/{kind.name}.csv"
    name = f"figure-{kind.name}"
    if isinstance(drawing, Absent):
        return section(name, kind.title, paragraph(drawing.reason, kind="missing"))
    caption = html.escape(drawing.caption)
    body = (
        f'<figure data-figure="{kind.name}">\n'
        f'<div class="plot" role="img" aria-label="{html.escape(kind.title)}">'
        "<noscript>The figure is drawn by a script of this page; its numbers are in the CSV file."
        "</noscript></div>\n"
        f"<figcaption>{caption} Numbers: <code>{html.escape(numbers)}</code></figcaption>\n"
        f'<script type="application/json">{embed_json(pack_figure(drawing.figure))}</script>\n'
        "</figure>"
    )
    return section(name, kind.title, body)
