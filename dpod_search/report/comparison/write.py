"""Writing the page of a comparison, and the numbers behind it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup
from plotly.offline import get_plotlyjs

from dpod_search.figures import Absent
from dpod_search.figures import Table
from dpod_search.figures.text import find_purpose
from dpod_search.files import write_text
from dpod_search.quantities import label
from dpod_search.quantities import plural
from dpod_search.records.run import Run
from dpod_search.report.comparison.figures import draw_finetuned
from dpod_search.report.comparison.figures import draw_growth
from dpod_search.report.comparison.figures import draw_searched
from dpod_search.report.comparison.runs import NamedRun
from dpod_search.report.comparison.runs import read_runs
from dpod_search.report.comparison.runs import splits_differ
from dpod_search.report.comparison.tables import show_pick
from dpod_search.report.comparison.tables import tabulate_picks
from dpod_search.report.comparison.tables import tabulate_settings
from dpod_search.report.markup import paragraph
from dpod_search.report.markup import read_asset
from dpod_search.report.markup import table
from dpod_search.report.markup import write_document
from dpod_search.report.page import Section
from dpod_search.report.page import is_left_out
from dpod_search.report.page import show_figure


_FIGURES = (
    ("finetuned", "The fronts after finetuning", draw_finetuned),
    ("searched", "The fronts before finetuning", draw_searched),
    ("growth", "How the fronts grew", draw_growth),
)


def write_comparison(run_folders: Sequence[Path], out: Path) -> tuple[Path, ...]:
    """Write one page that lays runs over each other, and a CSV for each of its parts.

    Args:
        run_folders: Two to six run folders of the same data and objectives.
        out: The HTML file; ``<stem>-<part>.csv`` are written beside it.

    Returns:
        The files written, the page first.

    Raises:
        ConfigError: If the runs cannot be compared.
        RunFolderError: If the search stage has not run in one of them.
        CheckpointError: If a file is damaged or cannot be written.
    """
    runs = read_runs(run_folders)
    drawn = [(name, title, draw(runs)) for name, title, draw in _FIGURES]
    picks, settings = tabulate_picks(runs), tabulate_settings(runs)
    tables: dict[str, Table] = {"picks": picks, "settings": settings}
    tables |= {name: d.table for name, _, d in drawn if not isinstance(d, Absent)}
    figures = [
        show_figure(name, title, drawing, numbers=f"{out.stem}-{name}.csv")
        for name, title, drawing in drawn
        if not is_left_out(drawing)
    ]
    page = write_document(
        "comparison.html",
        title=f"{len(runs)} runs compared",
        styles=[read_asset("page.css")],
        scripts=[get_plotlyjs(), read_asset("page.js")],
        names=[named.name for named in runs],
        introduction=_introduce(runs),
        parts=[
            Section(
                "picks",
                "What each offers",
                _show_picks(picks, find_purpose(runs[0].run).first.name),
            ),
            *figures,
            Section("settings", "What differs", _show_settings(settings)),
        ],
    )
    write_text(out, page)
    files = {name: out.with_name(f"{out.stem}-{name}.csv") for name in tables}
    for name, file in files.items():
        write_text(file, tables[name].to_csv())
    return (out, *files.values())


def _introduce(runs: Sequence[NamedRun]) -> list[str]:
    told = [f"{named.name}: {_tell_run(named.run)}" for named in runs]
    texts = [f"{'; '.join(told)}."]
    if splits_differ(runs):
        texts.append(
            "The runs split the data differently (another seed), so they were measured on "
            "different samples: small differences between them may come of that alone."
        )
    return texts


def _tell_run(run: Run) -> str:
    if run.oneshot is None:
        told = f"{plural(len(run.trials), 'trial')}, a front of {len(run.search.front)}"
    else:
        n_met, n_all = len(run.oneshot.choices), len(run.oneshot.budgets)
        told = f"{plural(len(run.trials), 'subnet')} for {n_met} of {plural(n_all, 'budget')}"
    return told + ("" if run.front is None else f", {len(run.front.members)} finetuned")


def _show_picks(picks: Table, name: str) -> Markup:
    if not picks.rows:
        return paragraph("None of the runs has finetuned its front yet.", kind="missing")
    columns = ("budget", "trial", "MACs", "validation", "test", "run")
    caption = (
        f"The finetuned subnet of each run within the same budget that has the best {label(name)} on "
        "validation. Budgets in MACs are shares of the largest full net; where all runs were given "
        "a budget, it stands first, with the subnet that each chose for it."
    )
    return table(caption, columns, [show_pick(row, name) for row in picks.rows], texts=1)


def _show_settings(settings: Table) -> Markup:
    if not settings.rows:
        return paragraph("All settings and the environment are the same.")
    rows = [[str(cell) for cell in row] for row in settings.rows]
    caption = "Settings, versions and sizes that are not the same in all runs."
    return table(caption, settings.columns, rows, texts=len(settings.columns) - 1)
