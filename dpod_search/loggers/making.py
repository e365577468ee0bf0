"""The loggers that a study names, made for a run."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dpod_search.callbacks import Callbacks
from dpod_search.errors import ConfigError
from dpod_search.imports import call_with
from dpod_search.imports import import_object
from dpod_search.loggers.logger import Logger
from dpod_search.loggers.mlflow import MlflowLogger
from dpod_search.loggers.settings import LOGGER_NAMES
from dpod_search.loggers.tensorboard import TensorBoardLogger
from dpod_search.loggers.wandb import WandbLogger
from dpod_search.own_code import own_code


_KINDS: Mapping[str, type[Logger]] = MappingProxyType(
    dict(zip(LOGGER_NAMES, (TensorBoardLogger, WandbLogger, MlflowLogger), strict=True))
)
_METHODS = ("on_step", "on_trial", "on_stage")


def make_loggers(
    names: Sequence[str], folder: Path, *, name: str, settings: Mapping[str, str]
) -> Callbacks:
    """Make loggers, each with a folder of its own; nothing is written before there is something.

    Args:
        names: As :class:`LoggingSettings` has them.
        folder: Where their folders will lie.
        name: What the run is called.
        settings: Settings of the run, to be shown beside the figures.

    Raises:
        ConfigError: If a library is not installed, or an own class cannot be made or is no callback.
    """
    made = []
    for kind in names:
        make: Any = _KINDS.get(kind) or import_object(kind)
        place = folder / (kind if kind in _KINDS else kind.partition(":")[2])
        arguments = {"folder": place, "name": name, "settings": dict(settings)}
        with own_code(f"logger {kind}", ConfigError):
            logger = call_with(make, arguments, name=kind)
        for method in _METHODS:
            if not callable(getattr(logger, method, None)):
                raise ConfigError(
                    f"logger {kind} must have the methods {', '.join(_METHODS)}; it lacks {method}"
                )
        made.append(logger)
    return Callbacks(made)
