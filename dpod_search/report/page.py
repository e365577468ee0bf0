"""The page: one HTML file with everything in it, which asks the network for nothing."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass

from plotly.offline import get_plotlyjs

from dpod_search.escaping import escape_html
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
from dpod_search.report.oneshot_section import show_oneshot
from dpod_search.report.packing import pack_figure
from dpod_search.report.run import Run
from dpod_search.report.summary import summarize


@dataclass(frozen=True)
class SectionKind:
    """One section of tables: its anchor, its heading, and what shows it.

    Args:
        name: Its anchor.
        title: Its heading.
        show: Returns its content; if that is empty, the section is left out.
        oneshot_title: Its heading for a run that did not search; empty for the same one.
    """

    name: str
    title: str
    show: Callable[[Run], str]
    oneshot_title: str = ""


@dataclass(frozen=True)
class _Section:
    name: str
    title: str
    html: str


BEFORE_FIGURES = (
    SectionKind("oneshot", "What was chosen, without a search", show_oneshot),
    SectionKind("picks", "What to pick", show_picks),
)
AFTER_FIGURES = (
    SectionKind(
        "finetuned", "The front after finetuning", sections.show_finetuned, "After finetuning"
    ),
    SectionKind("searched", "The front as searched", sections.show_searched, "Before finetuning"),
    SectionKind("fates", "Trials and audit", sections.show_fates, "Trials"),
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
    figures = [
        _Section(f"figure-{k.name}", k.title, show_figure(k.name, k.title, drawing))
        for k, drawing in drawn
        if not _is_left_out(drawing)
    ]
    before, after = (_show_all(kinds, run) for kinds in (BEFORE_FIGURES, AFTER_FIGURES))
    shown = [*before, *figures, *after]
    body = [
        f"<header>\n<h1>{escape_html(run.search.study)}</h1>",
        paragraph(summarize(run), kind="summary"),
        _list_contents(shown),
        "</header>\n<main>",
        *(part.html for part in shown),
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


def _show_all(kinds: Sequence[SectionKind], run: Run) -> list[_Section]:
    shown = []
    for kind in kinds:
        title = kind.title if run.oneshot is None else kind.oneshot_title or kind.title
        if content := kind.show(run):
            shown.append(_Section(kind.name, title, section(kind.name, title, content)))
    return shown


def _list_contents(shown: Sequence[_Section]) -> str:
    links = [f'<li><a href="#{s.name}">{escape_html(s.title)}</a></li>' for s in shown]
    return f'<nav aria-label="Contents"><ul>{"".join(links)}</ul></nav>'


def show_figure(
    name: str, title: str, drawing: Drawing | Absent, *, numbers: str | None = None
) -> str:
    """Show a figure in a section of its own, or why there is none.

    Args:
        name: Its name in files and anchors.
        title: Its heading.
        drawing: The figure.
        numbers: The CSV file behind it; that of the report by default.
    """
    numbers = numbers or f"figures/{name}.csv"
    if isinstance(drawing, Absent):
        return section(f"figure-{name}", title, paragraph(drawing.reason, kind="missing"))
    caption = escape_html(drawing.caption)
    body = (
        f'<figure data-figure="{name}">\n'
        f'<div class="plot" role="img" aria-label="{escape_html(title)}">'
        "<noscript>The figure is drawn by a script of this page; its numbers are in the CSV file."
        "</noscript></div>\n"
        f"<figcaption>{caption} Numbers: <code>{escape_html(numbers)}</code></figcaption>\n"
        f'<script type="application/json">{embed_json(pack_figure(drawing.figure))}</script>\n'
        "</figure>"
    )
    return section(f"figure-{name}", title, body)
