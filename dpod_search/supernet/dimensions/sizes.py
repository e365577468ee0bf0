"""What a size in the model's code stands for: which layout ``x.shape[1] // self.n_heads`` has.

A subnet runs the user's own code, so every size in it must come out right at every width: it is
inferred (-1), computed from the shape of a tensor, or read from an integer attribute, of which a
subnet gets its own value. A number written into the code fits the full width only.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from torch import fx

from dpod_search.supernet.dimensions.dims import DimTable
from dpod_search.supernet.layout import Layout
from dpod_search.supernet.layout import Segment
from dpod_search.supernet.layout import fixed
from dpod_search.supernet.layout import full_size
from dpod_search.supernet.layout import is_elastic
from dpod_search.supernet.layout import scale
from dpod_search.supernet.tracing.tracer import argument
from dpod_search.supernet.tracing.tracer import name_of
from dpod_search.supernet.tracing.tracked import Attribute
from dpod_search.supernet.tracing.tracked import TrackedInt


@dataclass(frozen=True)
class Quotient:
    """One size divided by another of a different dimension, such as channels by heads."""

    dividend: Layout
    divisor: Layout


Meaning = Layout | Quotient | None


class Sizes:
    """Reads sizes in the model's code, and notes which attributes stand for which layouts.

    Args:
        dims: The dimensions that sizes are of.
        shapes: Shape of every tensor of the graph.
        find_layout: Gives the layout of one axis of a tensor.
    """

    def __init__(
        self,
        dims: DimTable,
        shapes: Mapping[fx.Node, tuple[int, ...]],
        find_layout: Callable[[fx.Node, int], Layout],
    ) -> None:
        """Start with no attribute known."""
        self.attributes: dict[Attribute, Layout] = {}
        self._dims = dims
        self._shapes = shapes
        self._find_layout = find_layout

    def bind(self, size: Any, layout: Layout, where: str) -> bool:
        """Make a size agree with the layout of the axis that it is given for.

        Args:
            size: -1, a number, a tracked number, the node that computes it, or a layout.
            layout: Of the axis.
            where: Names the operation, for reasons.

        Returns:
            Whether the axis can change its size; False for a number of the code's own.
        """
        if isinstance(size, int) and size == -1:
            return True
        if isinstance(size, TrackedInt) and isinstance(size.origin, Attribute):
            return self._bind_attribute(size.origin, layout, where)
        meaning = self.read(size)
        if isinstance(meaning, Quotient):
            if is_elastic(layout):
                return False
            # Channels per head, say: the same at every width if both keep the same share.
            wanted = scale(meaning.divisor, Fraction(full_size(layout)))
            self._dims.unify(meaning.dividend, wanted, where)
            return True
        if meaning is None:
            return not is_elastic(layout) or self.follows_widths(size)
        if not is_elastic(meaning):
            return not is_elastic(layout)
        if self._dims.sizes_by_dimension(meaning) != self._dims.sizes_by_dimension(layout):
            self._dims.unify(meaning, layout, where)
        return True

    def can_follow(self, size: Any) -> bool:
        """Say whether a size may change with the widths: it is no number of the code's own."""
        if isinstance(size, TrackedInt):
            return True
        return self.follows_widths(size)

    def _bind_attribute(self, attribute: Attribute, layout: Layout, where: str) -> bool:
        known = self.attributes.setdefault(attribute, layout)
        self._dims.unify(known, layout, f"{where} with {attribute}")
        return True

    def read_width(self, size: Any) -> Layout:
        """Return the layout that a number stands for which makes an axis, empty if there is none.

        An attribute that stands for nothing yet may turn out to be a width: it gets a dimension,
        which keeps its size unless a layer makes what it meets.
        """
        origin = size.origin if isinstance(size, TrackedInt) else None
        if isinstance(origin, Attribute) and origin not in self.attributes:
            self.attributes[origin] = self._dims.add_number(int(size), str(origin))
        meaning = self.read(size)
        return meaning if isinstance(meaning, tuple) else ()

    def read(self, size: Any, *, trusts_attributes: bool = False) -> Meaning:
        """Return the layout that a size stands for; None if that is not known.

        Args:
            size: -1, a number, a tracked number, or the node that computes it.
            trusts_attributes: Take attributes that stand for nothing yet as plain numbers.
        """
        if isinstance(size, TrackedInt):
            if isinstance(size.origin, Attribute):
                unknown = fixed(int(size)) if trusts_attributes else None
                return self.attributes.get(size.origin, unknown)
            return self._compute(size.origin.operation, size.origin.operands, trusts_attributes)
        if isinstance(size, int):
            return fixed(size)
        if isinstance(size, tuple):
            # The layout itself, of an axis of a tensor whose shape is read; or several sizes.
            is_layout = all(isinstance(segment, Segment) for segment in size)
            return self._dims.expand(size) if is_layout else None
        if not isinstance(size, fx.Node) or size in self._shapes:
            return None
        return self._read_node(size, trusts_attributes)

    def _read_node(self, size: fx.Node, trusts_attributes: bool) -> Meaning:
        read = axis_read(size)
        if read is not None:
            whole, axis = read
            return self._find_layout(whole, axis % len(self._shapes[whole]))
        element = self.find_element(size)
        if element is not size:
            return self.read(element, trusts_attributes=trusts_attributes)
        if size.op == "call_function" and size.target in _ARITHMETIC:
            return self._compute(_ARITHMETIC[size.target], size.args, trusts_attributes)
        return None

    def find_element(self, size: Any) -> Any:
        """Return what a size is that is taken out of a row of sizes; else the size as it is."""
        if not isinstance(size, fx.Node) or size in self._shapes or axis_read(size) is not None:
            return size
        if name_of(size) != "getitem" or not isinstance(size.args[1], int):
            return size
        row = None if size.args[0] in self._shapes else self.list_row(size.args[0])
        return size if row is None else row[size.args[1]]

    def list_row(self, sizes: Any) -> list[Any] | None:
        """Return a row of sizes one by one; None if it is no such row.

        Args:
            sizes: A tuple, the shape of a tensor or the tensor itself, a part of a row, or two joined.
        """
        if isinstance(sizes, Sequence) and not isinstance(sizes, str):
            return list(sizes)
        if not isinstance(sizes, fx.Node):
            return None
        whole = sizes.args[0] if reads_shape(sizes) else sizes
        if isinstance(whole, fx.Node) and whole in self._shapes:
            return [self._find_layout(whole, axis) for axis in range(len(self._shapes[whole]))]
        if name_of(sizes) == "getitem" and isinstance(sizes.args[1], slice):
            row, part = self.list_row(sizes.args[0]), sizes.args[1]
            bounds = (part.start, part.stop, part.step)
            is_known = all(bound is None or isinstance(bound, int) for bound in bounds)
            return row[part] if row is not None and is_known else None
        if name_of(sizes) == "add":
            first, second = map(self.list_row, sizes.args)
            return None if first is None or second is None else [*first, *second]
        return None

    def follows_widths(self, size: Any) -> bool:
        """Say whether a size changes with the widths: -1, or computed from such a size."""
        if not isinstance(size, fx.Node):
            return isinstance(size, int) and size == -1
        if size in self._shapes:
            return False
        meaning = self.read(size)
        if meaning is not None:
            return isinstance(meaning, Quotient) or is_elastic(meaning)
        return any(self.follows_widths(source) for source in size.all_input_nodes)

    def _compute(
        self, operation: Callable[..., Any], operands: tuple[Any, ...], trusts_attributes: bool
    ) -> Meaning:
        if len(operands) != 2:
            return None
        first, second = (
            self.read(operand, trusts_attributes=trusts_attributes) for operand in operands
        )
        if not isinstance(first, tuple) or not isinstance(second, tuple):
            return None
        if not is_elastic(first) and not is_elastic(second):
            value = int(operation(full_size(first), full_size(second)))
            return fixed(value) if value >= 0 else None
        if operation is operator.mul:
            return _multiply(first, second)
        if operation is operator.floordiv:
            return self._divide(first, second)
        return None

    def _divide(self, first: Layout, second: Layout) -> Meaning:
        if not is_elastic(second):
            factor = Fraction(1, full_size(second))
            return scale(first, factor) if _has_whole_parts(first, factor) else None
        if not is_elastic(first) or len(first) != 1 or len(second) != 1:
            return None
        if self._dims.is_same(first[0], second[0]) and not first[0].size % second[0].size:
            return fixed(first[0].size // second[0].size)
        return Quotient(first, second)


# What may stand between sizes; true division of sizes gives no size.
_ARITHMETIC: dict[Any, Callable[..., Any]] = {
    operation: operation
    for operation in (operator.mul, operator.floordiv, operator.add, operator.sub)
}


def axis_read(size: fx.Node) -> tuple[fx.Node, int] | None:
    """Return the tensor and the axis whose size a node reads, if that is what it does."""
    whole = size.args[0] if size.args else None
    if not isinstance(whole, fx.Node):
        return None
    which = argument(size, 1, "dim", None)
    if name_of(size) == "getitem" and reads_shape(whole):
        whole = whole.args[0]
    elif name_of(size) != "size":
        return None
    if not isinstance(whole, fx.Node) or not isinstance(which, int):
        return None
    return whole, which


def reads_shape(node: fx.Node) -> bool:
    """Say whether a node reads the whole shape of a tensor."""
    name = name_of(node)
    is_size = name == "size" and len(node.args) == 1 and not node.kwargs
    return is_size or (name == "getattr" and node.args[1] == "shape")


def _multiply(first: Layout, second: Layout) -> Layout | None:
    if is_elastic(first) and is_elastic(second):
        return None
    varying, constant = (first, second) if is_elastic(first) else (second, first)
    return scale(varying, Fraction(full_size(constant)))


def _has_whole_parts(layout: Layout, factor: Fraction) -> bool:
    return all((segment.size * factor).denominator == 1 for segment in layout)
