"""Draw which channel groups matter to what was measured: ``python plots/importance.py runs/digits``."""

from __future__ import annotations

from one_figure import main


if __name__ == "__main__":
    main("importance")
