"""The dimensions found so far: which must share one width, and which are frozen and why."""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from fractions import Fraction

from dpod_search.supernet.layout import Layout
from dpod_search.supernet.layout import Segment
from dpod_search.supernet.layout import fixed
from dpod_search.supernet.layout import is_elastic


@dataclass
class Dim:
    """A set of tensor dimensions that must share one width.

    Args:
        name: What it is called: its first layer, and which run of it where that was cut up.
        full: Full width, in channels of the layer that was met first.
        n_units: Number of units that it is narrowed by: the channels, or bundles of them where
            a grouped layer or a head needs them whole.
        is_made: A layer makes it; it is not only the size of a parameter of the model's own.
        members: Layers that make or carry it, in the order they were met.
        reasons: Why it is frozen; empty while it is elastic.
        runs: Of a dimension that was cut up, the layout that stands for it now.
        has_heads: Its units are attention heads.
        n_runs: How many runs of its first layer's channels share it.
        disorders: Why its places are other channels at other widths.
    """

    name: str
    full: int
    n_units: int
    is_made: bool
    members: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    runs: Layout | None = None
    has_heads: bool = False
    n_runs: int = 1
    disorders: list[str] = field(default_factory=list)

    @property
    def n_channels(self) -> int:
        """Channels of its first layer, at full width."""
        return self.full * self.n_runs


