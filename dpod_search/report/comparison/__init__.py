"""Several runs on one page: their fronts, how these grew, what to pick, and what was set otherwise."""

from __future__ import annotations

from dpod_search.report.comparison.write import write_comparison


__all__ = ["write_comparison"]
