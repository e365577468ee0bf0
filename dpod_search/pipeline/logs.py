"""The log of a run: one JSON object a line, appended."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC
from datetime import datetime
from pathlib import Path


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


@contextmanager
def log_to(path: Path) -> Iterator[None]:
    """Append what the package logs at INFO and above to a file inside the block.

    There is no file before there is something to log.
    """
    logger = logging.getLogger("dpod_search")
    level = logger.level
    handler = logging.FileHandler(path, encoding="utf-8", delay=True)
    handler.setFormatter(_JsonLines())
    logger.addHandler(handler)
    logger.setLevel(min(level, logging.INFO) if level else logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        handler.close()
