"""The latency of whole subnets, in closed form: a table of layers, fitted to measured nets.

The layers of a net, timed one by one, do not add up to the net: each has an overhead of its own
there, finds its input in other caches, and what stands between the layers is missing. So a net's
latency is a weighted sum of what the table says of its layers, of how many layers there are, of
the elements they read and write, and of a constant. The weights are fitted to measured subnets so
that relative errors are small; which of these summands are used is decided by leaving subnets out.
Other subnets, which the fit has not seen, tell the error.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from dpod_search.errors import DataError
from dpod_search.footprint import FootprintModel
from dpod_search.latency.layers import hash_model
from dpod_search.latency.layers import list_placed_layers
from dpod_search.latency.settings import MIN_FIT
from dpod_search.latency.summands import build_summands
from dpod_search.latency.table import LatencyTable
from dpod_search.latency.table import MeasuredNet
from dpod_search.quantities import percent
from dpod_search.supernet import Supernet
from dpod_search.tabulated import FloatArray
from dpod_search.tabulated import TableSum
from dpod_search.tabulated import add_tables
from dpod_search.widths import Widths
from dpod_search.widths import WidthSpace


NAME = "latency"  # as objectives, constraints and budgets call it
RIDGE = 0.02
_CHOICES = (2, 3, 5, 6)  # summands that are tried together, the first so many
_FLOOR_MS = 1e-6  # no net takes less


@dataclass(frozen=True)
class FitError:
    """How wrong a model is on subnets that it was not fitted to.

    Args:
        mape: Mean absolute error as a share of the measured latency.
        worst: Largest one.
        rank_correlation: Spearman's.
        n_nets: Subnets looked at.
    """

    mape: float
    worst: float
    rank_correlation: float
    n_nets: int

    def describe(self) -> str:
        """Say it in one clause."""
        return (
            f"{percent(self.mape)} off on average, {percent(self.worst)} at worst, rank correlation "
            f"{self.rank_correlation:.3f}, on {self.n_nets} subnets it has not seen"
        )


@dataclass(frozen=True)
class LatencyModel:
    """Milliseconds of any subnet, in closed form.

    Args:
        space: The widths it knows.
        sum_ms: The latency as a sum of tables.
        weights: Weight of each summand, by name.
        error: How wrong it is.
    """

    space: WidthSpace
    sum_ms: TableSum
    weights: Mapping[str, float]
    error: FitError

    def measure(self, widths: Widths) -> float:
        """Return the milliseconds of a subnet."""
        return float(self.table(np.array([widths.active]))[0])

    def table(self, widths: Any) -> FloatArray:
        """Return the milliseconds of many subnets, widths of shape (n, n_groups), shape (n,)."""
        found = self.sum_ms.at(to_rungs(self.space, np.asarray(widths)))
        return np.maximum(found, _FLOOR_MS)

    def to_json(self) -> dict[str, Any]:
        """Return what is known of it as JSON values."""
        error = self.error
        return {
            "weights": {name: float(f"{weight:.6g}") for name, weight in self.weights.items()},
            "mape": float(f"{error.mape:.4g}"),
            "worst": float(f"{error.worst:.4g}"),
            "rank_correlation": float(f"{error.rank_correlation:.4g}"),
            "n_held_out": error.n_nets,
        }


class TimedFootprint:
    """Closed-form footprints and ``latency`` in milliseconds, as a model says.

    Args:
        sizes: Of the same supernet.
        latency: The model.
    """

    def __init__(self, sizes: FootprintModel, latency: LatencyModel) -> None:
        """Keep both."""
        self._sizes = sizes
        self._latency = latency

    def measure(self, widths: Widths) -> dict[str, float]:
        """Return every footprint of one subnet by name, ``latency`` last."""
        # Rounded, as a model knows no more than that, and as people have to read it.
        ms = float(f"{self._latency.measure(widths):.4g}")
        return {**self._sizes.measure(widths), NAME: ms}


def fit_latency(
    supernet: Supernet, table: LatencyTable, *, n_held_out: int = 16, max_error: float = 0.15
) -> LatencyModel:
    """Fit the latency of whole subnets to those that a table has.

    Args:
        supernet: Whose subnets.
        table: Made for this supernet.
        n_held_out: Of the table's nets so many, the last ones, are not fitted to.
        max_error: Largest mean error on those, as a share.

    Returns:
        The model.

    Raises:
        DataError: If the table is of another model or has too few nets, or if the model is worse
            than ``max_error``, which names its error.
    """
    nets = check_nets(supernet, table, n_held_out)
    layers = list_placed_layers(supernet)
    summands = build_summands(supernet, layers, table)
    rungs = to_rungs(supernet.space, np.array([net.widths for net in nets]))
    columns = np.column_stack([summands[name].at(rungs) for name in summands])
    measured = np.array([net.ms for net in nets])
    n_fit = len(nets) - n_held_out
    used = _choose_summands(columns[:n_fit], measured[:n_fit])
    weights = _fit(columns[:n_fit, used], measured[:n_fit])
    predicted = columns[n_fit:, used] @ weights
    error = measure_error(predicted, measured[n_fit:])
    if not error.mape <= max_error:
        raise DataError(
            f"the latency model is too wrong to be used: {error.describe()} (limit "
            f"{percent(max_error)}); measure again on a quieter machine, or raise latency.n_fit, "
            "latency.seconds or latency.max_error"
        )
    names = [list(summands)[i] for i in used]
    total = add_tables([summands[n].scale(float(w)) for n, w in zip(names, weights, strict=True)])
    return LatencyModel(
        supernet.space, total, dict(zip(names, map(float, weights), strict=True)), error
    )


def check_nets(supernet: Supernet, table: LatencyTable, n_held_out: int) -> Sequence[MeasuredNet]:
    """Return the nets of a table, if they are of a supernet and enough.

    Raises:
        DataError: If not.
    """
    if table.space != hash_model(supernet):
        raise DataError(
            "the latency table is of another model (its width space is not this one's); make a "
            "request for this study with `dpod-search latency request` and measure that"
        )
    n_due = n_held_out + MIN_FIT
    if len(table.nets) < n_due:
        raise DataError(
            f"the latency table has {len(table.nets)} measured nets and {n_due} are due; "
            "measure it again, or lower latency.n_held_out"
        )
    for net in table.nets:
        try:
            supernet.space.check(Widths(supernet.space.names, net.widths))
        except ValueError as error:
            raise DataError(f"a net of the latency table is damaged ({error})") from error
    return table.nets


def measure_error(predicted: FloatArray, measured: FloatArray) -> FitError:
    """Compare predictions with what was measured, both of shape (n,)."""
    relative = np.abs(predicted / measured - 1)
    correlation = float(spearmanr(predicted, measured)[0]) if np.ptp(predicted) > 0 else 0.0
    return FitError(float(relative.mean()), float(relative.max()), correlation, len(measured))


def to_rungs(space: WidthSpace, widths: Any) -> Any:
    """Return the rung indices of widths of the space, both of shape (n, n_groups)."""
    columns = [np.searchsorted(rungs, widths[:, i]) for i, rungs in enumerate(space.rungs)]
    return np.column_stack(columns).astype(np.int64)


def _fit(columns: FloatArray, measured: FloatArray) -> FloatArray:
    """Return the weights with the least relative squared error, a little ridge towards 0."""
    relative = columns / measured[:, None]
    scales = np.abs(relative).mean(axis=0) + 1e-12
    rows = np.vstack([relative / scales, RIDGE * math.sqrt(len(measured)) * np.eye(len(scales))])
    target = np.concatenate([np.ones(len(measured)), np.zeros(len(scales))])
    weights: FloatArray = np.linalg.lstsq(rows, target, rcond=None)[0] / scales
    return weights


def _choose_summands(columns: FloatArray, measured: FloatArray) -> list[int]:
    """Return the summands that predict left-out nets best."""
    choices = [list(range(min(n, columns.shape[1]))) for n in _CHOICES]
    return min(choices, key=lambda used: _leave_out(columns[:, used], measured))


def _leave_out(columns: FloatArray, measured: FloatArray) -> float:
    errors = []
    fold = np.arange(len(measured)) % 8
    for k in range(8):
        weights = _fit(columns[fold != k], measured[fold != k])
        errors.append(np.abs(columns[fold == k] @ weights / measured[fold == k] - 1))
    return float(np.mean(np.concatenate(errors)))
