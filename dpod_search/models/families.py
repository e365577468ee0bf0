"""What a library of models is to a study: how one of its nets is built, and where weights lie."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from typing import Protocol

from torch import nn

from dpod_search.errors import ConfigError


class Builder(Protocol):
    """Builds one net of a library."""

    def __call__(
        self,
        name: str,
        *,
        input_shape: tuple[int, int, int],
        n_classes: int,
        arguments: Mapping[str, Any],
    ) -> nn.Module:
        """Build a net.

        Args:
            name: What stands behind the library's in ``model.name``.
            input_shape: Channels, height and width of a picture.
            n_classes: Outputs of the head.
            arguments: The study's ``model.arguments``.

        Raises:
            ConfigError: If the library is missing, has no such net, or refuses the arguments.
            CheckpointError: If weights are to be loaded, and are missing or do not fit.
        """


def _is_never_trained(_name: str, _arguments: Mapping[str, Any]) -> bool:
    return False


def _list_nothing(_name: str, _arguments: Mapping[str, Any]) -> tuple[Path, ...]:
    return ()


@dataclass(frozen=True)
class InputSize:
    """The pictures that a net of a library was made for.

    Args:
        size: Height and width, in pixels.
        is_fixed: Whether it takes no others, whatever its weights.
    """

    size: int
    is_fixed: bool = False


def _know_no_size(
    _name: str, _arguments: Mapping[str, Any], _file: Path | None
) -> InputSize | None:
    return None


def name_a_file(_name: str, _arguments: Mapping[str, Any]) -> str:
    """Say where trained weights may come from with any model."""
    return "name their file in model.weights, or train for at least one epoch"


@dataclass(frozen=True)
class Family:
    """A library of models.

    Args:
        build: Builds one of its nets.
        is_trained: Whether a net comes with trained weights, by its name and arguments.
        list_files: The files that such a net is made of, by its name and arguments.
        find_size: Which size of pictures a net is made for, or its weights were trained at, by its
            name, its arguments and the file of its weights; None where nothing says so.
        advise: What to do where trained weights are wanted and a net comes with none, or what is
            wrong with its name; for messages.
    """

    build: Builder
    is_trained: Callable[[str, Mapping[str, Any]], bool] = _is_never_trained
    list_files: Callable[[str, Mapping[str, Any]], tuple[Path, ...]] = _list_nothing
    find_size: Callable[[str, Mapping[str, Any], Path | None], InputSize | None] = _know_no_size
    advise: Callable[[str, Mapping[str, Any]], str] = name_a_file


def check_extra(package: str, name: str) -> None:
    """Raise unless an optional package is installed.

    Args:
        package: The package, and the extra that brings it.
        name: The model that needs it, for the message.

    Raises:
        ConfigError: If it is missing.
    """
    if importlib.util.find_spec(package) is None:
        raise ConfigError(
            f"model {name} needs {package}, which is missing; "
            f'install it: pip install "dpod-search[{package}]"'
        )


def check_fixed(arguments: Mapping[str, Any], fixed: set[str], name: str) -> None:
    """Raise if ``model.arguments`` holds what comes from elsewhere.

    Raises:
        ConfigError: If it does.
    """
    held = sorted(fixed & set(arguments))
    if held:
        raise ConfigError(
            f"model.arguments must not hold {held} for {name}; channels and classes come from the "
            "data, weights of a file from model.weights"
        )


def is_pretrained(arguments: Mapping[str, Any], *, default: bool) -> bool:
    """Return ``model.arguments.pretrained``.

    Raises:
        ConfigError: If it is neither true nor false.
    """
    value = arguments.get("pretrained", default)
    if not isinstance(value, bool):
        raise ConfigError("model.arguments.pretrained must be true or false")
    return value
