"""Objects named in a study file by import path, as ``package.module:name``."""

from __future__ import annotations

import difflib
import importlib
import inspect
import re
import sys
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dpod_search.errors import ConfigError
from dpod_search.errors import show
from dpod_search.own_code import describe_error
from dpod_search.torchvision_ops import ensure_torchvision
from dpod_search.torchvision_ops import is_unfit_torchvision


_NAME = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*"
_FORM = re.compile(rf"({_NAME}):({_NAME})")


def is_import_path(text: str) -> bool:
    """Tell whether a text has the form ``package.module:name``."""
    return _FORM.fullmatch(text) is not None


def import_object(path: str) -> Any:
    """Import the object an import path names.

    The current directory is importable while this runs, as with ``python -m``, so that a
    study file can name a module that lies beside it.

    Args:
        path: ``package.module:name``; the name may be dotted (``module:Class.method``).

    Returns:
        The object.

    Raises:
        ConfigError: If the path has another form, the module is not found or fails while it is
            imported, or the module has no such name.
    """
    found = _FORM.fullmatch(path)
    if found is None:
        raise ConfigError(f"an import path reads package.module:name, got {show(path)}")
    value = _import_module(path, found[1])
    for name in found[2].split("."):
        try:
            value = getattr(value, name)
        except AttributeError as error:
            near = difflib.get_close_matches(name, dir(value), n=1)
            hint = f"did you mean {near[0]}?" if near else "check its name"
            raise ConfigError(f"{path}: {found[1]} has no {found[2]!r}; {hint}") from error
    return value


def call_with(function: Callable[..., Any], arguments: Mapping[str, Any], *, name: str) -> Any:
    """Call a function with a study file's arguments, checking first that it takes them.

    Args:
        function: What to call.
        arguments: Its keyword arguments.
        name: What the user calls the function, for the message.

    Returns:
        What the function returns; its own errors pass through.

    Raises:
        ConfigError: If it is not callable, or does not take these arguments.
    """
    if not callable(function):
        raise ConfigError(f"{name} must be callable, got a {type(function).__name__}")
    try:
        signature = inspect.signature(function)
    except ValueError:  # some builtins have no signature: they check the call themselves
        signature = None
    try:
        if signature is not None:
            signature.bind(**arguments)
    except TypeError as error:
        raise ConfigError(
            f"{name} cannot be called with arguments {sorted(arguments)}: {error}; "
            f"it takes {', '.join(signature.parameters) if signature else 'others'}"
        ) from error
    return function(**arguments)


def _import_module(path: str, module: str) -> Any:
    try:
        with _current_directory_importable():
            try:
                return importlib.import_module(module)
            except RuntimeError as error:
                if not is_unfit_torchvision(error):
                    raise
            ensure_torchvision()  # which the module imports as anybody would
            return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or module
        if module == missing or module.startswith(f"{missing}."):
            raise ConfigError(
                f"{path}: there is no module {missing!r}; install it, or run from its folder "
                f"(here: {Path.cwd()})"
            ) from error
        raise ConfigError(f"{path}: {module} needs {missing!r}, which is missing") from error
    except Exception as error:  # whatever a user's module raises while it is imported
        raise ConfigError(
            f"{path}: importing {module} failed with {describe_error(error)}"
        ) from error


@contextmanager
def _current_directory_importable() -> Iterator[None]:
    here = str(Path.cwd())
    is_new = here not in sys.path
    if is_new:
        sys.path.insert(0, here)
    # A module written a moment ago is not seen otherwise.
    importlib.invalidate_caches()
    try:
        yield
    finally:
        if is_new and here in sys.path:
            sys.path.remove(here)
