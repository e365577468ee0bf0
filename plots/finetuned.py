"""Draw the front before and after finetuning, on validation and on test: ``python plots/finetuned.py runs/digits``."""

from __future__ import annotations

from one_figure import main


if __name__ == "__main__":
    main("finetuned")
