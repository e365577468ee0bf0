"""Functions by the names that the written file knows them by, or copied into it."""

from __future__ import annotations

import ast
import builtins
import inspect
import operator
import sys
import textwrap
import types
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from dpod_search.export.source.layers import CannotWriteError
from dpod_search.export.source.layers import write_value
from dpod_search.export.source.layout import flatten


# Where functions are looked up, and the line that imports each place.
_PLACES: tuple[tuple[str, Any, str], ...] = (
    ("torch", torch, "import torch"),
    ("F", F, "import torch.nn.functional as F"),
    ("torch.linalg", torch.linalg, "import torch"),
    ("torch.fft", torch.fft, "import torch"),
    ("torch.special", torch.special, "import torch"),
    ("operator", operator, "import operator"),
)


class Functions:
    """The functions of one file.

    Attributes:
        imports: Lines that import what is used.
        copied: Source of what was copied, by name, in the order of use.
    """

    def __init__(self) -> None:
        """Start with none."""
        self.imports: set[str] = set()
        self.copied: dict[str, str] = {}
        self._objects: dict[str, object] = {}

    def name(self, function: Callable[..., Any]) -> str:
        """Return what the file calls a function, and see that it is there.

        Raises:
            CannotWriteError: If it is neither PyTorch's nor plain Python.
        """
        word = getattr(function, "__name__", "")
        if getattr(builtins, word, None) is function:
            return word
        for place, module, line in _PLACES:
            if getattr(module, word, None) is function:
                self.imports.add(line)
                return f"{place}.{word}"
        if getattr(sys.modules.get("math"), word, None) is function:
            self.imports.add("import math")
            return f"math.{word}"
        return self._copy(function)

    def _copy(self, function: Any) -> str:
        name = getattr(function, "__name__", type(function).__name__)
        if self._objects.get(name) is function:
            return str(name)
        if isinstance(function, type):
            raise CannotWriteError(f"it makes a {name}, a class that the file would not have")
        if not isinstance(function, types.FunctionType) or not name.isidentifier():
            raise CannotWriteError(f"the function {name} is not written in Python")
        if name in self._objects or function.__closure__:
            raise CannotWriteError(f"the function {name} cannot be copied from where it stands")
        try:
            source = textwrap.dedent(inspect.getsource(function))
            tree = ast.parse(source).body[0]
        except (OSError, SyntaxError, TypeError) as error:
            raise CannotWriteError(f"the source of the function {name} is not there") from error
        if not isinstance(tree, ast.FunctionDef) or tree.decorator_list:
            raise CannotWriteError(f"the function {name} cannot be copied from where it stands")
        self._objects[name] = function
        self._import_names(function, tree)
        note = f"# Copied from {function.__module__}, whose licence holds for it.\n"
        self.copied[name] = note + source.rstrip()
        return str(name)

    def _import_names(self, function: types.FunctionType, tree: ast.FunctionDef) -> None:
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        for name in sorted(names & set(function.__globals__)):
            self._import_name(name, function.__globals__[name])

    def _import_name(self, name: str, value: Any) -> None:
        if isinstance(value, types.ModuleType):
            as_name = "" if value.__name__ == name else f" as {name}"
            parent, _, last = value.__name__.rpartition(".")
            is_from = last == name and parent
            line = (
                f"from {parent} import {name}" if is_from else f"import {value.__name__}{as_name}"
            )
            self._check_home(value.__name__)
            self.imports.add(line)
        elif isinstance(value, types.FunctionType) and not _is_public(value):
            if self._copy(value) != name:
                raise CannotWriteError(f"the function {value.__name__} goes by the name {name}")
        elif hasattr(value, "__module__") and hasattr(value, "__name__"):
            home = value.__module__
            home = "torch" if getattr(torch, name, None) is value else home
            self._check_home(home)
            self.imports.add(f"from {home} import {name}")
        else:
            self.copied[name] = f"{name} = {flatten(write_value(value))}"

    @staticmethod
    def _check_home(home: str) -> None:
        root = home.partition(".")[0]
        if root != "torch" and root not in sys.stdlib_module_names:
            raise CannotWriteError(f"code that is copied would need {root}")


def _is_public(function: types.FunctionType) -> bool:
    root = function.__module__.partition(".")[0]
    return root == "torch" or root in sys.stdlib_module_names
