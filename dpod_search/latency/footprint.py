"""Footprints of subnets with the modelled latency among them."""

from __future__ import annotations

from dpod_search.footprint import FootprintModel
from dpod_search.latency.model import LatencyModel
from dpod_search.widths import Widths


NAME = "latency"


class TimedFootprint:
    """Closed-form footprints and ``latency`` in milliseconds, as a model says.

    Args:
        sizes: Of the same supernet.
        latency: The model.
    """

    def __init__(self, sizes: FootprintModel, latency: LatencyModel) -> None:
        """Keep both."""
        self._sizes = sizes
        self._latency = latency

    def measure(self, widths: Widths) -> dict[str, float]:
        """Return every footprint of one subnet by name, ``latency`` last."""
        # Rounded, as a model knows no more than that, and as people have to read it.
        ms = float(f"{self._latency.measure(widths):.4g}")
        return {**self._sizes.measure(widths), NAME: ms}
