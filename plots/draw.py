"""Draw one figure of a finished run: ``python plots/draw.py front runs/digits``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dpod_search.errors import DpodSearchError
from dpod_search.files import write_text
from dpod_search.report import FIGURES
from dpod_search.report import Absent
from dpod_search.report import check_png
from dpod_search.report import draw_pngs
from dpod_search.report import read_run


def main() -> None:
    """Write ``<study>-<figure>.html`` and ``.csv``, as the command line has it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("figure", choices=[kind.name for kind in FIGURES])
    parser.add_argument("run_folder", type=Path, help="a run folder, such as runs/digits")
    parser.add_argument("--out", type=Path, default=Path("plots/drawn"), help="folder to fill")
    parser.add_argument(
        "--png", action="store_true", help="a PNG instead of the HTML; needs the extra [png]"
    )
    options = parser.parse_args()
    try:
        print(draw_figure(options.figure, options.run_folder, options.out, as_png=options.png))
    except DpodSearchError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


def draw_figure(name: str, run_folder: Path, out: Path, *, as_png: bool = False) -> Path:
    if as_png:
        check_png()
    kind = next(kind for kind in FIGURES if kind.name == name)
    drawing = kind.draw(read_run(run_folder))
    if isinstance(drawing, Absent):
        raise DpodSearchError(f"{run_folder}: no figure {name!r}: {drawing.reason}")
    stem = f"{run_folder.resolve().name}-{name}"
    picture = out / f"{stem}{'.png' if as_png else '.html'}"
    if as_png:
        draw_pngs({picture: drawing.figure})
    else:
        write_text(picture, drawing.figure.to_html(include_plotlyjs=True))
    write_text(out / f"{stem}.csv", drawing.table.to_csv())
    return picture


if __name__ == "__main__":
    main()
