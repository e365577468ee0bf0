"""The page: one HTML file with everything in it, which asks the network for nothing."""

from __future__ import annotations

import html
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass

from plotly.offline import get_plotlyjs

from dpod_search.report import sections
from dpod_search.report.document import read_asset
from dpod_search.report.document import write_document
from dpod_search.report.figures import Absent
from dpod_search.report.figures import Drawing
from dpod_search.report.figures import FigureKind
from dpod_search.report.markup import embed_json
from dpod_search.report.markup import paragraph
from dpod_search.report.markup import section
from dpod_search.report.run import Run
from dpod_search.report.summary import summarize


@dataclass(frozen=True)
class SectionKind:
    """One section of tables: its anchor, its heading, and what shows it."""

    name: str
    title: str
    show: Callable[[Run], str]


BEFORE_FIGURES = (SectionKind("picks", "What to pick", sections.show_picks),)
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
    body = [
        f"<header>\n<h1>{html.escape(run.search.study)}</h1>",
        paragraph(summarize(run), kind="summary"),
        _list_contents([kind for kind, _ in drawn]),
        "</header>\n<main>",
        *(_show(kind, run) for kind in BEFORE_FIGURES),
        *(_show_figure(kind, drawing) for kind, drawing in drawn),
        *(_show(kind, run) for kind in AFTER_FIGURES),
        "</main>",
    ]
    return write_document(
        title=f"{run.search.study}: subnets and what they cost",
        style=read_asset("page.css"),
        body="\n".join(body),
        scripts=[get_plotlyjs(), read_asset("page.js")],
    )


def _show(kind: SectionKind, run: Run) -> str:
    return section(kind.name, kind.title, kind.show(run))


def _list_contents(kinds: Sequence[FigureKind]) -> str:
    links = [(kind.name, kind.title) for kind in BEFORE_FIGURES]
    links += [(f"figure-{kind.name}", kind.title) for kind in kinds]
    links += [(kind.name, kind.title) for kind in AFTER_FIGURES]
    items = "".join(f'<li><a href="#{name}">{html.escape(text)}</a></li>' for name, text in links)
    return f'<nav aria-label="Contents"><ul>{items}</ul></nav>'


def _show_figure(kind: FigureKind, drawing: Drawing | Absent) -> str:
    name = f"figure-{kind.name}"
    if isinstance(drawing, Absent):
        return section(name, kind.title, paragraph(drawing.reason, kind="missing"))
    caption = html.escape(drawing.caption)
    body = (
        f'<figure data-figure="{kind.name}">\n'
        f'<div class="plot" role="img" aria-label="{html.escape(kind.title)}">'
        "<noscript>The figure is drawn by a script of this page; its numbers are in the CSV file."
        "</noscript></div>\n"
        f"<figcaption>{caption} Numbers: <code>figures/{kind.name}.csv</code></figcaption>\n"
        f'<script type="application/json">{embed_json(drawing.figure.to_json())}</script>\n'
        "</figure>"
    )
    return section(name, kind.title, body)
