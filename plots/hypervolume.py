"""Draw how the front grew: ``python plots/hypervolume.py runs/digits``."""

from __future__ import annotations

from one_figure import main


if __name__ == "__main__":
    main("hypervolume")
