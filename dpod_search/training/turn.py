"""One subnet of a training step, and the context in which the supernet is this subnet."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from contextlib import AbstractContextManager
from contextlib import ExitStack

from dpod_search.errors import TrainingError
from dpod_search.widths import Widths


class Turn:
    """A subnet that a step trains: a context in which the supernet is this subnet.

    Args:
        widths: Of the subnet.
        is_full: It is the full net, which learns from the targets and teaches the others.
        rate: Its learning rate as a share of the step's, > 0: multiply the loss by it.
        n_partial: Partial nets of the step.
        contexts: What is entered meanwhile.
    """

    def __init__(
        self,
        widths: Widths,
        *,
        is_full: bool,
        rate: float,
        n_partial: int,
        contexts: Sequence[Callable[[], AbstractContextManager[None]]] = (),
    ) -> None:
        """Wait to be entered."""
        self.widths = widths
        self.is_full = is_full
        self.rate = rate
        self.n_partial = n_partial
        self.was_run = False
        """Whether it was entered and left."""
        self.contexts = contexts
        """What is entered meanwhile."""
        self._entered: ExitStack | None = None

    def __enter__(self) -> Turn:
        """Make the supernet the subnet."""
        if self._entered is not None:
            raise TrainingError("a turn is entered once, and not again inside itself")
        with ExitStack() as stack:
            for context in self.contexts:
                stack.enter_context(context())
            self._entered = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        """Make it what it was before."""
        assert self._entered is not None
        self._entered.close()
        self.was_run = True
