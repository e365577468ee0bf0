"""Draw accuracy along the path of progressive shrinking: ``python plots/path.py runs/digits``."""

from __future__ import annotations

from one_figure import main


if __name__ == "__main__":
    main("path")
