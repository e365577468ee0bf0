"""Bars that show how long work goes on, where somebody looks on.

Rich is imported when a bar is drawn; scripts whose output nobody watches do without.
"""

from __future__ import annotations

from dpod_search.bars.audience import Audience
from dpod_search.bars.audience import watched


__all__ = ["Audience", "watched"]
