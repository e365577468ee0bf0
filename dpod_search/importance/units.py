"""What a criterion is given, and the scores of units by layer: sums of kept prefixes."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from typing import Any

import numpy as np

from dpod_search.errors import ConfigError
from dpod_search.tabulated import FloatArray
from dpod_search.tabulated import IntArray
from dpod_search.tabulated import TableSum
from dpod_search.tabulated import TableTerm
from dpod_search.widths import WidthSpace


@dataclass(frozen=True, eq=False)
class LayerScores:
    """How much each unit of a group matters in one layer that makes it, or reads it.

    Args:
        layer: Path of the layer, or of the one parameter that was looked at.
        group: Index of the group.
        scores: Shape (full width of the group,), >= 0; larger matters more.
        blocks: Groups of the removable blocks that the layer is in: removed, its scores are lost.
    """

    layer: str
    group: int
    scores: FloatArray
    blocks: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class UnitImportance:
    """How much each unit of each group matters, by the layers that make it.

    Args:
        criterion: What it was measured by.
        full_widths: Full width of each group; None for a block.
        layers: The scores of every layer. They add up to 1.
    """

    criterion: str
    full_widths: tuple[int | None, ...]
    layers: tuple[LayerScores, ...]

    def tabulate(self, space: WidthSpace) -> TableSum:
        """Return the importance that a subnet keeps, as a sum of tables over rungs.

        Args:
            space: The widths of the supernet that was measured.

        Returns:
            For each layer the scores of the first k units, at every width k of its group; 0 where
            a block around it is removed. The full net has 1.

        Raises:
            ConfigError: If the space is of other groups.
        """
        fulls = tuple(
            None if full is None else rungs[-1]
            for full, rungs in zip(self.full_widths, space.rungs, strict=False)
        )
        if fulls != self.full_widths or len(space.rungs) != len(fulls):
            raise ConfigError(
                f"importance of groups of full widths {list(self.full_widths)} is not that of a "
                f"space of {list(space.full.active)}; measure it on the supernet of the space"
            )
        terms = []
        for layer in self.layers:
            kept = np.cumsum(layer.scores)
            table = kept[np.array(space.rungs[layer.group]) - 1]
            terms.append(TableTerm((layer.group,), table, tuple(sorted(layer.blocks))))
        return TableSum.of(terms)

    def by_group(self) -> tuple[FloatArray | None, ...]:
        """Return, for each group, its units' scores summed over layers; None for a block."""
        sums = [None if full is None else np.zeros(full) for full in self.full_widths]
        for layer in self.layers:
            total = sums[layer.group]
            assert total is not None
            total += layer.scores
        return tuple(sums)

    def reorder(self, orders: Sequence[IntArray | None]) -> UnitImportance:
        """Return the importance of the units in another order.

        Args:
            orders: For each group which unit comes at each place, as ``reorder_units`` returns
                them; None where they stay.
        """
        layers = []
        for layer in self.layers:
            order = orders[layer.group]
            scores = layer.scores if order is None else layer.scores[order]
            layers.append(replace(layer, scores=scores))
        return replace(self, layers=tuple(layers))

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "criterion": self.criterion,
            "full_widths": list(self.full_widths),
            "layers": [
                {
                    "layer": layer.layer,
                    "group": layer.group,
                    "scores": layer.scores.tolist(),
                    "blocks": list(layer.blocks),
                }
                for layer in self.layers
            ],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> UnitImportance:
        """Read what :meth:`to_json` gave."""
        layers = tuple(
            LayerScores(x["layer"], x["group"], np.array(x["scores"]), tuple(x["blocks"]))
            for x in value["layers"]
        )
        return cls(value["criterion"], tuple(value["full_widths"]), layers)
