"""The lines of one ``forward``."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import fx
from torch import nn

from dpod_search.escaping import quote_python
from dpod_search.export.source.functions import Functions
from dpod_search.export.source.graph import Scope
from dpod_search.export.source.graph import TracedGraph
from dpod_search.export.source.layers import write_value
from dpod_search.export.source.layout import Brackets
from dpod_search.export.source.layout import Expression
from dpod_search.export.source.layout import call
from dpod_search.export.source.layout import flatten
from dpod_search.export.source.layout import lay_out
from dpod_search.export.source.layout import list_of
from dpod_search.export.source.layout import prefix
from dpod_search.export.source.layout import tuple_of
from dpod_search.export.source.scopes import TAKEN
from dpod_search.export.source.scopes import Interface
from dpod_search.export.source.scopes import find_interface
from dpod_search.export.source.scopes import is_below


_BINARY: dict[Any, str] = {
    operator.add: "+",
    operator.sub: "-",
    operator.mul: "*",
    operator.truediv: "/",
    operator.floordiv: "//",
    operator.mod: "%",
    operator.pow: "**",
    operator.matmul: "@",
    operator.eq: "==",
    operator.ne: "!=",
    operator.lt: "<",
    operator.le: "<=",
    operator.gt: ">",
    operator.ge: ">=",
    operator.iadd: "+=",
    operator.isub: "-=",
    operator.imul: "*=",
    operator.itruediv: "/=",
}
_FOREVER = 1 << 60


def write_forward(graph: TracedGraph, scope: Scope, functions: Functions) -> list[str]:
    """Return the lines of the method, the first one without indentation.

    Raises:
        CannotWriteError: If an operation cannot be written.
    """
    return _Body(graph, scope, functions).write()


@dataclass(frozen=True)
class _Step:
    """A line: an operation, or the call of an inner module."""

    node: fx.Node | None
    scope: Scope | None
    door: Interface | None

    @property
    def makes(self) -> tuple[fx.Node, ...]:
        if self.door is not None:
            return self.door.results
        return () if self.node is None else (self.node,)


class _Body:
    def __init__(self, graph: TracedGraph, scope: Scope, functions: Functions) -> None:
        self._graph = graph
        self._scope = scope
        self._functions = functions
        self._door = find_interface(graph, scope)
        self._steps = self._find_steps()
        self._inline = self._find_inline()
        self._last: dict[fx.Node, int] = {}
        self._names: dict[fx.Node, str] = {}
        self._lists: dict[tuple[fx.Node, ...], str] = {}
        for index, step in enumerate(self._steps):
            if step.node is None or step.node not in self._inline:
                for read in self._reads(step):
                    self._last[read] = index
        for result in self._results():
            for read in self._expand(result):
                self._last[read] = _FOREVER

    def write(self) -> list[str]:
        """Return the lines."""
        for name, held in self._door.parameters:
            if isinstance(held, tuple):
                self._lists[held] = name
                self._names |= {node: f"{name}[{i}]" for i, node in enumerate(held)}
            else:
                self._names[held] = name
        steps = [(i, s) for i, s in enumerate(self._steps) if s.node not in self._inline]
        written = [self._write_step(index, step) for index, step in steps]
        results, structure = self._results(), self._structure()
        ends_so = bool(steps) and steps[-1][1].makes == results and len(results) == 1
        if structure is not None:
            written.append(("return ", self._write(structure)))
        elif ends_so and written[-1][0].endswith(" = "):
            written[-1] = "return ", written[-1][1]
        else:
            returned = ", ".join(flatten(self._value(node)) for node in results)
            written.append(("return ", returned))
        names = ["self", *(name for name, _ in self._door.parameters)]
        lines = [line for target, e in written for line in lay_out(e, 1, before=target)]
        return [f"def forward({', '.join(names)}):", *lines]

    def _results(self) -> tuple[fx.Node, ...]:
        if self._scope.path or self._graph.whole is not self._scope:
            return self._door.results
        return tuple(self._graph.reads(self._graph.output))

    def _structure(self) -> Any:
        """Return the tuple or dictionary that the whole model returns; None if it is a tensor."""
        returned = self._graph.output.args[0]
        is_whole = self._graph.whole is self._scope
        return None if isinstance(returned, fx.Node) or not is_whole else returned

    def _find_steps(self) -> list[_Step]:
        owner = {node: inner for inner in self._scope.inner for node in inner.nodes}
        steps: list[_Step] = []
        done: set[int] = set()
        for node in self._graph.nodes:
            if node not in self._scope.nodes or node.op in {"get_attr", "output"}:
                continue
            inner = owner.get(node)
            if inner is None:
                steps.append(_Step(node, None, None))
            elif id(inner) not in done:
                done.add(id(inner))
                steps.append(_Step(None, inner, find_interface(self._graph, inner)))
        return steps

    def _find_inline(self) -> set[fx.Node]:
        """Find sizes, and what is only made to take a part of it."""
        inline: set[fx.Node] = set()
        own = {step.node for step in self._steps if step.node is not None}
        results = set(self._results())
        before: fx.Node | None = None
        for step in self._steps:
            node, last, before = step.node, before, step.node
            if node is None or node in results:
                continue
            users = self._users(node)
            if not users <= own:
                continue
            reads = self._graph.reads(node)
            is_shape = node.target is getattr and node.args[1] == "shape"
            takes_part = node.target is operator.getitem
            is_size = takes_part and isinstance(node.args[1], int) and reads[0] in inline
            if is_shape or (is_size and reads[0].op != "call_module"):
                inline.add(node)
            if takes_part and last is not None and last is node.args[0]:
                is_alone = last.op == "call_module" and len(self._users(last)) == 1
                inline |= {last} if is_alone else set()
        return inline

    def _users(self, node: fx.Node) -> set[fx.Node]:
        return {user for user in self._graph.nodes if node in self._graph.reads(user)}

    def _reads(self, step: _Step) -> list[fx.Node]:
        if step.node is not None:
            return [n for read in self._graph.reads(step.node) for n in self._expand(read)]
        assert step.door is not None
        held = [h if isinstance(h, tuple) else (h,) for _, h in step.door.parameters]
        return [n for nodes in held for node in nodes for n in self._expand(node)]

    def _expand(self, node: fx.Node) -> list[fx.Node]:
        if node in self._inline:
            return [n for read in self._graph.reads(node) for n in self._expand(read)]
        return [node]

    def _write_step(self, index: int, step: _Step) -> tuple[str, Expression]:
        """Return what a line assigns to, with its sign, and the value."""
        if step.door is None:
            assert step.node is not None
            return self._write_node(index, step.node)
        assert step.scope is not None
        values = [self._pass(held) for _, held in step.door.parameters]
        expression = call(self._attribute(step.scope.path), *values)
        if not step.door.results:
            return "", expression
        hints = _last_word(step.scope.path)
        names = [self._name_result(index, node, step, hints) for node in step.door.results]
        return f"{', '.join(names)} = ", expression

    def _pass(self, held: fx.Node | tuple[fx.Node, ...]) -> Expression:
        if not isinstance(held, tuple):
            return self._value(held)
        return self._lists.get(held) or list_of([self._value(node) for node in held])

    def _write_node(self, index: int, node: fx.Node) -> tuple[str, Expression]:
        sign = _BINARY.get(node.target) if node.op == "call_function" else None
        if sign is not None and sign.endswith("=") and sign[0] in "+-*/":
            changed = (
                self._graph.resolve(node.args[0]) if isinstance(node.args[0], fx.Node) else None
            )
            name = self._names.get(changed, "") if changed is not None else ""
            if name.isidentifier() and self._last.get(changed, 0) <= index:  # type: ignore[arg-type]
                self._names[node] = name
                return f"{name} {sign} ", self._write(node.args[1])
        expression = self._operation(node)
        if node not in self._last:
            return "", expression
        target = str(node.target) if node.op != "call_function" else ""
        step = _Step(node, None, None)
        hint = "out" if self._is_chained(node) else _last_word(target)
        name = self._name_result(index, node, step, hint)
        return f"{name} = ", expression

    def _is_chained(self, node: fx.Node) -> bool:
        users = list(self._users(node))
        is_in = len(users) == 1 and users[0] in self._scope.nodes
        return is_in and len(self._graph.reads(users[0])) == 1

    def _name_result(self, index: int, node: fx.Node, step: _Step, hint: str) -> str:
        """Choose a variable: that of an input which is not read any more, or a new one."""
        alive = {
            name.partition("[")[0]
            for held, name in self._names.items()
            if self._last.get(held, -1) > index
        }
        for read in self._reads(step):
            old = self._names.get(read, "")
            if old.isidentifier() and old not in alive and old not in self._lists.values():
                self._names[node] = old
                return old
        name, number = hint, 1
        while name in alive or name in TAKEN:
            number += 1
            name = f"{hint}{number}"
        self._names[node] = name
        return name

    def _operation(self, node: fx.Node) -> Expression:
        if node.op == "call_module":
            return call(self._attribute(str(node.target)), *self._arguments(node))
        if node.op == "call_method":
            first, *rest = self._arguments(node)
            return call(f"{flatten(first)}.{node.target}", *rest)
        target: Callable[..., Any] = node.target  # type: ignore[assignment]
        arguments = node.args
        if target is getattr:
            return f"{flatten(self._write(arguments[0]))}.{arguments[1]}"
        if target is operator.getitem:
            return f"{flatten(self._write(arguments[0]))}[{self._index(arguments[1])}]"
        if target is operator.neg:
            return f"-{flatten(self._write(arguments[0]))}"
        sign = _BINARY.get(target)
        if sign is not None and not (sign.endswith("=") and sign[0] in "+-*/"):
            left, right = (flatten(self._write(a)) for a in arguments)
            return f"{left} {sign} {right}"
        return call(self._functions.name(target), *self._arguments(node))

    def _arguments(self, node: fx.Node) -> list[Expression]:
        values = [self._write(argument) for argument in node.args]
        return values + [prefix(f"{k}=", self._write(v)) for k, v in node.kwargs.items()]

    def _write(self, value: Any) -> Expression:
        if isinstance(value, fx.Node):
            return self._value(self._graph.resolve(value))
        if isinstance(value, slice):
            parts = [self._write(p) for p in (value.start, value.stop, value.step)]
            return call("slice", *parts)
        if isinstance(value, tuple | list):
            nodes = tuple(self._graph.resolve(n) for n in value if isinstance(n, fx.Node))
            if nodes and len(nodes) == len(value) and nodes in self._lists:
                return self._lists[nodes]
            items = [self._write(item) for item in value]
            return list_of(items) if isinstance(value, list) else tuple_of(items)
        if isinstance(value, dict):
            keys = [quote_python(key) if isinstance(key, str) else repr(key) for key in value]
            pairs = zip(keys, value.values(), strict=True)
            entries = tuple(prefix(f"{key}: ", self._write(item)) for key, item in pairs)
            return Brackets("{", entries, "}")
        return write_value(value)

    def _index(self, value: Any) -> str:
        if isinstance(value, slice):
            ends = [value.start, value.stop] + ([] if value.step is None else [value.step])
            return ":".join("" if end is None else flatten(self._write(end)) for end in ends)
        if isinstance(value, tuple) and value:
            return ", ".join(map(self._index, value)) + ("," if len(value) == 1 else "")
        return flatten(self._write(value))

    def _value(self, node: fx.Node) -> Expression:
        if node.op == "get_attr" and is_below(str(node.target), self._scope.path):
            return self._attribute(str(node.target))
        if node in self._inline:
            return self._operation(node)
        return self._names[node]

    def _attribute(self, path: str) -> str:
        """Return the code that reads something held by this module."""
        start = self._scope.path
        code = "self"
        for word in path[len(start) + 1 if start else 0 :].split("."):
            module = self._graph.module.get_submodule(start)
            # What is called itself may be written as a class, which has no numbers.
            is_row = isinstance(module, nn.Sequential | nn.ModuleList)
            if is_row and word.isdecimal() and start not in self._graph.called:
                code = f"{code}[{list(module._modules).index(word)}]"
            else:
                code = (
                    f"{code}.{word}"
                    if _is_name(word)
                    else f"getattr({code}, {quote_python(word)})"
                )
            start = f"{start}.{word}" if start else word
            if start == path:
                break
        return code


def _is_name(word: str) -> bool:
    return word.isidentifier() and word not in TAKEN


def _last_word(path: str) -> str:
    word = path.rpartition(".")[2].rstrip("_")
    return word if word.isidentifier() and word not in TAKEN else "out"
