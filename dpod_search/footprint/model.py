"""The footprint of any subnet in closed form, for one choice of widths or for an array."""

from __future__ import annotations

from itertools import chain

import numpy as np
import numpy.typing as npt

from dpod_search.footprint.metrics import METRICS
from dpod_search.footprint.metrics import Largest
from dpod_search.footprint.monomials import Sums
from dpod_search.supernet import Supernet
from dpod_search.widths import Widths


class FootprintModel:
    """Closed-form footprints of a supernet's subnets.

    Args:
        supernet: The net to measure.
    """

    def __init__(self, supernet: Supernet) -> None:
        """Read the supernet's plans once."""
        found = {name: metric(supernet) for name, metric in METRICS.items()}
        sums = [each.sums if isinstance(each, Largest) else (each,) for each in found.values()]
        self._names = tuple(found)
        self._starts = np.cumsum([0, *map(len, sums)])[:-1]
        self._sums = Sums(list(chain.from_iterable(sums)), len(supernet.groups))

    def measure(self, widths: Widths) -> dict[str, int]:
        """Return every metric of one subnet.

        Args:
            widths: Of the supernet's space.

        Returns:
            ``macs`` (per sample, one multiply-add = 1), ``params``, ``weight_bytes``, and
            ``peak_bytes`` of activations (per sample).
        """
        table = self.table(np.array([widths.active]))
        return {name: int(column[0]) for name, column in table.items()}

    def table(self, widths: npt.ArrayLike) -> dict[str, npt.NDArray[np.int64]]:
        """Return every metric of many subnets at once.

        Args:
            widths: Active widths, shape (n, n_groups), in the order of the space.

        Returns:
            By metric, an array of shape (n,).
        """
        values = np.maximum.reduceat(self._sums.at(widths), self._starts, axis=1)
        columns = np.rint(values).astype(np.int64).T
        return dict(zip(self._names, columns, strict=True))


def build_footprint(supernet: Supernet) -> FootprintModel:
    """Build the footprint model of a supernet."""
    return FootprintModel(supernet)
