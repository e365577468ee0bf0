"""What width programs start from, kept: ``importance.json`` and ``seeds.json``."""

from __future__ import annotations

from typing import ClassVar

from pydantic.dataclasses import dataclass

from dpod_search.records.record import Count
from dpod_search.records.record import FileRecord
from dpod_search.records.record import Number
from dpod_search.records.record import Positive
from dpod_search.records.record import Record
from dpod_search.records.record import Text
from dpod_search.records.search import Widths


@dataclass(frozen=True, kw_only=True)
class LayerImportance(Record):
    """What the units matter that one layer makes.

    Args:
        layer: Its path.
        group: Index of the channel group that it widens.
        scores: One for each unit, >= 0; those of all layers add up to 1.
        blocks: Indices of the residual blocks that it lies in.
    """

    layer: Text
    group: Count
    scores: tuple[Number, ...]
    blocks: tuple[Count, ...]


@dataclass(frozen=True, kw_only=True)
class Importance(FileRecord):
    """The importance of a trained supernet's units: ``importance.json``.

    It is written by ``search``, if width programs are asked for.

    Args:
        key: A hash of all that it depends on.
        criterion: What it was measured by.
        full_widths: Full width of each channel group; None for a block.
        layers: The scores, by layer.
    """

    FILE: ClassVar[str] = "importance.json"

    key: Text
    criterion: Text
    full_widths: tuple[Positive | None, ...]
    layers: tuple[LayerImportance, ...]


@dataclass(frozen=True, kw_only=True)
class Seed(Record):
    """A subnet that a search begins with; ``source`` is who proposed it."""

    source: Text
    widths: Widths


@dataclass(frozen=True, kw_only=True)
class Seeds(FileRecord):
    """The subnets that a search with width programs begins with: ``seeds.json``.

    Args:
        key: A hash of all that they depend on.
        seeds: The subnets, in their order.
    """

    FILE: ClassVar[str] = "seeds.json"

    key: Text
    seeds: tuple[Seed, ...]
