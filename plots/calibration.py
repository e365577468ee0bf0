"""Draw the surrogate's coverage and false-prune rate: ``python plots/calibration.py runs/digits``."""

from __future__ import annotations

from one_figure import main


if __name__ == "__main__":
    main("calibration")
