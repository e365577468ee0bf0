"""A layer in its place in a supernet: the groups that its latency depends on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dpod_search.latency.specs import LayerSpec
from dpod_search.supernet import Layout
from dpod_search.supernet import active_size
from dpod_search.supernet import groups_of
from dpod_search.widths import WidthSpace


@dataclass(frozen=True)
class PlacedLayer:
    """A layer in its place in a supernet.

    Args:
        name: Its path in the user's model, or the name of its operation.
        spec: What it is to a clock.
        output: Layout of its output channels.
        inputs: Layout of dimension 1 of its weight.
        blocks: Groups of the removable blocks that it is in, ascending.
    """

    name: str
    spec: LayerSpec
    output: Layout
    inputs: Layout
    blocks: tuple[int, ...]

    @property
    def groups(self) -> tuple[int, ...]:
        """The groups that its latency depends on, ascending."""
        found = {segment.group for layout in (self.output, self.inputs) for segment in layout}
        return tuple(sorted(group for group in found if group is not None))

    def find_widths(self, space: WidthSpace) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the widths that its inputs and its outputs can have, ascending.

        Where several groups make them up, those of all groups narrowed alike.
        """
        return _find_sizes(self.inputs, space), _find_sizes(self.output, space)


def _find_sizes(layout: Layout, space: WidthSpace) -> tuple[int, ...]:
    groups = groups_of(layout)
    if not groups:
        return (active_size(layout, ()),)
    longest = max(len(space.rungs[group]) for group in groups)
    sizes = set()
    for place in np.linspace(0, 1, longest):
        widths = [rungs[round(float(place) * (len(rungs) - 1))] for rungs in space.rungs]
        sizes.add(active_size(layout, widths))
    return tuple(sorted(sizes))
