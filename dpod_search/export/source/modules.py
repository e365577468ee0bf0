"""The tree of a model's modules as nested calls, and the classes that these need."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor
from torch import fx
from torch import nn

from dpod_search.escaping import quote_python
from dpod_search.export.source.forward import write_forward
from dpod_search.export.source.functions import Functions
from dpod_search.export.source.graph import Scope
from dpod_search.export.source.graph import TracedGraph
from dpod_search.export.source.layers import CannotWriteError
from dpod_search.export.source.layers import write_layer
from dpod_search.export.source.layers import write_value
from dpod_search.export.source.layout import Brackets
from dpod_search.export.source.layout import Expression
from dpod_search.export.source.layout import call
from dpod_search.export.source.layout import list_of
from dpod_search.export.source.layout import prefix
from dpod_search.export.source.layout import tuple_of
from dpod_search.export.source.scopes import TAKEN
from dpod_search.export.source.scopes import find_interface


_MAX_CONSTANT = 256  # numbers of a constant that is no part of the weights


class Modules:
    """Writes the modules of one model.

    Args:
        graph: The model's graph.
        functions: Where functions are noted that the classes call.

    Attributes:
        classes: The lines of each class, by name, inner ones before those around them.
    """

    def __init__(self, graph: TracedGraph, functions: Functions) -> None:
        """Sort the calls by module."""
        self.classes: dict[str, list[str]] = {}
        self._graph = graph
        self._functions = functions
        self._scopes: dict[str, list[Scope]] = {}
        self._sort(graph.whole)
        self._by_text: dict[tuple[str, ...], str] = {}
        self._called = {str(n.target) for n in graph.nodes if n.op == "call_module"}
        self._read = {str(n.target) for n in graph.nodes if n.op == "get_attr"}
        self._paths: dict[int, str] = {}

    def _sort(self, scope: Scope) -> None:
        self._scopes.setdefault(scope.path, []).append(scope)
        for inner in scope.inner:
            self._sort(inner)

    def write(self, path: str = "") -> Expression:
        """Return the call that makes a module with all that it holds.

        Raises:
            CannotWriteError: If something in it cannot be written.
        """
        module = self._graph.module.get_submodule(path)
        first = self._paths.setdefault(id(module), path)
        if first != path:
            raise CannotWriteError(f"{first} and {path} are one and the same module")
        scopes = self._scopes.get(path, [])
        if not scopes:
            return self._write_uncalled(path, module)
        parts = self._write_parts(path, module)
        note = self._describe(scopes[-1])
        if self._is_chain(path, module):
            return _make_sequential(parts, note)
        name = self._find_class(path, module, scopes)
        return call(name, *_as_arguments(parts), comment=note)

    def _write_uncalled(self, path: str, module: nn.Module) -> Expression:
        """Write a layer, what holds others in a list, or what does nothing in evaluation mode."""
        is_called = path in self._called
        if is_called or (
            type(module).__module__.startswith("torch.nn.modules")
            and not isinstance(module, nn.Sequential | nn.ModuleList | nn.ModuleDict)
        ):
            return write_layer(module)
        parts = self._write_parts(path, module)
        if not parts:
            return call("nn.Identity")
        if isinstance(module, nn.ModuleList) and all(name.isdecimal() for name, _ in parts):
            return call("nn.ModuleList", list_of([part for _, part in parts]))
        if isinstance(module, nn.Sequential):
            return _make_sequential(parts, "")
        return call("Parts", *_as_arguments(parts))

    def _write_parts(self, path: str, module: nn.Module) -> list[tuple[str, Expression]]:
        parts: list[tuple[str, Expression]] = []
        for name, parameter in module._parameters.items():
            if parameter is not None:
                blank = call("torch.empty", *_sizes(parameter), *_dtype(parameter))
                parts.append((name, call("nn.Parameter", blank, *_frozen(parameter))))
        for name, buffer in module._buffers.items():
            if buffer is not None and name not in module._non_persistent_buffers_set:
                parts.append((name, call("torch.empty", *_sizes(buffer), *_dtype(buffer))))
        inside = f"{path}." if path else ""
        for name in self._constants(module, inside):
            value = getattr(module, name)
            parts.append((name, _write_constant(value, inside + name)))
        for name, child in module._modules.items():
            if child is not None:
                parts.append((name, self.write(inside + name)))
        return parts

    def _constants(self, module: nn.Module, inside: str) -> list[str]:
        """Return names of tensors that the graph reads and the weights do not hold."""
        own = [t[len(inside) :] for t in sorted(self._read) if t.startswith(inside)]
        own = [name for name in own if "." not in name and name not in module._modules]
        held = {*module._parameters, *module._buffers} - module._non_persistent_buffers_set
        return [name for name in own if name not in held]

    def _is_chain(self, path: str, module: nn.Module) -> bool:
        """Say whether a module's calls only run its children in a row."""
        if not isinstance(module, nn.Sequential):
            return False
        if type(module).forward is not nn.Sequential.forward or module._parameters:
            return False
        for scope in self._scopes[path]:
            value = _only_parameter(self._graph, scope)
            inner = {i.path: i for i in scope.inner}
            nodes = {str(n.target): n for n in scope.nodes if n.op == "call_module"}
            for name in module._modules:
                child = f"{path}.{name}" if path else name
                if child in inner:
                    if value is None or _only_parameter(self._graph, inner[child]) is not value:
                        return False
                    results = find_interface(self._graph, inner[child]).results
                    value = results[0] if len(results) == 1 else None
                elif child in nodes:
                    if self._graph.reads(nodes[child]) != [value]:
                        return False
                    value = nodes[child]
            if find_interface(self._graph, scope).results != (value,):
                return False
        return True

    def _find_class(self, path: str, module: nn.Module, scopes: Sequence[Scope]) -> str:
        texts = [write_forward(self._graph, scope, self._functions) for scope in scopes]
        if any(text != texts[0] for text in texts):
            raise CannotWriteError(f"{path} is called in ways that differ")
        kind = re.sub(r"\W", "_", type(module).__name__)
        key = (kind, *texts[0])
        if key not in self._by_text:
            name, number = kind, 1
            while name in self.classes or name in TAKEN:
                number += 1
                name = f"{kind}{number}"
            self._by_text[key] = name
            body = [f"    {line}".rstrip() for line in texts[0]]
            self.classes[name] = [f"class {name}(Parts):", *body]
        return self._by_text[key]

    def _describe(self, scope: Scope) -> str:
        results = find_interface(self._graph, scope).results
        shapes = [self._graph.shapes.get(node) for node in results]
        known = [shape[1:] for shape in shapes if shape is not None and len(shape) > 1]
        if not known or len(known) != len(shapes) or not scope.path:
            return ""
        return "makes " + ", ".join(" x ".join(map(str, shape)) for shape in known)


