"""What the workers of one study need of each other: a lock, and a sign of life."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from contextlib import contextmanager
from types import TracebackType
from typing import Protocol
from typing import Self


class Crew(Protocol):
    """One worker's place among the workers of a study, from its start to its end.

    What a dead process held is free at once, because whoever keeps the lock (the kernel, the
    database server) sees the process go. No clock is involved and nothing times out.
    """

    @property
    def me(self) -> str:
        """The id of this worker; nobody else has it as long as this worker lives."""

    def lock(self) -> AbstractContextManager[None]:
        """Hold the study's lock inside a block; only one worker of the study can."""

    def find_live(self) -> frozenset[str]:
        """Return the ids of the workers that are alive, this one among them."""

    def close(self) -> None:
        """Give everything back."""


class Membership:
    """Base of crews: the block that ends a membership whatever happens."""

    def __enter__(self) -> Self:
        """Be a worker of the study inside the block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave."""
        self.close()

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the study's lock inside a block."""
        self.acquire()
        try:
            yield
        finally:
            self.release()

    def acquire(self) -> None:
        """Wait for the study's lock and take it."""
        raise NotImplementedError

    def release(self) -> None:
        """Give the study's lock back."""
        raise NotImplementedError

    def close(self) -> None:
        """Give everything back."""
        raise NotImplementedError
