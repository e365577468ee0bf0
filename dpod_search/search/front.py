"""The result of a search: the subnets that no other subnet beats in everything."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from dpod_search.errors import ConfigError
from dpod_search.errors import InfeasibleError
from dpod_search.errors import check_count
from dpod_search.errors import check_range
from dpod_search.errors import name_nearest
from dpod_search.pareto import FloatArray
from dpod_search.pareto import find_knee
from dpod_search.pareto import select_by_hypervolume
from dpod_search.pareto import to_minimized
from dpod_search.quantities import count
from dpod_search.quantities import in_own_unit
from dpod_search.quantities import label
from dpod_search.quantities import percent
from dpod_search.quantities import spell
from dpod_search.search.candidate import Candidate
from dpod_search.search.constraints import keep_within
from dpod_search.search.objectives import Objective
from dpod_search.showing import Sheet
from dpod_search.showing import Shown
from dpod_search.widths import Widths


if TYPE_CHECKING:
    import plotly.graph_objects as go
    from optuna import Study
    from pandas import DataFrame

    from dpod_search.records.trials import Trial
    from dpod_search.supernet import Subnet


_logger = logging.getLogger(__name__)


@dataclass(frozen=True, repr=False)
class Front(Shown):
    """The Pareto front of a study, ascending in macs.

    Args:
        members: The candidates.
        objectives: What they were chosen by.
        full: What is known of the full net by footprint and objective: budgets can be a share
            of it.
        study: Optuna's study, for its own figures and tables; None of a front that was read or
            made by hand.
        trials: All finished trials of the search, those that are on no front too.
    """

    members: tuple[Candidate, ...]
    objectives: tuple[Objective, ...]
    full: Mapping[str, float] = field(default_factory=dict, compare=False, repr=False)
    study: Study | None = field(default=None, compare=False, repr=False)
    trials: tuple[Trial, ...] = field(default=(), compare=False, repr=False)

    def __post_init__(self) -> None:
        """Sort once."""
        ordered = sorted(self.members, key=lambda member: (member.macs, member.trial))
        object.__setattr__(self, "members", tuple(ordered))

    def __getstate__(self) -> dict[str, object]:
        """Leave an open study out of copies: its storage and its sampler are of this process."""
        return {**self.__dict__, "study": None}

    def __len__(self) -> int:
        """Return the number of members."""
        return len(self.members)

    def __iter__(self) -> Iterator[Candidate]:
        """Iterate from the cheapest to the dearest member."""
        return iter(self.members)

    def __getitem__(self, index: int) -> Candidate:
        """Return a member by its place, 0 being the cheapest."""
        return self.members[index]

    def under(self, budget: str = "", /, **bounds: float) -> Candidate:
        """Choose the best member within a budget, or within bounds on footprints.

        Args:
            budget: As constraints are spelled: ``"macs<=2M"``, ``"macs<=25%"`` of the full net,
                ``"macs<=5M and params<=50k"``.
            **bounds: Largest footprint allowed, by name, for instance ``macs=5e6``.

        Returns:
            The member that is best in the first measured objective; of equally good ones the
            one with the fewest macs.

        Raises:
            ConfigError: If a name is unknown, or a bound cannot be read.
            InfeasibleError: If no member is within them.
        """
        left = list(self.members)
        known = left[0].footprint if left else bounds
        unknown = next((name for name in bounds if name not in known), None)
        if unknown is not None:
            raise ConfigError(f"no footprint is called {unknown}; {name_nearest(unknown, known)}")
        for name, limit in bounds.items():
            check_range(f"bound on {name}", limit, low=-math.inf, high=math.inf)
            smallest = min((member.footprint[name] for member in left), default=None)
            left = [member for member in left if member.footprint[name] <= limit]
            if not left:
                raise InfeasibleError(_explain_empty(name, limit, smallest))
        if not left:
            raise InfeasibleError(_EMPTY)
        if budget:
            left = keep_within(left, budget, full=self.full, objectives=self.objectives)
        return self._find_best(left)

    def best_under(self, budgets: Sequence[str]) -> dict[str, Candidate]:
        """Choose the best member under each of several budgets.

        Args:
            budgets: As :meth:`under` takes them; two may well choose the same member.

        Returns:
            For each budget its member, in their order. A budget that no member meets is left
            out, with a warning in the log.

        Raises:
            ConfigError: If a budget cannot be read.
            InfeasibleError: If no member meets any of them.
        """
        chosen, unmet = self.split_by_budget(budgets)
        for reason in unmet.values():
            _logger.warning("%s", reason)
        if unmet and not chosen:
            raise InfeasibleError("; ".join(unmet.values()))
        return chosen

    def split_by_budget(
        self, budgets: Sequence[str]
    ) -> tuple[dict[str, Candidate], dict[str, str]]:
        """Choose as :meth:`best_under` does, and say of the other budgets why nothing meets them.

        Args:
            budgets: As :meth:`under` takes them.

        Returns:
            For each budget that is met its member; for each other one the reason.

        Raises:
            ConfigError: If a budget cannot be read.
        """
        if isinstance(budgets, str):
            raise ConfigError(f"budgets must be a list of texts, got {budgets!r}")
        chosen: dict[str, Candidate] = {}
        unmet: dict[str, str] = {}
        for budget in budgets:
            try:
                chosen[budget] = self.under(budget)
            except InfeasibleError as error:
                unmet[budget] = str(error)
        return chosen, unmet

    def knees(self) -> tuple[Candidate, ...]:
        """Name the knee of a front of two objectives, footprints in log scale.

        Returns:
            The member that lies farthest beyond the straight line between the two ends, see
            :func:`dpod_search.pareto.find_knee`; none if no member lies beyond it, or if there
            are not two objectives.
        """
        if len(self.objectives) != 2 or len(self) == 0:
            return ()
        knee = find_knee(self._points)
        return () if knee is None else (self.members[knee],)

    def select(self, k: int) -> Front:
        """Choose k members that keep as much of the front's hypervolume as greedy choice can.

        Args:
            k: How many, 1 to 1,000,000; all members are returned if there are no more.

        Returns:
            A smaller front. From k = 2 on the cheapest member and the best in the first
            measured objective are in it; for k = 1 it is the latter.

        Raises:
            ConfigError: If ``k`` is below 1.
        """
        check_count("number of members to select", k, low=1, high=1_000_000)
        if len(self) <= k:
            return self
        best = self.members.index(self._find_best(self.members))
        first = [best] if k == 1 else list(dict.fromkeys([best, 0]))
        reference = np.full(len(self.objectives), 1.1)
        chosen = select_by_hypervolume(self._points, reference, k, first=first)
        return replace(self, members=tuple(self.members[i] for i in chosen))

    def attach(self, make_subnet: Callable[[Widths], Subnet]) -> Front:
        """Return this front with the subnets themselves."""
        members = tuple(replace(m, subnet=make_subnet(m.widths)) for m in self.members)
        return replace(self, members=members)

    def plot(self) -> go.Figure:
        """Draw the report's figure of the front: every trial with its fate, and the stairs.

        Returns:
            A figure of Plotly's, which shows itself in a notebook and has ``write_html``.
        """
        from dpod_search.search.views import plot_front

        return plot_front(self.members, self.objectives, self.full, self.trials)

    def to_dataframe(self) -> DataFrame:
        """Return the members as a table, one a row, from the cheapest to the dearest.

        Returns:
            Columns ``trial``, the objectives and footprints by their names, and the widths as
            ``width:<group>``.

        Raises:
            ConfigError: If pandas is not installed.
        """
        from dpod_search.search.views import tabulate_members

        return tabulate_members(self.members)

    def _describe(self) -> Sheet:
        names = [objective.name for objective in self.objectives]
        full = self.full.get("macs")
        rows = [
            (
                str(member.trial),
                *(spell(name, member.values[name]) for name in names),
                percent(member.macs / full) if full else "–",
                str(member.widths),
            )
            for member in self.members
        ]
        facts = [("members", count(len(self)))]
        facts += [("trials", count(len(self.trials)))] if self.trials else []
        columns = ("trial", *map(label, names), "of full MACs", "widths")
        return Sheet("Front", facts, columns, rows)

    def _ipython_display_(self) -> None:
        """Show the table in a notebook, and below it the figure."""
        from dpod_search.search.views import display_front
        from dpod_search.search.views import plot_front

        told = (self.members, self.objectives, self.full, self.trials)
        figure = plot_front(*told, height=320) if len(self) else None
        display_front(self._repr_html_(), repr(self), figure)

    @cached_property
    def _points(self) -> FloatArray:
        # Minimised, footprints in log scale, every objective stretched over [0, 1].
        columns = []
        for objective in self.objectives:
            values = np.array([member.values[objective.name] for member in self.members])
            if not objective.is_measured and np.all(values > 0):
                values = np.log(values)
            column = to_minimized(values[:, None], [objective.direction])[:, 0]
            spread = float(np.ptp(column)) or 1.0
            columns.append((column - column.min()) / spread)
        return np.column_stack(columns)

    def _find_best(self, members: Sequence[Candidate]) -> Candidate:
        measured = [objective for objective in self.objectives if objective.is_measured]
        objective = (measured or list(self.objectives))[0]
        sign = -1.0 if objective.direction == "maximize" else 1.0
        return min(members, key=lambda member: (sign * member.values[objective.name], member.macs))


_EMPTY = "the front is empty; no trial of the study completed within the constraints"


def _explain_empty(name: str, limit: float, smallest: float | None) -> str:
    if smallest is None:
        return _EMPTY
    return (
        f"no member of the front has {name} <= {in_own_unit(name, limit)} within the other "
        f"bounds: the smallest has {in_own_unit(name, smallest)}; raise the bound"
    )
