"""Widths, rungs and rounding: what a subnet is, without any tensor.

A subnet is one active width per channel group. The widths a group may take are its
*rungs*: rounded from width ratios, ascending, ending at the full width. A group that is a
removable block has the rungs 0, removed, and 1.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from dpod_search.errors import ConfigError
from dpod_search.errors import check_count
from dpod_search.errors import check_range
from dpod_search.showing import Sheet
from dpod_search.showing import Shown


DEFAULT_RATIOS = tuple(i / 8 for i in range(1, 9))
BLOCK_RUNGS = (0, 1)  # of a block that can be removed

IntArray = npt.NDArray[np.int64]


def round_width(full: int, ratio: float, multiple: int = 1) -> int:
    """Turn a width ratio into a width: ``max(1, ceil(ratio * full))``, rounded up.

    Args:
        full: Full width of the group, >= 1.
        ratio: Width ratio in (0, 1].
        multiple: Round up to a multiple of this, but never past ``full``.

    Returns:
        A width in [1, full].
    """
    # The small slack keeps 0.7 * 10 = 7.000000000000001 from becoming 8.
    width = max(1, math.ceil(ratio * full - 1e-9))
    return min(full, -(-width // multiple) * multiple)


@dataclass(frozen=True, repr=False)
class Widths(Shown, Mapping[str, int]):
    """One active width per channel group: the whole description of a subnet.

    Args:
        names: Names of the channel groups, in the order of the space.
        active: Active width of each, in units of that group (channels, mostly).
    """

    names: tuple[str, ...]
    active: tuple[int, ...]

    def __getitem__(self, name: str) -> int:
        """Return the active width of a group."""
        return self._by_name[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the groups."""
        return iter(self.names)

    def __len__(self) -> int:
        """Return the number of groups."""
        return len(self.names)

    def __str__(self) -> str:
        """Return the widths alone, as ``4:8:16``."""
        return ":".join(map(str, self.active))

    def _describe(self) -> Sheet:
        rows = [(name, str(width)) for name, width in self.items()]
        more = f" and {len(rows) - 1} more" if len(rows) > 1 else ""
        facts = [(str(self), f"of {self.names[0]}{more}")] if rows else []
        return Sheet("Widths", facts, ("group", "width"), rows, is_brief=True)

    def __hash__(self) -> int:
        """Hash by names and widths."""
        return hash((self.names, self.active))

    def __eq__(self, other: object) -> bool:
        """Compare names and widths, or equal any other mapping item by item."""
        if isinstance(other, Widths):
            return (self.names, self.active) == (other.names, other.active)
        return Mapping.__eq__(self, other)

    def replace(self, name: str, width: int) -> Widths:
        """Return these widths with one group changed."""
        index = self.names.index(name)
        return Widths(self.names, (*self.active[:index], width, *self.active[index + 1 :]))

    @cached_property
    def _by_name(self) -> dict[str, int]:
        return dict(zip(self.names, self.active, strict=True))


def lies_in(widths: Widths, other: Widths) -> bool:
    """Say whether no group of some widths is wider than in others of their space."""
    return all(a <= b for a, b in zip(widths.active, other.active, strict=True))


