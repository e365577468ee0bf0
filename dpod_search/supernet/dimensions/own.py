"""What a user's own handlers are made of; see docs/handlers.md.

A handler says how channel dimensions pass through an operation. Most are one of those here:
:func:`carry`, :func:`combine` and :func:`slide` as they are, or what :func:`carry_with` and
:func:`freeze` make.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import fx

from dpod_search.errors import ConfigError
from dpod_search.errors import GroupingError
from dpod_search.imports import import_object
from dpod_search.supernet.dimensions.basic import carry
from dpod_search.supernet.dimensions.basic import combine
from dpod_search.supernet.dimensions.spatial import slide
from dpod_search.supernet.dimensions.walk import Axes
from dpod_search.supernet.dimensions.walk import Discovery
from dpod_search.supernet.dimensions.walk import Handler
from dpod_search.supernet.dimensions.walk import freeze_inputs
from dpod_search.supernet.layout import full_size


__all__ = ["carry", "carry_with", "combine", "freeze", "import_handlers", "slide"]


def carry_with(parameters: Mapping[str, int], *, axis: int = 1) -> Handler:
    """Make the handler of a module that works element by element and holds numbers per channel.

    Args:
        parameters: The axis of channels in each of the module's parameters that has one, by the
            parameter's name in the module: ``{"scale": 0}`` for one of shape (C,).
        axis: The axis of channels in what the module is given.

    Returns:
        A handler by which all axes pass, and the parameters are cut as the channels are.
    """
    named = dict(parameters)

    def carry_own(discovery: Discovery, node: fx.Node) -> Axes:
        source = discovery.first_input(node)
        n_axes = len(discovery.shapes[source])
        where = discovery.where(node)
        if not -n_axes <= axis < n_axes:
            raise GroupingError(f"the handler of {where} names axis {axis} of {n_axes} axes")
        channels = discovery.layout(source, axis % n_axes)
        held = dict(discovery.module(node).named_parameters())
        for name, own_axis in named.items():
            shape = tuple(held[name].shape) if name in held else ()
            inside = -len(shape) <= own_axis < len(shape)
            if not inside or shape[own_axis] != full_size(channels):
                got = f"its shape is {shape}" if name in held else "there is no such parameter"
                raise GroupingError(
                    f"the handler of {where} says that axis {own_axis} of {name!r} has the "
                    f"{full_size(channels)} channels of axis {axis}, but {got}"
                )
            path = discovery.path_of_parameter(held[name])
            discovery.keep_parameter(path, {own_axis % len(shape): channels})
        return carry(discovery, node)

    return carry_own


def freeze(does: str) -> Handler:
    """Make the handler of an operation that all dimensions must stay as they are for.

    Args:
        does: What it does, as the reason is to read after its name: "sorts the channels".
    """

    def freeze_own(discovery: Discovery, node: fx.Node) -> Axes:
        return freeze_inputs(discovery, node, does)

    return freeze_own


def import_handlers(path: str | None) -> dict[Any, Handler] | None:
    """Import the table that a study names.

    Args:
        path: ``package.module:name`` of a dictionary of handlers, or None.

    Returns:
        The table, None if none is named. :class:`~dpod_search.supernet.lookup.Handlers` checks it.

    Raises:
        ConfigError: If it cannot be imported or is no dictionary.
    """
    if path is None:
        return None
    found = import_object(path)
    if not isinstance(found, Mapping):
        raise ConfigError(
            f"supernet.handlers must name a dictionary of handlers, {path} is a "
            f"{type(found).__name__}; see docs/handlers.md"
        )
    return dict(found)
