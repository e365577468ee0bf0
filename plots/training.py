"""Draw the losses of the supernet's training: ``python plots/training.py runs/digits``."""

from __future__ import annotations

from one_figure import main


if __name__ == "__main__":
    main("training")
