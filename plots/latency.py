"""Draw measured latency against MACs: ``python plots/latency.py runs/digits``."""

from __future__ import annotations

from one_figure import main


if __name__ == "__main__":
    main("latency")
