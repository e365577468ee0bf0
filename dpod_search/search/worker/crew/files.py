"""Workers on one machine: locks on files beside the journal or the SQLite database."""

from __future__ import annotations

import secrets
from contextlib import suppress
from pathlib import Path

from filelock import FileLock
from filelock import Timeout

from dpod_search.errors import ConfigError
from dpod_search.files import hash_value
from dpod_search.search.store import POLL_SECONDS
from dpod_search.search.worker.crew.crew import Crew


class FileCrew(Crew):
    """Workers that see the same files.

    Args:
        file: The journal or the database; locks lie beside it in ``<file>.locks``.
        study_name: The study; several studies in one file do not disturb each other.

    Raises:
        ConfigError: If the locks cannot be made.
    """

    def __init__(self, file: Path, study_name: str) -> None:
        self._folder = file.with_name(f"{file.name}.locks")
        digest = hash_value(study_name)[:8]
        self._prefix = f"worker-{digest}-"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._study = FileLock(self._folder / f"study-{digest}.lock")
            self._me, self._own = self._register()
        except OSError as error:
            raise ConfigError(
                f"{self._folder} cannot be written ({error.strerror or error}); "
                "keep the study in a folder that can be written to"
            ) from error

    @property
    def me(self) -> str:
        """The id of this worker."""
        return self._me

    def acquire(self) -> None:
        """Wait for the study's lock and take it."""
        self._study.acquire(poll_interval=POLL_SECONDS)

    def release(self) -> None:
        """Give the study's lock back."""
        self._study.release()

    def find_live(self) -> frozenset[str]:
        """Try every worker's lock: one that can be taken is a dead worker's."""
        live = {self._me}
        for path in self._folder.glob(f"{self._prefix}*.lock"):
            name = path.stem.removeprefix(self._prefix)
            if name != self._me and not _remove_if_free(path):
                live.add(name)
        return frozenset(live)

    def close(self) -> None:
        """Leave; the file goes too."""
        _remove(self._path(self._me))
        self._own.release()

    def _register(self) -> tuple[str, FileLock]:
        while True:
            name = secrets.token_hex(8)
            own = FileLock(self._path(name))
            own.acquire(poll_interval=POLL_SECONDS)
            # Between the making of the file and its lock another worker may have taken it for
            # a dead one's and deleted it; it does so only while it holds the lock itself.
            if self._path(name).exists():
                return name, own
            own.release()

    def _path(self, name: str) -> Path:
        return self._folder / f"{self._prefix}{name}.lock"


def _remove_if_free(path: Path) -> bool:
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    _remove(path)
    lock.release()
    return True


def _remove(path: Path) -> None:
    with suppress(OSError):  # Windows does not delete what is open; a leftover does no harm
        path.unlink()