@dataclass(frozen=True)
class WidthSpace:
    """All the widths a supernet can run at.

    Args:
        names: Names of the channel groups.
        rungs: For each group the allowed widths, strictly ascending; the last is the full one.
        inside: For blocks, the groups that exist inside that block only. Without the block their
            widths mean nothing; see :meth:`canonical`.

    Raises:
        ConfigError: If the rungs of a group are empty, below 1 (those of a block: other than 0
            and 1) or not ascending, or ``inside`` names no block or no group.
    """

    names: tuple[str, ...]
    rungs: tuple[tuple[int, ...], ...]
    inside: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def __post_init__(self) -> None:
        """Check the rungs once; everything after trusts them."""
        for name, rungs in zip(self.names, self.rungs, strict=True):
            if rungs == BLOCK_RUNGS:
                continue
            if not rungs or rungs[0] < 1 or list(rungs) != sorted(set(rungs)):
                raise ConfigError(f"rungs of {name} must ascend from 1 or more, got {rungs}")
        for block, names in self.inside:
            if block not in self.names or self.rungs[self.names.index(block)] != BLOCK_RUNGS:
                raise ConfigError(f"{block} has groups inside, but is no block of the space")
            if unknown := set(names) - set(self.names):
                raise ConfigError(f"groups inside {block} are not of the space: {sorted(unknown)}")

    @classmethod
    def from_ratios(
        cls,
        full_widths: Mapping[str, int],
        ratios: Sequence[float] = DEFAULT_RATIOS,
        multiple: int = 1,
        *,
        blocks: Collection[str] = (),
        inside: Mapping[str, Sequence[str]] | None = None,
    ) -> WidthSpace:
        """Build the space from full widths and one ladder of ratios for all groups.

        Args:
            full_widths: Full width of each group.
            ratios: Width ratios, each 1e-6 to 1, 1 to 1,000 of them; 1 is added if it is missing.
            multiple: Round widths up to a multiple of this, 1 to 10,000.
            blocks: Names of the groups that are blocks: removed or there, 0 or 1.
            inside: By block, the groups that exist inside it only.

        Raises:
            ConfigError: If a ratio is out of range, there are none, or ``multiple`` is
                out of range.
        """
        check_count("number of ratios", len(ratios), low=1, high=1_000)
        for ratio in ratios:
            check_range("width ratios", ratio, low=1e-6, high=1)
        check_count("multiple", multiple, low=1, high=10_000)
        rungs = tuple(
            BLOCK_RUNGS
            if name in blocks
            else tuple(sorted({round_width(full, ratio, multiple) for ratio in (*ratios, 1.0)}))
            for name, full in full_widths.items()
        )
        pairs = ((block, tuple(names)) for block, names in (inside or {}).items())
        return cls(tuple(full_widths), rungs, tuple(pairs))

    @property
    def n_subnets(self) -> int:
        """Number of choices of widths (exact; may be huge).

        Choices that differ only inside removed blocks count each, though they are one subnet.
        """
        return math.prod(len(rungs) for rungs in self.rungs)

    @property
    def full(self) -> Widths:
        """Widths of the full net."""
        return Widths(self.names, tuple(rungs[-1] for rungs in self.rungs))

    @property
    def smallest(self) -> Widths:
        """Widths of the smallest subnet, the floor."""
        return Widths(self.names, tuple(rungs[0] for rungs in self.rungs))

    @property
    def n_rungs(self) -> tuple[int, ...]:
        """Number of rungs of each group."""
        return tuple(len(rungs) for rungs in self.rungs)

    def from_rungs(self, indices: Sequence[int] | IntArray) -> Widths:
        """Return the widths at rung indices, 0 being the narrowest rung of a group."""
        pairs = zip(self.rungs, indices, strict=True)
        return Widths(self.names, tuple(rungs[int(index)] for rungs, index in pairs))

    def to_rungs(self, widths: Widths) -> tuple[int, ...]:
        """Return the rung index of every group; inverse of :meth:`from_rungs`.

        Raises:
            ConfigError: If the widths are not of this space.
        """
        self.check(widths)
        return tuple(
            rungs.index(width) for rungs, width in zip(self.rungs, widths.active, strict=True)
        )

    def check(self, widths: Widths) -> None:
        """Raise unless the widths belong to this space.

        Raises:
            ConfigError: If a group is missing or unknown, or a width is not one of its rungs.
        """
        if widths.names != self.names:
            odd = sorted(set(widths.names) ^ set(self.names))
            what = str(odd) if odd else f"they must stand in the order {list(self.names)}"
            raise ConfigError(f"widths do not name the groups of this supernet: {what}")
        for name, rungs, width in zip(self.names, self.rungs, widths.active, strict=True):
            if width not in rungs:
                raise ConfigError(f"width {width} of {name} is not one of its rungs {rungs}")

    def make(self, widths: Mapping[str, int]) -> Widths:
        """Return checked :class:`Widths` from any mapping of group names to widths.

        Raises:
            ConfigError: As :meth:`check`.
        """
        names = tuple(sorted(widths, key=self._position))
        made = Widths(names, tuple(widths[name] for name in names))
        self.check(made)
        return Widths(names, tuple(map(int, made.active)))  # NumPy's integers print otherwise

    def canonical(self, widths: Widths) -> Widths:
        """Return the one choice that stands for all those of the same subnet.

        Args:
            widths: Of this space.

        Returns:
            The widths with the groups inside removed blocks at their narrowest rungs, blocks in
            blocks removed.
        """
        missing = [inner for block, inner in self._inner.items() if not widths.active[block]]
        if not missing:
            return widths
        active = list(widths.active)
        for index in set().union(*missing):
            active[index] = self.rungs[index][0]
        return Widths(self.names, tuple(active))

    def canonical_rungs(self, indices: IntArray) -> IntArray:
        """Do what :meth:`canonical` does to many subnets at once.

        Args:
            indices: Rung indices as :meth:`from_rungs` takes them, shape (n, n_groups).

        Returns:
            A new array of that shape.
        """
        rungs = np.array(indices)
        # A removed block is at its rung 0, and so is what it hides.
        hidden = (indices == 0).astype(np.float64) @ self._hides
        rungs[hidden > 0] = 0
        return rungs

    def uniform(self, ratio: float) -> Widths:
        """Return, in every group, the widest rung not above ``ratio`` of the full width.

        Blocks are kept, but for a ratio of 0.
        """
        values = []
        for rungs in self.rungs:
            if rungs == BLOCK_RUNGS:
                values.append(int(ratio > 0))
                continue
            fitting = [width for width in rungs if width <= ratio * rungs[-1] + 1e-9]
            values.append(fitting[-1] if fitting else rungs[0])
        return Widths(self.names, tuple(values))

    def sample(self, rng: np.random.Generator) -> Widths:
        """Draw widths with every rung of every group equally likely."""
        return self.from_rungs([int(rng.integers(n)) for n in self.n_rungs])

    def to_json(self) -> list[dict[str, Any]]:
        """Return the groups as JSON values: name, full width, rungs, and the blocks around it."""
        groups: list[dict[str, Any]] = []
        for name, rungs in zip(self.names, self.rungs, strict=True):
            groups.append({"name": name, "full": rungs[-1], "rungs": list(rungs)})
            if around := [block for block, names in self.inside if name in names]:
                groups[-1]["inside"] = around
        return groups

    def _position(self, name: str) -> tuple[int, str]:
        known = name in self.names
        return (self.names.index(name) if known else len(self.names), name)

    @cached_property
    def _inner(self) -> dict[int, frozenset[int]]:
        # By index of each block, what goes with it: also what is inside of blocks inside of it.
        own = {
            self.names.index(block): frozenset(map(self.names.index, names))
            for block, names in self.inside
        }
        inner = dict.fromkeys(own, frozenset[int]())
        for block in own:
            pending = [block]
            while pending:
                new = own.get(pending.pop(), frozenset()) - inner[block]
                inner[block] |= new
                pending += new
        return inner

    @cached_property
    def _hides(self) -> npt.NDArray[np.float64]:
        # Entry (i, j): without block i group j means nothing. Floats, since BLAS has no integers.
        hides = np.zeros((len(self.names), len(self.names)))
        for block, inner in self._inner.items():
            hides[block, list(inner)] = 1
        return hides
