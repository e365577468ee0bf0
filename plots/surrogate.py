"""Draw the surrogate's predictions against what was measured: ``python plots/surrogate.py runs/digits``."""

from __future__ import annotations

from one_figure import main


if __name__ == "__main__":
    main("surrogate")
