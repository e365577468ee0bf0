"""What discovery finds: channel groups, frozen dimensions, and a plan for every layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from typing import Literal

from torch import nn

from dpod_search.supernet.layout import Layout
from dpod_search.supernet.layout import active_size
from dpod_search.supernet.layout import is_elastic


WeightKind = Literal["conv", "linear", "norm", "attention", "recurrent"]
GroupKind = Literal["channels", "heads", "block"]
OperationKind = Literal["input", "module", "function", "method", "parameter", "output"]


@dataclass(frozen=True)
class ChannelGroup:
    """Tensor dimensions that must share one width; or a residual block, which is there or not.

    Args:
        name: Path of the first layer that makes the dimension, or of the block.
        full_width: Full width, in units; 1 for a block.
        members: Paths of all the layers that make or carry it, or that are in the block.
        unit: Channels of its first layer in a unit: 1, or more where a grouped layer needs whole
            groups or attention whole heads. Widths count units.
        kind: What its units are.
        out_of_order: Why weights are not shared in order, with the line of the user's model: a
            subnet has the first weights of each layer, and they are applied to other channels than
            in the full net. Empty where they are to the same.
    """

    name: str
    full_width: int
    members: tuple[str, ...]
    unit: int = 1
    kind: GroupKind = "channels"
    out_of_order: tuple[str, ...] = ()


@dataclass(frozen=True)
class FrozenDimension:
    """A dimension that keeps its full width.

    Args:
        name: Path of the first layer that makes the dimension; or of a module with parameters that
            makes none which is followed.
        full_width: Its width; None where it is not known what that is.
        reasons: Why it cannot be narrowed, with the line of the user's model where known.
        members: Paths of all the layers that make or carry it.
    """

    name: str
    full_width: int | None
    reasons: tuple[str, ...]
    members: tuple[str, ...] = ()


@dataclass(frozen=True)
class MatrixPlan:
    """One of the weights of a layer that has several.

    Args:
        name: Name of the parameter in the layer.
        bias: Name of the vector with an element for each row, empty if there is none.
        rows: Layout of its first axis: the units that it makes.
        columns: Layout of its second axis: the units that it reads.
        n_positions: By how many vectors per sample it is multiplied, over all calls of the layer.
    """

    name: str
    bias: str
    rows: Layout
    columns: Layout
    n_positions: int


@dataclass(frozen=True)
class LayerPlan:
    """One layer with weights: all that slicing it and counting its cost need.

    Args:
        name: Path of the layer in the user's model.
        kind: What its weight is: of pairs of channels, with a kernel or without; a number or two for
            each channel; or of several kinds in one.
        output: Layout of its output channels.
        weight_input: Layout of dimension 1 of its weight (of size 1 if depthwise or norm).
        n_positions: Output positions per sample (height x width, say), over all its calls.
        kernel_numel: Kernel elements per pair of input and output channel; 0 for a norm.
        n_vectors: Parameters per output channel besides the weight of a convolution or linear
            layer: its bias, or the scale and shift of a norm.
        n_statistics: Floating-point buffers per output channel (mean and variance of a norm).
        itemsize: Bytes of one element of its parameters.
        blocks: Groups of the removable blocks that it is in.
        given: What its calls give it besides tokens, of an attention.
        matrices: The weights of a layer that has several; ``kernel_numel`` is then 0, and
            ``n_vectors`` counts what is none of theirs.
    """

    name: str
    kind: WeightKind
    output: Layout
    weight_input: Layout
    n_positions: int
    kernel_numel: int
    n_vectors: int
    n_statistics: int
    itemsize: int
    blocks: tuple[int, ...] = ()
    given: frozenset[str] = frozenset()
    matrices: tuple[MatrixPlan, ...] = ()

    @property
    def layouts(self) -> tuple[Layout, ...]:
        """The layouts of all its axes, inside it too."""
        inner = (axis for matrix in self.matrices for axis in (matrix.rows, matrix.columns))
        return (self.output, self.weight_input, *inner)

    @property
    def is_elastic(self) -> bool:
        """Whether any axis of it can be narrowed."""
        return any(map(is_elastic, self.layouts))


@dataclass(frozen=True)
class ParameterPlan:
    """A parameter that the model's own code reads, outside any layer; or a filter in a buffer.

    Args:
        name: Path of the parameter.
        axes: Layout of each of its axes.
        itemsize: Bytes of one element.
        blocks: Groups of the removable blocks that it is in.
        is_learnt: It is a parameter, and no buffer.
    """

    name: str
    axes: tuple[Layout, ...]
    itemsize: int
    blocks: tuple[int, ...] = ()
    is_learnt: bool = True

    @property
    def is_elastic(self) -> bool:
        """Whether any axis of it can be narrowed."""
        return any(is_elastic(layout) for layout in self.axes)


@dataclass(frozen=True)
class ProductPlan:
    """A product of two tensors of the model, queries by keys for instance: macs without weights.

    Args:
        where: What it is, and the user's line.
        node: Name of its operation in the graph.
        constant: Product of the sizes that are fixed, those of the example's batch among them.
        batch_size: Samples in the example.
        factors: Layouts of the axes that can be narrowed; macs are ``constant / batch_size``
            times the product of their sizes.
        blocks: Groups of the removable blocks that it is in.
    """

    where: str
    node: str
    constant: int
    batch_size: int
    factors: tuple[Layout, ...]
    blocks: tuple[int, ...] = ()


@dataclass(frozen=True)
class AttributePlan:
    """An integer of a module of the user's that is a width, and narrow in a subnet.

    Args:
        module: Path of the module.
        name: Name of the attribute.
        size: What it counts.
        index: Which element of it, where it is a tuple.
    """

    module: str
    name: str
    size: Layout
    index: int | None = None

    def fill(self, value: Any, widths: Sequence[int]) -> Any:
        """Return the attribute as it is at the given widths, of what it is otherwise."""
        size = active_size(self.size, widths)
        if self.index is None:
            return size
        return (*value[: self.index], size, *value[self.index + 1 :])


@dataclass(frozen=True)
class BlockPlan:
    """A residual block that a subnet can do without.

    Args:
        path: Path of the block in the model.
        group: Its group; at width 0 the block is removed.
        leaves_list: Removed, it is taken out of the list that holds it; else an identity is left.
    """

    path: str
    group: int
    leaves_list: bool = False


@dataclass(frozen=True)
class Scratch:
    """Memory that an operation holds at one moment besides its inputs and its result.

    Args:
        terms: Bytes of the example's batch: constants, each with the layouts of axes that it is
            multiplied by.
        has_result: The result is there already.
        has_inputs: What the operation is the last to read is still there.
        if_equal: The moment exists only where these two have the same size; always if None.
    """

    terms: tuple[tuple[float, tuple[Layout, ...]], ...]
    has_result: bool
    has_inputs: bool = True
    if_equal: tuple[Layout, Layout] | None = None


@dataclass(frozen=True)
class Operation:
    """One operation of the traced model, in the order of execution.

    Args:
        name: Name of its node in the graph.
        what: Path of the module it calls, or name of the function or method.
        kind: How it is called.
        inputs: Positions of the operations it reads.
        axes: Layout of every axis of its result, the batch first; empty if it is no tensor.
        line: ``file:line`` of the user's code, empty where it is not known.
        itemsize: Bytes of one element of its result; 0 if it is no tensor.
        reuses: Position of the operation in whose memory its result lies: of a view, or of what
            it changed in place.
        scratch: What it holds inside for a while, besides its inputs.
        blocks: Groups of the removable blocks that it is in.
    """

    name: str
    what: str
    kind: OperationKind
    inputs: tuple[int, ...]
    axes: tuple[Layout, ...]
    line: str
    itemsize: int
    reuses: int | None = None
    scratch: tuple[Scratch, ...] = ()
    blocks: tuple[int, ...] = ()


@dataclass(frozen=True)
class Grouping:
    """What discovery found in a model.

    Args:
        groups: The elastic channel groups, and after them the removable blocks.
        frozen: What stays as it is, each with its reasons: the dimensions, and before them what
            has parameters that no plan covers.
        layers: A plan for every layer that is understood.
        parameters: A plan for every parameter that the model's own code reads.
        products: The products of two tensors.
        attributes: The integers of the user's modules that are widths.
        blocks: The removable blocks.
        operations: The graph, in the order of execution.
        batch_size: Samples in the example that the graph was traced with.
        uncounted: Operations whose macs no closed form covers (their parameters are counted).
        runs_channels_last: The model runs on channels-last tensors, which are faster.
    """

    groups: tuple[ChannelGroup, ...]
    frozen: tuple[FrozenDimension, ...]
    layers: tuple[LayerPlan, ...]
    parameters: tuple[ParameterPlan, ...]
    products: tuple[ProductPlan, ...]
    attributes: tuple[AttributePlan, ...]
    blocks: tuple[BlockPlan, ...]
    operations: tuple[Operation, ...]
    batch_size: int
    uncounted: tuple[str, ...]
    runs_channels_last: bool = True


def plan_layer(
    name: str, module: nn.Module, weight_input: Layout, output: Layout, n_positions: int
) -> LayerPlan:
    """Read off a layer all that its plan needs."""
    own = dict(module.named_parameters(recurse=False))
    weight = own.get("weight")
    is_norm = weight is None or weight.dim() < 2
    kernel = getattr(module, "kernel_size", ())
    buffers = [b for b in module.buffers(recurse=False) if b.is_floating_point()]
    return LayerPlan(
        name=name,
        kind="norm" if is_norm else "conv" if kernel else "linear",
        output=output,
        weight_input=weight_input,
        n_positions=n_positions,
        kernel_numel=0 if is_norm else math.prod(kernel),
        n_vectors=len(own) if is_norm else len(own) - 1,
        n_statistics=len(buffers),
        itemsize=next((t.element_size() for t in (*own.values(), *buffers)), 4),
    )
