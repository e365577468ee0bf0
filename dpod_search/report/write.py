"""Writing the report into a run folder."""

from __future__ import annotations

from pathlib import Path

from dpod_search.files import write_text
from dpod_search.report.figures import FIGURES
from dpod_search.report.figures import Absent
from dpod_search.report.page import build_page
from dpod_search.report.reader import read_run


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
