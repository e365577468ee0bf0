"""Draw what each channel group weighs in the full net: ``python plots/footprint.py runs/digits``."""

from __future__ import annotations

from one_figure import main


if __name__ == "__main__":
    main("footprint")
