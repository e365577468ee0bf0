"""What the call of a module takes from around it, and what it gives back."""

from __future__ import annotations

import builtins
import inspect
import keyword
from collections.abc import Sequence
from dataclasses import dataclass

from torch import fx
from torch.utils import _pytree as pytree

from dpod_search.export.source.graph import Scope
from dpod_search.export.source.graph import TracedGraph


@dataclass(frozen=True)
class Interface:
    """A call's door.

    Args:
        parameters: Names with the node, or the nodes of a list, that each stands for.
        results: Nodes inside that are read outside.
    """

    parameters: tuple[tuple[str, fx.Node | tuple[fx.Node, ...]], ...]
    results: tuple[fx.Node, ...]


def find_interface(graph: TracedGraph, scope: Scope) -> Interface:
    """Find what a call reads from outside and what of it is read there."""
    free = _find_free(graph, scope)
    readers = [n for n in graph.nodes if n not in scope.nodes]
    read_outside = {read for node in readers for read in graph.reads(node)}
    results = tuple(
        node
        for node in graph.nodes
        if node in scope.nodes and node in read_outside and node.op != "get_attr"
    )
    parameters: list[tuple[str, fx.Node | tuple[fx.Node, ...]]] = []
    names = _parameter_names(graph, scope)
    left = dict.fromkeys(free)
    for position, argument in enumerate(scope.arguments):
        hint = names[position] if position < len(names) else "x"
        if isinstance(argument, fx.Node):
            node = graph.resolve(argument)
            if node in left or scope is graph.whole:  # which is called with all of them
                parameters.append((_unused(hint, parameters), node))
                left.pop(node, None)
        elif isinstance(argument, tuple | list):
            nodes = tuple(graph.resolve(n) for n in argument if isinstance(n, fx.Node))
            if nodes and len(nodes) == len(argument) and all(node in left for node in nodes):
                parameters.append((_unused(hint, parameters), nodes))
                left = {node: None for node in left if node not in nodes}
    parameters += [(_unused("x", parameters, i), node) for i, node in enumerate(left)]
    return Interface(tuple(parameters), results)


def is_below(target: str, path: str) -> bool:
    """Say whether something with a name stands in a module."""
    return not path or target.startswith(f"{path}.")


def _find_free(graph: TracedGraph, scope: Scope) -> list[fx.Node]:
    free: dict[fx.Node, None] = {}
    for node in graph.nodes:
        if node in scope.nodes:
            for read in graph.reads(node):
                is_held = read.op == "get_attr" and is_below(str(read.target), scope.path)
                if not is_held and (read not in scope.nodes or read.op == "get_attr"):
                    free[read] = None
    for argument in pytree.tree_leaves(scope.arguments):
        if isinstance(argument, fx.Node) and (node := graph.resolve(argument)) in free:
            free.pop(node)
            free[node] = None
    return list(free)


def _parameter_names(graph: TracedGraph, scope: Scope) -> list[str]:
    if scope is graph.whole:
        return [_plain(name) for name in graph.input_names]
    try:
        signature = inspect.signature(graph.module.get_submodule(scope.path).forward)
    except (ValueError, TypeError):
        return []
    return [_plain(name) for name in signature.parameters]


def _plain(name: str) -> str:
    return "x" if name in TAKEN or not name.isidentifier() else name


def _unused(hint: str, taken: Sequence[tuple[str, object]], number: int = 0) -> str:
    names = {name for name, _ in taken}
    while hint in names:
        number += 1
        base = hint.rstrip("0123456789")
        hint = f"{base}{max(number, 2)}"
    return hint


# Names that a variable must not hide.
TAKEN = frozenset(
    {
        *keyword.kwlist,
        *keyword.softkwlist,
        *dir(builtins),
        *("self", "torch", "nn", "F", "math", "operator", "Path", "load_file", "OrderedDict"),
        *("build", "load", "Parts", "Constant", "WEIGHTS"),
    }
)
