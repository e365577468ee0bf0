"""What the picture shows: the operations of a model, its channel groups and frozen dimensions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class InspectedGroup:
    """A channel group, and what it weighs.

    Args:
        name: Path of the first layer that makes it.
        kind: What a unit of its width is: ``channels``, ``heads``, or a whole ``block``.
        full: Full width, in units.
        rungs: Allowed widths, ascending.
        members: Paths of its layers.
        line: ``file:line`` of the user's model; empty if unknown.
        in_layers: Share of the net's ``macs`` and ``params`` that lies in layers which the
            group widens or narrows.
        saves: Share of ``macs`` and ``params`` that its first rung alone saves.
        out_of_order: Why a subnet applies its weights to other channels than the full net; empty
            where it does not.
    """

    name: str
    kind: str
    full: int
    rungs: tuple[int, ...]
    members: tuple[str, ...]
    line: str
    in_layers: Mapping[str, float]
    saves: Mapping[str, float]
    out_of_order: tuple[str, ...] = ()


@dataclass(frozen=True)
class InspectedDimension:
    """A frozen dimension, or a module whose parameters stay as they are.

    Args:
        name: Path of the first layer that makes it, or of the module.
        full: Its width; None where it is not known what that is.
        reasons: Why it cannot be narrowed.
        members: Paths of its layers.
        line: ``file:line`` of the user's model; empty if unknown.
    """

    name: str
    full: int | None
    reasons: tuple[str, ...]
    members: tuple[str, ...]
    line: str


@dataclass(frozen=True)
class InspectedOperation:
    """One operation of the model, in the order of execution.

    Args:
        name: A name of its own.
        what: Path of the module, or name of the function or method.
        kind: ``input``, ``module``, ``function``, ``method``, ``parameter`` or ``output``.
        inputs: Positions of the operations that it reads.
        shape: Shape of its result for one sample; None if that is no tensor.
        groups: Numbers of the channel groups of its result, in the order of its channels.
        blocks: Numbers of the removable blocks that it is in.
        line: ``file:line`` of the user's model; empty if unknown.
        is_maker: It is a layer that makes channels of its own: a convolution, linear layer or attention.
        macs: Of this layer; 0 for what is no layer.
        params: Of this layer; 0 for what is no layer.
    """

    name: str
    what: str
    kind: str
    inputs: tuple[int, ...]
    shape: tuple[int, ...] | None
    groups: tuple[int, ...] = ()
    blocks: tuple[int, ...] = ()
    line: str = ""
    is_maker: bool = False
    macs: int = 0
    params: int = 0


@dataclass(frozen=True)
class Inspection:
    """What discovery found in a model.

    Args:
        title: What was inspected: the name of a study or of a model.
        groups: The channel groups, in the order of the space.
        frozen: The frozen dimensions.
        operations: The model's operations, in the order of execution.
        uncounted: Operations whose macs are not counted.
        full: Footprint of the full net.
        smallest: Footprint of the smallest net.
        n_subnets: Number of different subnets.
    """

    title: str
    groups: tuple[InspectedGroup, ...]
    frozen: tuple[InspectedDimension, ...]
    operations: tuple[InspectedOperation, ...]
    uncounted: tuple[str, ...]
    full: Mapping[str, int]
    smallest: Mapping[str, int]
    n_subnets: int
