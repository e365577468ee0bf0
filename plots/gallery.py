"""Draw every figure of finished runs, PNG and CSV, and a page that shows them: ``tox -e plots``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dpod_search.errors import DpodSearchError
from dpod_search.files import write_text
from dpod_search.report import FIGURES
from dpod_search.report import Drawing
from dpod_search.report import FigureKind
from dpod_search.report import check_png
from dpod_search.report import draw_pngs
from dpod_search.report import read_run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run_folders", type=Path, nargs="+", help="such as runs/digits")
    parser.add_argument("--out", type=Path, default=Path("plots/gallery"), help="folder to fill")
    options = parser.parse_args()
    try:
        check_png()
        pages = [draw_run(folder, options.out) for folder in options.run_folders]
    except DpodSearchError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    page = options.out / "README.md"
    write_text(page, "# Gallery\n\nDrawn by `tox -e plots`.\n\n" + "\n".join(pages))
    print(page)


def draw_run(run_folder: Path, out: Path) -> str:
    run = read_run(run_folder)
    drawn: dict[FigureKind, Drawing] = {}
    for kind in FIGURES:
        drawing = kind.draw(run)
        if isinstance(drawing, Drawing):
            drawn[kind] = drawing
    study = run.search.study
    draw_pngs({out / f"{study}-{kind.name}.png": d.figure for kind, d in drawn.items()})
    parts = [f"## {study}\n"]
    for kind, drawing in drawn.items():
        name = f"{study}-{kind.name}"
        write_text(out / f"{name}.csv", drawing.table.to_csv())
        parts.append(f"### {kind.title}\n\n![{kind.title}]({name}.png)\n")
        parts.append(f"{drawing.caption} Numbers: [{name}.csv]({name}.csv)\n")
    return "\n".join(parts)


if __name__ == "__main__":
    main()
