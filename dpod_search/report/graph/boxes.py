"""Folding: a graph of operations becomes one of boxes, each a chain that keeps its channels.

A convolution, its norm and its activation are three operations and one box of three rows. What
only computes sizes is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field

from dpod_search.report.graph.inspection import InspectedOperation


_ENDS = ("input", "output")


@dataclass
class Box:
    """A chain of operations that is drawn as one box.

    Args:
        rows: Positions of its operations, in the order of execution.
        sources: Numbers of the boxes that it reads, ascending.
    """

    rows: list[int]
    sources: list[int] = field(default_factory=list)


def fold(operations: Sequence[InspectedOperation]) -> list[Box]:
    """Fold operations into boxes.

    Args:
        operations: In the order of execution.

    Returns:
        Boxes in that order; each reads earlier ones only.
    """
    inputs = _find_tensor_inputs(operations)
    n_readers = [0] * len(operations)
    for sources in inputs.values():
        for source in sources:
            n_readers[source] += 1
    boxes: list[Box] = []
    box_of: dict[int, int] = {}
    for position, sources in inputs.items():
        operation = operations[position]
        chain = sources[0] if len(sources) == 1 else None
        if (
            chain is not None
            and n_readers[chain] == 1
            and not operation.is_maker
            and operation.kind not in _ENDS
            and operations[chain].kind not in _ENDS
            # A tuple takes the groups of what is picked out of it.
            and (operation.groups == operations[chain].groups or operations[chain].shape is None)
        ):
            box_of[position] = box_of[chain]
            boxes[box_of[chain]].rows.append(position)
        else:
            box_of[position] = len(boxes)
            boxes.append(Box([position], sorted({box_of[source] for source in sources})))
    return boxes


def _find_tensor_inputs(operations: Sequence[InspectedOperation]) -> dict[int, list[int]]:
    """Return what every drawn operation reads, without what only computes sizes."""
    carriers = {
        source
        for operation in operations
        if operation.shape is not None and operation.what == "getitem"
        for source in operation.inputs
    }
    drawn = {
        position
        for position, operation in enumerate(operations)
        if operation.shape is not None or operation.kind in _ENDS or position in carriers
    }
    return {
        position: [
            source for source in dict.fromkeys(operations[position].inputs) if source in drawn
        ]
        for position in sorted(drawn)
    }
