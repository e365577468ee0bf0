"""What the workers of one study need of each other: a lock, and a sign of life.

The simplest of them are threads of one process.
"""

from __future__ import annotations

import secrets
import threading
from abc import ABC
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import field
from typing import ClassVar
from typing import Self
from weakref import WeakKeyDictionary

from optuna.storages import BaseStorage


class Crew(ABC):
    """One worker's place among the workers of a study; a context manager that ends it.

    What a dead process held is free at once, because whoever keeps the lock (the kernel, the
    database server) sees the process go. No clock is involved and nothing times out.
    """

    def __enter__(self) -> Self:
        """Be a worker of the study inside the block."""
        return self

    def __exit__(self, *error: object) -> None:
        """Leave."""
        self.close()

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the study's lock inside a block; only one worker of the study can."""
        self.acquire()
        try:
            yield
        finally:
            self.release()

    @property
    @abstractmethod
    def me(self) -> str:
        """The id of this worker; nobody else has it as long as this worker lives."""

    @abstractmethod
    def acquire(self) -> None:
        """Wait for the study's lock and take it."""

    @abstractmethod
    def release(self) -> None:
        """Give the study's lock back."""

    @abstractmethod
    def find_live(self) -> frozenset[str]:
        """Return the ids of the workers that are alive, this one among them."""

    @abstractmethod
    def close(self) -> None:
        """Give everything back."""


@dataclass
class _Room:
    lock: threading.RLock = field(default_factory=threading.RLock)
    live: set[str] = field(default_factory=set)


class LocalCrew(Crew):
    """Workers that are threads of this process, for storages that others cannot see or lock.

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
