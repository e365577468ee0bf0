"""What the loggers of all libraries have in common: names of figures, and when a log is opened."""

from __future__ import annotations

import abc
import importlib
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any
from typing import Self

from dpod_search.errors import ConfigError
from dpod_search.errors import tell_first_line


class Logger(abc.ABC):
    """A callback that writes into a log, which it opens when it is first told something.

    Figures are named ``train/loss``, ``finetune/12/lr``, ``search/evaluated/macs`` after stage or fate;
    those of the end of a stage ``stages/train/seconds``.

    Args:
        folder: Where it writes; made when it is needed.
        name: What the run is called.
        settings: Settings of the run, to be shown beside the figures.

    Raises:
        ConfigError: If its library is not installed.
    """

    def __init__(
        self, folder: Path | str, *, name: str = "dpod", settings: Mapping[str, str] | None = None
    ) -> None:
        """Import the library; nothing is written yet."""
        self.folder = Path(folder)
        self.name = name
        self.settings = dict(settings or {})
        self._is_open = False
        self._load()

    def on_step(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Write the figures of a step."""
        self._write(stage, step, {f"{stage}/{name}": value for name, value in values.items()})

    def on_trial(self, number: int, values: Mapping[str, float], fate: str) -> None:
        """Write the figures of a trial, under its fate."""
        named = {f"search/{fate}/{name}": value for name, value in values.items()}
        self._write(f"search/{fate}", number, named)

    def on_stage(self, name: str, seconds: float, values: Mapping[str, float]) -> None:
        """Write what came of a stage, and all that was held back."""
        figures = {"seconds": seconds, **values}
        self._write("stages", 0, {f"stages/{name}/{key}": v for key, v in figures.items()})
        self._flush()

    def close(self) -> None:
        """Write what was held back, and end the log."""
        if self._is_open:
            self._is_open = False
            self._end()

    def __enter__(self) -> Self:
        """Go on; the block closes the log."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the log."""
        self.close()

    def _write(self, stage: str, step: int, figures: Mapping[str, float]) -> None:
        if not self._is_open:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._begin()
            self._is_open = True
        self._put(stage, step, {name: float(value) for name, value in figures.items()})

    @abc.abstractmethod
    def _load(self) -> None:
        """Import the library."""

    @abc.abstractmethod
    def _begin(self) -> None:
        """Begin the log, or go on with it; the folder is there."""

    @abc.abstractmethod
    def _put(self, stage: str, step: int, figures: Mapping[str, float]) -> None:
        """Write figures of one step of one stage."""

    @abc.abstractmethod
    def _flush(self) -> None:
        """Write what was held back."""

    @abc.abstractmethod
    def _end(self) -> None:
        """End the log."""


def import_extra(module: str, extra: str) -> Any:
    """Import a library that an extra of the package brings.

    Raises:
        ConfigError: If it is not there, or cannot be imported.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its own parts, which no user of ours can change
            return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"the logger {extra} cannot be used ({tell_first_line(error)}); install it: "
            f'pip install "dpod-search[{extra}]"'
        ) from error
