"""Which activations are alive together, from a liveness analysis of the traced graph.

The graph runs operation by operation. A tensor's memory begins with the operation that makes it
and ends after the last one that reads it; views and in-place results share memory. The model's
input is there all the time. This is what an executor of the graph needs; PyTorch's eager mode
holds some tensors longer, because variables of the model's code refer to them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from dpod_search.footprint.monomials import FloatArray
from dpod_search.footprint.monomials import Term
from dpod_search.footprint.monomials import all_of
from dpod_search.supernet import Grouping
from dpod_search.supernet import Layout
from dpod_search.supernet import Operation
from dpod_search.supernet import active_size


@dataclass(frozen=True)
class _Tensor:
    """Memory of activations.

    Args:
        made: Position of the operation that makes it.
        last: Position of the last operation that reads it.
    """

    made: int
    last: int


def find_moments(grouping: Grouping) -> list[list[Term]]:
    """Find the moments of a run at which most memory may be held.

    Args:
        grouping: What discovery found; its operations are the graph.

    Returns:
        For each the bytes that are held per sample, as terms. At any widths the largest of these
        sums is the most that is held at once.
    """
    moments = _Liveness(grouping).list_moments()
    columns = {term: i for i, term in enumerate(dict.fromkeys(chain.from_iterable(moments)))}
    counts = np.zeros((len(moments), len(columns)))
    for row, moment in zip(counts, moments, strict=True):
        for term in moment:
            row[columns[term]] += 1
    return [
        [term.scale(int(row[i])) for term, i in columns.items() if row[i]]
        for row in _drop_smaller(np.unique(counts, axis=0))
    ]


class _Liveness:
    """Which tensors are alive at each operation.

    Args:
        grouping: What discovery found.
    """

    def __init__(self, grouping: Grouping) -> None:
        self._operations = grouping.operations
        self._batch_size = grouping.batch_size
        self._tensors = _find_lifetimes(grouping.operations)
        self._block_inputs = _find_block_inputs(grouping.operations, self._tensors)

    def list_moments(self) -> list[list[Term]]:
        """Return what is held at each operation, and inside those that need memory of their own."""
        moments: list[list[Term]] = []
        for position, operation in enumerate(self._operations):
            alive = [t for t in self._tensors if t.made <= position <= t.last]
            held = [self._term(tensor, operation, alive) for tensor in alive]
            moments.append(held)
            for scratch in operation.scratch:
                kept = [
                    term
                    for tensor, term in zip(alive, held, strict=True)
                    if (scratch.has_result or tensor.made != position)
                    and (scratch.has_inputs or tensor.last != position)
                ]
                gate = all_of(operation.blocks)
                inside = [
                    Term(constant / self._batch_size, layouts, gate, scratch.if_equal)
                    for constant, layouts in scratch.terms
                ]
                moments.append(kept + inside)
        return moments

    def _term(self, tensor: _Tensor, at: Operation, alive: Sequence[_Tensor]) -> Term:
        """Return the bytes of a tensor at an operation.

        Inside a block, all that it makes is gone with the block. Outside, its result is then its
        input, which counts once.
        """
        operation = self._operations[tensor.made]
        gate: list[tuple[int, ...]] = []
        for block in operation.blocks:
            if block in at.blocks:
                gate.append((block,))
            elif chain := self._blocks_since(block, alive):
                gate.append(chain)
        per_sample = operation.itemsize / (
            self._batch_size if _has_batch(operation.axes, self._batch_size) else 1
        )
        return Term(per_sample, operation.axes, tuple(gate))

    def _blocks_since(self, block: int, alive: Sequence[_Tensor]) -> tuple[int, ...]:
        """Return a block and those in front of it, back to the last tensor that is alive.

        Without all of them the block's result is that tensor. Empty if there is none.
        """
        missing = [block]
        while (source := self._block_inputs.get(missing[-1])) is not None:
            if source in alive:
                return tuple(sorted(missing))
            before = [b for b in self._operations[source.made].blocks if b not in missing]
            if not before:
                break
            missing.append(before[0])
        return ()


def _drop_smaller(counts: FloatArray) -> FloatArray:
    """Leave out rows, all different, that another one is nowhere below: they never decide."""
    kept = [(row <= counts).all(axis=1).sum() == 1 for row in counts]  # only itself
    rest: FloatArray = counts[kept]
    return rest


def _find_lifetimes(operations: Sequence[Operation]) -> list[_Tensor]:
    owners: dict[int, int] = {}  # operation -> the one that made its memory
    last: dict[int, int] = {}
    for position, operation in enumerate(operations):
        for source in operation.inputs:
            if source in owners:
                last[owners[source]] = position
        if operation.kind == "parameter" or not operation.itemsize:
            continue
        if operation.reuses is None:
            owners[position] = position
            last[position] = position
        elif operation.reuses in owners:
            owners[position] = owners[operation.reuses]
            last[owners[position]] = position
    for position, operation in enumerate(operations):
        if operation.kind == "input" and position in last:
            last[position] = len(operations) - 1
    return [_Tensor(made, end) for made, end in last.items()]


def _find_block_inputs(
    operations: Sequence[Operation], tensors: Sequence[_Tensor]
) -> dict[int, _Tensor]:
    """Return the memory that each block reads from outside of it."""
    inputs: dict[int, _Tensor] = {}
    for tensor in tensors:
        made = operations[tensor.made]
        for operation in operations[tensor.made + 1 : tensor.last + 1]:
            outer = [b for b in operation.blocks if b not in made.blocks and b not in inputs]
            if outer and _reads(operations, operation, tensor.made):
                inputs.update(dict.fromkeys(outer, tensor))
    return inputs


def _reads(operations: Sequence[Operation], operation: Operation, made: int) -> bool:
    for source in operation.inputs:
        place: int | None = source
        while place is not None and place != made:
            place = operations[place].reuses
        if place == made:
            return True
    return False


def _has_batch(axes: Sequence[Layout], batch_size: int) -> bool:
    """Say whether a tensor has an axis for the batch, in front or after the tokens."""
    full = [active_size(axis, ()) for axis in axes[:2] if all(s.group is None for s in axis)]
    return bool(full) and (full[0] % batch_size == 0 or batch_size in full)
