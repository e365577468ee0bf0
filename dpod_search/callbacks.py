"""Who is told of each step, trial and stage as it ends: a Protocol, and all of a run's as one.

To be told changes nothing: values are copies, what is drawn meanwhile from a global generator of
the CPU is drawn again afterwards, and what a callback raises is a warning, after which it is left alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from functools import partial
from typing import Protocol

from dpod_search.own_code import describe_error
from dpod_search.rng import drawing_nothing


_logger = logging.getLogger(__name__)

OnStep = Callable[[int, Mapping[str, float]], None]


class Callback(Protocol):
    """Is told of what happens. One with a ``close()`` has it called at the end of a run."""

    def on_step(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Hear of a step of a training, after it.

        Args:
            stage: ``train``; ``finetune``, of one subnet; or ``finetune/<subnet>`` of several.
            step: Its number, from 0. A resumed training tells those after its last checkpoint again.
            values: Learning rate and losses, by name.
        """

    def on_trial(self, number: int, values: Mapping[str, float], fate: str) -> None:
        """Hear of a trial that this process has ended.

        Args:
            number: Its number.
            values: Footprints, and if it completed objectives, by name.
            fate: What became of it: ``evaluated``, ``failed``, or why it was pruned.
        """

    def on_stage(self, name: str, seconds: float, values: Mapping[str, float]) -> None:
        """Hear of a stage that has ended.

        Args:
            name: ``train``, ``search``, ``finetune``, ``finetune/<subnet>``, ``export`` or ``report``.
            seconds: Time it took.
            values: What came of it, by name.
        """


class Callbacks:
    """Several callbacks as one.

    Args:
        callbacks: Who is told, in this order.
    """

    def __init__(self, callbacks: Iterable[Callback] = ()) -> None:
        """Take them; nobody is told yet."""
        self._all = tuple(callbacks)
        self._told = list(self._all)

    def on_step(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Tell all of a step."""
        self._tell(lambda callback: callback.on_step(stage, step, dict(values)))

    def on_trial(self, number: int, values: Mapping[str, float], fate: str) -> None:
        """Tell all of a trial."""
        self._tell(lambda callback: callback.on_trial(number, dict(values), fate))

    def on_stage(self, name: str, seconds: float, values: Mapping[str, float]) -> None:
        """Tell all of a stage."""
        self._tell(lambda callback: callback.on_stage(name, seconds, dict(values)))

    def steps_of(self, stage: str) -> OnStep | None:
        """Return what is to be called with the steps of a stage; None if nobody listens."""
        return partial(self.on_step, stage) if self._told else None

    def close(self) -> None:
        """Close those that can be closed, also if they have failed before."""
        for callback in self._all:
            self._guard(callback, _close)

    def _tell(self, tell: Callable[[Callback], None]) -> None:
        for callback in tuple(self._told):
            if not self._guard(callback, tell):
                self._told.remove(callback)

    def _guard(self, callback: Callback, tell: Callable[[Callback], None]) -> bool:
        try:
            with drawing_nothing():
                tell(callback)
        except Exception as error:  # a user's code, or a full disk: neither is worth the run
            _logger.warning(
                "%s failed and is told nothing more, the work goes on: %s",
                type(callback).__name__,
                describe_error(error),
                exc_info=True,
            )
            return False
        return True


def _close(callback: Callback) -> None:
    close: Callable[[], None] | None = getattr(callback, "close", None)
    if close is not None:
        close()


class OnlyWithin:
    """Tells others what happens within a stage, and leaves it to somebody else to end it.

    Args:
        callback: Who is told.
    """

    def __init__(self, callback: Callback) -> None:
        """Take it."""
        self.on_step = callback.on_step
        self.on_trial = callback.on_trial

    def on_stage(self, name: str, seconds: float, values: Mapping[str, float]) -> None:
        """Keep the end of a stage to itself."""
