"""Draw the width ratios along the front: ``python plots/widths.py runs/digits``."""

from __future__ import annotations

from one_figure import main


if __name__ == "__main__":
    main("widths")
