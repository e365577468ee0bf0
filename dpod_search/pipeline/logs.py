"""The log of a run: one JSON object a line, appended."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import suppress
from datetime import UTC
from datetime import datetime
from pathlib import Path

from dpod_search.search.store import hide_secrets


class _JsonLines(logging.Formatter):
    def __init__(self, storage: str | None) -> None:
        super().__init__()
        self._storage = storage or ""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": hide_secrets(record.getMessage(), self._storage),
        }
        if record.exc_info:
            # A driver's own words stand in it too, and may repeat the URL it was given.
            trace = self.formatException(record.exc_info)
            line["exception"] = hide_secrets(trace, self._storage)
        return json.dumps(line)


class _QuietFile(logging.FileHandler):
    """A file that is not worth the run: what cannot be written is left out.

    A full disk is told of by whoever writes a result; logging's own word on it is a traceback.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Append a record, if that is possible."""
        with suppress(OSError):  # the file cannot be made
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  (logging's own name)
        """Say what is wrong with a record, unless it is the disk."""
        if not isinstance(sys.exception(), OSError):
            super().handleError(record)

    def close(self) -> None:
        """Close the file; what it still holds back is lost if it cannot be written."""
        with suppress(OSError):
            super().close()


@contextmanager
def log_to(path: Path, storage: str | None = None) -> Iterator[None]:
    """Append what the package logs at INFO and above to a file inside the block.

    There is no file before there is something to log. What cannot be written is left out.

    Args:
        path: The file.
        storage: The storage of the run's study, whose password is not written down.
    """
    logger = logging.getLogger("dpod_search")
    level = logger.level
    handler = _QuietFile(path, encoding="utf-8", delay=True)
    handler.setFormatter(_JsonLines(storage))
    logger.addHandler(handler)
    logger.setLevel(min(level, logging.INFO) if level else logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        handler.close()