class DimTable:
    """Union-find over dimensions. Segments refer to dimensions by number.

    Dimensions that share a width may differ in size, as embedding channels and the heads made
    from them do: they keep the same share of their units.
    """

    def __init__(self) -> None:
        """Start with no dimensions."""
        self._dims: list[Dim] = []
        self._parents: list[int] = []

    def add(self, full: int, member: str, *, name: str = "", is_made: bool = True) -> Layout:
        """Register a new dimension made by a layer, and return its layout."""
        self._dims.append(Dim(name or member, full, full, is_made, [member]))
        self._parents.append(len(self._parents))
        return (Segment(len(self._dims) - 1, full),)

    def add_number(self, full: int, name: str) -> Layout:
        """Register what a number may stand for that no layer makes, and return its layout."""
        layout = self.add(full, name, is_made=False)
        self._dims[-1].members.clear()
        return layout

    def find(self, index: int) -> int:
        """Return the number under which a dimension's whole set is known."""
        while self._parents[index] != index:
            self._parents[index] = self._parents[self._parents[index]]
            index = self._parents[index]
        return index

    def expand(self, layout: Layout) -> Layout:
        """Return a layout in which every dimension that was cut up stands as its runs."""
        expanded: list[Segment] = []
        for segment in layout:
            dim = self.dim_of(segment)
            if dim is None or dim.runs is None:
                expanded.append(segment)
                continue
            per_channel = Fraction(segment.size, dim.full)
            runs = tuple(Segment(r.group, r.full, r.repeat * per_channel) for r in dim.runs)
            expanded += self.expand(runs)
        return tuple(expanded)

    def dim_of(self, segment: Segment) -> Dim | None:
        """Return the dimension of a segment, None if the segment has a fixed size."""
        return None if segment.group is None else self._dims[self.find(segment.group)]

    def make(self, layout: Layout, find_owner: Callable[[str], str]) -> None:
        """Note that an operation makes units of what was the size of a parameter alone.

        Args:
            layout: Of the axis of the result.
            find_owner: From the path of the parameter to what is named after it, if no other
                dimension is.
        """
        for segment in self.expand(layout):
            dim = self.dim_of(segment)
            if dim is None or dim.is_made:
                continue
            dim.is_made = True
            owner = find_owner(dim.name)
            if owner and all(other.name != owner for other in self._dims):
                dim.name = owner

    def is_same(self, first: Segment, second: Segment) -> bool:
        """Say whether two segments belong to the same dimension."""
        if first.group is None or second.group is None:
            return False
        return self.find(first.group) == self.find(second.group)

    def is_fresh(self, segment: Segment) -> bool:
        """Say whether a segment is all of what one layer has just made."""
        dim = self.dim_of(segment)
        return dim is not None and len(dim.members) == 1 and self.is_whole(segment)

    def is_whole(self, segment: Segment) -> bool:
        """Say whether a segment is all of a dimension whose units are single channels."""
        dim = self.dim_of(segment)
        return dim is not None and dim.n_units == dim.full == segment.size and not dim.reasons

    def cut(self, segment: Segment, sizes: Sequence[int], *, is_shared: bool) -> Layout:
        """Cut a dimension into runs that are narrowed each by its own prefix.

        Args:
            segment: All of the dimension; see :meth:`is_whole`.
            sizes: Sizes of the runs.
            is_shared: The runs, of one size, share one width.

        Returns:
            The runs, one segment each.
        """
        dim = self.dim_of(segment)
        assert dim is not None
        assert dim.runs is None
        member, n_before = (*dim.members, dim.name)[0], len(self._dims)
        if is_shared:
            runs = self.add(sizes[0], member, name=dim.name) * len(sizes)
            self._dims[-1].n_runs = dim.n_runs * len(sizes)
        else:
            runs = tuple(
                self.add(size, member, name=f"{dim.name}[{i}]")[0] for i, size in enumerate(sizes)
            )
        for run in self._dims[n_before:]:
            run.members, run.is_made = list(dim.members), dim.is_made
            run.has_heads, run.disorders = dim.has_heads, list(dim.disorders)
        dim.runs = runs
        return runs

    def sizes_by_dimension(self, layout: Layout) -> dict[int | None, int]:
        """Return how many elements of a layout belong to each dimension, at full width."""
        sizes: dict[int | None, int] = {}
        for segment in self.expand(layout):
            root = None if segment.group is None else self.find(segment.group)
            sizes[root] = sizes.get(root, 0) + segment.size
        return sizes

    def join(self, layout: Layout, member: str) -> None:
        """Note that a layer carries the dimensions of a layout without changing them."""
        for segment in self.expand(layout):
            dim = self.dim_of(segment)
            if dim is not None and member not in dim.members:
                dim.members.append(member)

    def freeze(self, layout: Layout, reason: str) -> None:
        """Fix the width of every dimension of a layout; the reason is kept for the user."""
        for segment in self.expand(layout):
            dim = self.dim_of(segment)
            if dim is not None and reason not in dim.reasons:
                dim.reasons.append(reason)

    def coarsen(self, segment: Segment, n_units: int) -> None:
        """Narrow the dimension of a segment by at most so many units, all of one size."""
        for part in self.expand((segment,)):
            dim = self.dim_of(part)
            if dim is not None:
                dim.n_units = math.gcd(dim.n_units, n_units)

    def disorder(self, layout: Layout, reason: str) -> None:
        """Note that the same place is another channel at other widths; the reason is kept."""
        for segment in self.expand(layout):
            dim = self.dim_of(segment)
            if dim is not None and reason not in dim.disorders:
                dim.disorders.append(reason)

    def mark_heads(self, layout: Layout) -> None:
        """Note that the units of a layout are attention heads."""
        for segment in self.expand(layout):
            dim = self.dim_of(segment)
            if dim is not None:
                dim.has_heads = True

    def unify(self, first: Layout, second: Layout, where: str) -> None:
        """Make two layouts share their widths, element by element.

        Layouts that are cut into segments differently cannot share widths: both are frozen.
        """
        first, second = self._align(self.expand(first), self.expand(second))
        if not is_elastic(first) and not is_elastic(second):
            return
        if [segment.size for segment in first] != [segment.size for segment in second]:
            for layout in (first, second):
                self.freeze(layout, f"{where} combines channels that are laid out differently")
            return
        for one, other in zip(first, second, strict=True):
            self._unify_segments(one, other, where)

    def _align(self, first: Layout, second: Layout) -> tuple[Layout, Layout]:
        """Cut a dimension as the layout that it meets is cut: equal runs share a width."""
        if len(first) > len(second):
            return self._align(second, first)[::-1]
        sizes = [segment.size for segment in second]
        if not len(first) == 1 < len(second) or sum(sizes) != first[0].size:
            return first, second
        is_unequal = len(set(sizes)) > 1 or any(self._is_fixed(segment) for segment in second)
        if self.is_fresh(first[0]) if not is_unequal else self.is_whole(first[0]):
            return self.cut(first[0], sizes, is_shared=not is_unequal), second
        return first, second

    def _is_fixed(self, segment: Segment) -> bool:
        dim = self.dim_of(segment)
        return dim is None or bool(dim.reasons) or not dim.is_made

    def _unify_segments(self, one: Segment, other: Segment, where: str) -> None:
        if one.group is None and other.group is None:
            return
        if one.group is None or other.group is None:
            self.freeze((one, other), f"{where} combines it with channels of fixed number")
            return
        keep, gone = sorted((self.find(one.group), self.find(other.group)))
        if keep != gone:
            self._parents[gone] = keep
            kept, merged = self._dims[keep], self._dims[gone]
            if not kept.members:
                kept.name = merged.name
            kept.members += [name for name in merged.members if name not in kept.members]
            kept.reasons += [text for text in merged.reasons if text not in kept.reasons]
            kept.n_units = math.gcd(kept.n_units, merged.n_units)
            kept.is_made = kept.is_made or merged.is_made
            kept.has_heads = kept.has_heads or merged.has_heads
            kept.disorders += [text for text in merged.disorders if text not in kept.disorders]

    def roots(self) -> list[tuple[int, Dim]]:
        """Return every set of dimensions once, in the order of its first layer."""
        return [
            (i, dim)
            for i, dim in enumerate(self._dims)
            if self._parents[i] == i and dim.runs is None
        ]

    def resolve(self, layout: Layout, numbers: dict[int, int]) -> Layout:
        """Replace dimension numbers by group numbers; frozen dimensions become fixed."""
        resolved: list[Segment] = []
        for segment in self.expand(layout):
            root = None if segment.group is None else self.find(segment.group)
            if root is None or root not in numbers:
                resolved += fixed(segment.size)
                continue
            n_units = self._dims[root].n_units
            per_unit = Fraction(segment.size, n_units)
            assert per_unit.denominator == 1, "a unit is cut"
            resolved.append(Segment(numbers[root], n_units, int(per_unit)))
        return merge_fixed(resolved)


def merge_fixed(segments: Sequence[Segment]) -> Layout:
    """Merge neighbouring segments of fixed size."""
    merged: list[Segment] = []
    for segment in segments:
        if merged and segment.group is None and merged[-1].group is None:
            merged[-1] = Segment(None, merged[-1].size + segment.size)
        else:
            merged.append(segment)
    return tuple(merged)
