"""Workers that are threads of this process, for storages that others cannot see or lock."""

from __future__ import annotations

import secrets
import threading
from dataclasses import dataclass
from dataclasses import field
from typing import ClassVar
from weakref import WeakKeyDictionary

from optuna.storages import BaseStorage

from dpod_search.search.worker.crew.crew import Membership


@dataclass
class _Room:
    lock: threading.RLock = field(default_factory=threading.RLock)
    live: set[str] = field(default_factory=set)


class LocalCrew(Membership):
    """The workers of one process.

    Args:
        storage: The storage they share; it stands for the process's room.
        study_name: The study.
    """

    _rooms: ClassVar[WeakKeyDictionary[BaseStorage, dict[str, _Room]]] = WeakKeyDictionary()
    _door: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, storage: BaseStorage, study_name: str) -> None:
        self._me = secrets.token_hex(8)
        with self._door:
            rooms = self._rooms.setdefault(storage, {})
            self._room = rooms.setdefault(study_name, _Room())
            self._room.live.add(self._me)

    @property
    def me(self) -> str:
        """The id of this worker."""
        return self._me

    def acquire(self) -> None:
        """Wait for the study's lock and take it."""
        self._room.lock.acquire()

    def release(self) -> None:
        """Give the study's lock back."""
        self._room.lock.release()

    def find_live(self) -> frozenset[str]:
        """Return the ids of all that have not left."""
        return frozenset(self._room.live)

    def close(self) -> None:
        """Leave."""
        self._room.live.discard(self._me)
