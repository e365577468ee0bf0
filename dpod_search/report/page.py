"""The report of a run: one HTML file with everything in it, and the numbers of its figures."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup
from plotly.offline import get_plotlyjs

from dpod_search.figures import FIGURES
from dpod_search.figures import Absent
from dpod_search.figures import Drawing
from dpod_search.figures import FigureKind
from dpod_search.files import write_text
from dpod_search.records.markers import forget_marker
from dpod_search.records.run import Run
from dpod_search.records.run import read_run
from dpod_search.report import sections
from dpod_search.report.choices import show_picks
from dpod_search.report.markup import figure
from dpod_search.report.markup import paragraph
from dpod_search.report.markup import read_asset
from dpod_search.report.markup import write_document
from dpod_search.report.oneshot_section import show_oneshot
from dpod_search.report.packing import pack_figure
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
    show: Callable[[Run], Markup]
    oneshot_title: str = ""


@dataclass(frozen=True)
class Section:
    """A section of a page.

    Args:
        name: Its anchor: letters and dashes.
        title: Its heading, in plain text.
        body: What stands below it.
    """

    name: str
    title: str
    body: Markup


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


def write_report(run_folder: Path) -> Path:
    """Write ``report.html`` and ``figures/<figure>.csv`` from what the stages have written.

    Args:
        run_folder: The run folder, ``runs/<study>``, in which the search stage has run.

    Returns:
        The path of the report: one file that opens without a network. What a later stage
        would add is replaced by the command that runs it.

    Raises:
        RunFolderError: If the search stage has not run there.
        CheckpointError: If a file is damaged, or the report could not be written.
    """
    run = read_run(run_folder)
    drawn = [(kind, kind.draw(run)) for kind in FIGURES]
    forget_marker(run_folder, "report")
    for kind, drawing in drawn:
        numbers = run_folder / "figures" / f"{kind.name}.csv"
        if isinstance(drawing, Absent):
            # Numbers of an earlier report must not outlive their figure.
            numbers.unlink(missing_ok=True)
        else:
            write_text(numbers, drawing.table.to_csv())
    report = run_folder / "report.html"
    write_text(report, build_page(run, drawn))
    return report


def build_page(run: Run, drawn: Sequence[tuple[FigureKind, Drawing | Absent]]) -> str:
    """Build the report.

    Args:
        run: The run.
        drawn: The figures, in order.

    Returns:
        The whole HTML file.
    """
    figures = [
        show_figure(kind.name, kind.title, drawing, numbers=f"figures/{kind.name}.csv")
        for kind, drawing in drawn
        if not is_left_out(drawing)
    ]
    return write_document(
        "run.html",
        title=f"{run.search.study}: subnets and what they cost",
        styles=[read_asset("page.css")],
        scripts=[get_plotlyjs(), read_asset("page.js")],
        study=run.search.study,
        summary=summarize(run),
        parts=[*_show_all(BEFORE_FIGURES, run), *figures, *_show_all(AFTER_FIGURES, run)],
    )


def is_left_out(drawing: Drawing | Absent) -> bool:
    """Say whether a figure that is not drawn is not worth a word either."""
    return isinstance(drawing, Absent) and drawing.is_left_out


def _show_all(kinds: Sequence[SectionKind], run: Run) -> Iterator[Section]:
    for kind in kinds:
        title = kind.title if run.oneshot is None else kind.oneshot_title or kind.title
        if content := kind.show(run):
            yield Section(kind.name, title, content)


def show_figure(name: str, title: str, drawing: Drawing | Absent, *, numbers: str) -> Section:
    """Show a figure in a section of its own, or why there is none.

    Args:
        name: Its name in files and anchors.
        title: Its heading.
        drawing: The figure.
        numbers: The CSV file behind it.
    """
    if isinstance(drawing, Absent):
        body = paragraph(drawing.reason, kind="missing")
    else:
        body = figure(name, title, drawing.caption, numbers, pack_figure(drawing.figure))
    return Section(f"figure-{name}", title, body)
