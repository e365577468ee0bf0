"""Where the study of a run is kept, if it is not in the run folder: ``storage.json``."""

from __future__ import annotations

from typing import ClassVar

from pydantic.dataclasses import dataclass

from dpod_search.records.record import FileRecord
from dpod_search.records.record import Flag
from dpod_search.records.record import Text


@dataclass(frozen=True, kw_only=True)
class KeptStorage(FileRecord):
    """The storage that a run was last given: ``storage.json``.

    Args:
        url: Its URL, or the path of a journal, as it was given; a password in it is ``***``.
        has_secret: Whether a password was left out.
        file: The file of a journal or of SQLite, relative to the run folder if it lies in it; None
            if it has none.
    """

    FILE: ClassVar[str] = "storage.json"

    url: Text
    has_secret: Flag = False
    file: Text | None = None
