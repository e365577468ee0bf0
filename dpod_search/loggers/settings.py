"""Which loggers a run has."""

from __future__ import annotations

from dataclasses import dataclass

from dpod_search.errors import ConfigError
from dpod_search.errors import check_list
from dpod_search.errors import show
from dpod_search.imports import is_import_path


LOGGER_NAMES = ("tensorboard", "wandb", "mlflow")


@dataclass(frozen=True)
class LoggingSettings:
    """Who else is told of a run, besides its folder.

    Args:
        loggers: ``tensorboard``, ``wandb`` (offline), ``mlflow``, or your own
            ``package.module:Class``; at most 16. They write below ``logs/`` of the run folder, and
            change nothing of the run.

    Raises:
        ConfigError: If one is none of these.
    """

    loggers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the names."""
        check_list("logging.loggers", self.loggers, low=0, high=16)
        for name in self.loggers:
            if name not in LOGGER_NAMES and not is_import_path(name):
                raise ConfigError(
                    f"logging.loggers has {show(name)}, which is none of "
                    f"{', '.join(LOGGER_NAMES)} and no package.module:Class"
                )
