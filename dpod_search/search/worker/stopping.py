"""How long a search may go on: trials, evaluated subnets, seconds, or until it no longer gains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dpod_search.quantities import number
from dpod_search.search.settings import SearchSettings


MIN_RISE = 1e-3  # of the front's hypervolume, over the evaluated subnets of a stall


@dataclass(frozen=True)
class Budget:
    """The limits of a search; the first that is reached ends it.

    It looks at numbers alone, so that a study that has ended goes on once a limit is raised.

    Args:
        n_trials: Finished trials in all.
        n_evaluated: Evaluated subnets in all, or None.
        seconds: Seconds of searching in all, or None.
        stall: Evaluated subnets in a row that may gain next to nothing, or None.
    """

    n_trials: int
    n_evaluated: int | None = None
    seconds: float | None = None
    stall: int | None = None

    @classmethod
    def of(cls, settings: SearchSettings) -> Budget:
        """Return the limits that settings name."""
        return cls(settings.n_trials, settings.n_evaluated, settings.seconds, settings.stall)

    def find_end(
        self,
        *,
        n_finished: int,
        n_evaluated: int,
        seconds: float,
        hypervolumes: Sequence[float] = (),
    ) -> str | None:
        """Say why a search ends here.

        Args:
            n_finished: Finished trials of the study, of whatever fate.
            n_evaluated: Those whose subnet was evaluated, seeds and audited ones among them.
            seconds: Wall seconds of searching, summed over the processes that resumed the study.
            hypervolumes: The front's hypervolume after each evaluated subnet, all up to one
                reference point; needed only if ``stall`` is set.

        Returns:
            The reason in words, or None if the search may go on.
        """
        if n_finished >= self.n_trials:
            return f"{n_finished} trials are finished"
        if self.n_evaluated is not None and n_evaluated >= self.n_evaluated:
            return f"{n_evaluated} subnets are evaluated"
        if self.seconds is not None and seconds >= self.seconds:
            return f"{number(seconds)} seconds of searching are spent"
        if self.stall is not None and self._has_stalled(hypervolumes):
            return f"the last {self.stall} evaluated subnets raised the hypervolume by under 0.1 %"
        return None

    def _has_stalled(self, hypervolumes: Sequence[float]) -> bool:
        if self.stall is None or len(hypervolumes) <= self.stall:
            return False
        before = hypervolumes[-1 - self.stall]
        # As long as there is no front at all, there is nothing that could stall.
        return before > 0 and hypervolumes[-1] - before < MIN_RISE * before
