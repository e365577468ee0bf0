"""The dimensions found so far: which must share one width, and which are frozen and why."""

from __future__ import annotations

import math
from dataclasses import dataclass
from dataclasses import field
from fractions import Fraction

from dpod_search.supernet.layout import Layout
from dpod_search.supernet.layout import Segment
from dpod_search.supernet.layout import fixed


@dataclass
class Dim:
    """A set of tensor dimensions that must share one width.

    Args:
        full: Full width, in channels.
        n_units: Number of units that it is narrowed by: the channels, or bundles of them where a
            grouped layer needs whole groups.
        is_made: A layer makes it; it is not only the size of a parameter of the model's own.
        members: Layers that make or carry it, in the order they were met.
        reasons: Why it is frozen; empty while it is elastic.
    """

    full: int
    n_units: int
    is_made: bool
    members: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)


class DimTable:
    """Union-find over dimensions. Segments refer to dimensions by number."""

    def __init__(self) -> None:
        """Start with no dimensions."""
        self._dims: list[Dim] = []
        self._parents: list[int] = []

    def add(self, full: int, member: str, *, is_made: bool = True) -> Layout:
        """Register a new dimension made by a layer, and return its layout."""
        self._dims.append(Dim(full, full, is_made, [member]))
        self._parents.append(len(self._parents))
        return (Segment(len(self._dims) - 1, full),)

    def find(self, index: int) -> int:
        """Return the number under which a dimension's whole set is known."""
        while self._parents[index] != index:
            self._parents[index] = self._parents[self._parents[index]]
            index = self._parents[index]
        return index

    def join(self, layout: Layout, member: str) -> None:
        """Note that a layer carries the dimensions of a layout without changing them."""
        for segment in layout:
            if segment.group is not None:
                members = self._dims[self.find(segment.group)].members
                if member not in members:
                    members.append(member)

    def freeze(self, layout: Layout, reason: str) -> None:
        """Fix the width of every dimension of a layout; the reason is kept for the user."""
        for segment in layout:
            if segment.group is not None:
                reasons = self._dims[self.find(segment.group)].reasons
                if reason not in reasons:
                    reasons.append(reason)

    def coarsen(self, segment: Segment, n_units: int) -> None:
        """Narrow the dimension of a segment by at most so many units, all of one size."""
        if segment.group is not None:
            dim = self._dims[self.find(segment.group)]
            dim.n_units = math.gcd(dim.n_units, n_units)

    def unify(self, first: Layout, second: Layout, where: str) -> None:
        """Make two layouts share their widths, element by element.

        Layouts that are cut into segments differently cannot share widths: both are frozen.
        """
        cuts = [(segment.full, segment.repeat) for segment in first]
        if cuts != [(segment.full, segment.repeat) for segment in second]:
            for layout in (first, second):
                self.freeze(layout, f"{where} combines channels that are laid out differently")
            return
        for one, other in zip(first, second, strict=True):
            self._unify_segments(one, other, where)

    def _unify_segments(self, one: Segment, other: Segment, where: str) -> None:
        if one.group is None or other.group is None:
            self.freeze((one, other), f"{where} combines it with channels of fixed number")
            return
        keep, gone = sorted((self.find(one.group), self.find(other.group)))
        if keep != gone:
            self._parents[gone] = keep
            kept, merged = self._dims[keep], self._dims[gone]
            kept.members += [name for name in merged.members if name not in kept.members]
            kept.reasons += [text for text in merged.reasons if text not in kept.reasons]
            kept.n_units = math.gcd(kept.n_units, merged.n_units)
            kept.is_made = kept.is_made or merged.is_made

    def roots(self) -> list[tuple[int, Dim]]:
        """Return every set of dimensions once, in the order of its first layer."""
        return [(i, dim) for i, dim in enumerate(self._dims) if self._parents[i] == i]

    def resolve(self, layout: Layout, numbers: dict[int, int]) -> Layout:
        """Replace dimension numbers by group numbers; frozen dimensions become fixed."""
        resolved: list[Segment] = []
        for segment in layout:
            root = None if segment.group is None else self.find(segment.group)
            if root is None or root not in numbers:
                resolved += fixed(segment.size)
                continue
            n_units = self._dims[root].n_units
            per_unit = Fraction(segment.size, n_units)
            assert per_unit.denominator == 1, "a unit is cut"
            resolved.append(Segment(numbers[root], n_units, int(per_unit)))
        return tuple(_merge_fixed(resolved))


def _merge_fixed(segments: list[Segment]) -> list[Segment]:
    merged: list[Segment] = []
    for segment in segments:
        if merged and segment.group is None and merged[-1].group is None:
            merged[-1] = Segment(None, merged[-1].size + segment.size)
        else:
            merged.append(segment)
    return merged
