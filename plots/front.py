"""Draw the front: every trial, the searched front, and what finetuning added: ``python plots/front.py runs/digits``."""

from __future__ import annotations

from one_figure import main


if __name__ == "__main__":
    main("front")