def _only_parameter(graph: TracedGraph, scope: Scope) -> fx.Node | None:
    parameters = find_interface(graph, scope).parameters
    if len(parameters) != 1 or isinstance(parameters[0][1], tuple):
        return None
    return parameters[0][1]


def _make_sequential(parts: Sequence[tuple[str, Expression]], note: str) -> Expression:
    if [name for name, _ in parts] == [str(i) for i in range(len(parts))]:
        return call("nn.Sequential", *(part for _, part in parts), comment=note)
    pairs = [tuple_of([quote_python(name), part]) for name, part in parts]
    return call("nn.Sequential", call("OrderedDict", list_of(pairs)), comment=note)


def _as_arguments(parts: Sequence[tuple[str, Expression]]) -> list[Expression]:
    plain = [prefix(f"{name}=", part) for name, part in parts if _is_argument(name)]
    odd = [
        prefix(f"{quote_python(name)}: ", part) for name, part in parts if not _is_argument(name)
    ]
    return [*plain, Brackets("**{", tuple(odd), "}")] if odd else plain


def _is_argument(name: str) -> bool:
    return name.isidentifier() and name not in {"self", *TAKEN}


def _sizes(tensor: Tensor) -> list[str]:
    return [str(size) for size in tensor.shape] or ["()"]


def _dtype(tensor: Tensor) -> list[str]:
    return [] if tensor.dtype == torch.float32 else [f"dtype={tensor.dtype}"]


def _frozen(parameter: Tensor) -> list[str]:
    is_floating = parameter.is_floating_point() or parameter.is_complex()
    return [] if is_floating else ["requires_grad=False"]


def _write_constant(value: object, path: str) -> Expression:
    if not isinstance(value, Tensor):
        raise CannotWriteError(f"{path} is a {type(value).__name__}, no tensor")
    if value.numel() > _MAX_CONSTANT:
        raise CannotWriteError(
            f"{path} is a tensor of {value.numel()} numbers that is no part of the weights"
        )
    numbers = write_value(value.tolist()) if value.dim() else write_value(value.item())
    return call("Constant", numbers, f"dtype={value.dtype}")
