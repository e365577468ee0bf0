"""How much each channel group matters to what was measured, read from the evaluated trials.

The surrogate's models learn each measured objective from the widths; their mean, each weighted by
how well it predicts left-out trials, depends less than any one of them on the trials at hand.
A group's importance is by how much that prediction changes, squared and on average, when the
group alone takes the width it has in another trial: Jansen's estimator of the total effect, the
inputs drawn from the trials themselves, so that the models are asked near what they have seen.
It tells of the subnets the search went to, not of all there are, and only where left-out trials
are predicted.

References:
    Jansen: Analysis of variance designs for model output, 1999, equation 7.
    Saltelli and others: Variance based sensitivity analysis of model output, 2010, table 2 (f).
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from dpod_search.pareto import FloatArray
from dpod_search.rng import derive_seed
from dpod_search.rng import numpy_generator
from dpod_search.search.plan.surrogate.models import MODELS
from dpod_search.search.plan.surrogate.models import Predictor
from dpod_search.search.plan.surrogate.models import small_numerics
from dpod_search.search.plan.surrogate.scales import Scale
from dpod_search.search.plan.surrogate.surrogate import N_FOLDS
from dpod_search.search.results import SearchResult
from dpod_search.search.results import TrialRecord


MIN_TRIALS = 20
MIN_R2 = 0.5
# Fitting costs the cube of the points.
MAX_TRIALS = 256
N_SAMPLES = 512

# From features of shape (n, n_groups) to predictions of shape (n,).
Mean = Callable[[FloatArray], FloatArray]


@dataclass(frozen=True)
class GroupImportance:
    """What is known of the groups, by measured objective.

    Args:
        shares: For each objective the model predicts, each group's share; they add up to 1.
        r2: For each objective the share of its variance that is predicted for left-out trials,
            <= 1.
    """

    shares: Mapping[str, Mapping[str, float]]
    r2: Mapping[str, float]


def measure_importance(result: SearchResult, *, seed: int = 0) -> GroupImportance:
    """Measure how much each group matters to each measured objective.

    Args:
        result: What the search has found.
        seed: Of the trials that are looked at, if there are many, and of the widths that groups
            take.

    Returns:
        Nothing with fewer than 20 different evaluated subnets; no shares for an objective whose
        R2 is below 0.5, or that never differs.
    """
    trials = _choose_trials(result.trials, seed)
    shares: dict[str, dict[str, float]] = {}
    r2: dict[str, float] = {}
    if len(trials) < MIN_TRIALS:
        return GroupImportance(shares, r2)
    features = _encode(result, trials)
    for objective in result.front.objectives:
        if not objective.is_measured:
            continue
        values = np.array([trial.values[objective.name] for trial in trials])
        drawn = derive_seed(seed, "importance", objective.name)
        with small_numerics():
            found = _learn(features, values, drawn % 2**32)
            if found is None:
                continue
            predict, r2[objective.name] = found
            if r2[objective.name] < MIN_R2:
                continue
            effects = _measure_effects(features, predict, drawn)
        if effects.sum() > 0:
            # Rounded, as the last digits depend on the machine.
            part = (float(f"{x:.6g}") for x in effects / effects.sum())
            shares[objective.name] = dict(zip(result.space.names, part, strict=True))
    return GroupImportance(shares, r2)


def _choose_trials(trials: Sequence[TrialRecord], seed: int) -> list[TrialRecord]:
    first: dict[object, TrialRecord] = {}
    for trial in trials:
        if trial.values:
            first.setdefault(trial.widths, trial)
    known = list(first.values())
    if len(known) <= MAX_TRIALS:
        return known
    rng = numpy_generator(seed, "importance", "trials")
    return [known[i] for i in np.sort(rng.choice(len(known), MAX_TRIALS, replace=False))]


def _encode(result: SearchResult, trials: Sequence[TrialRecord]) -> FloatArray:
    # As the surrogate sees widths, see `Encoder`, but without costs: they are all groups at once.
    active = np.array([trial.widths.active for trial in trials], dtype=float)
    logs = np.log2(np.maximum(active, 0.5) / np.array(result.space.full.active))
    spread = logs.std(axis=0)
    standard: FloatArray = (logs - logs.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    return standard


def _learn(features: FloatArray, values: FloatArray, seed: int) -> tuple[Mean, float] | None:
    """Return a predictor on the surrogate's scale, and the R2 of left-out trials."""
    if not np.ptp(values) > 0:
        return None
    target = Scale(values).shrink(values)
    models = [make(seed) for make in MODELS.values()]
    fold = np.arange(len(target)) % N_FOLDS
    left_out = np.empty((len(models), len(target)))
    for row, model in zip(left_out, models, strict=True):
        model.tune(features, target)
        for k in range(N_FOLDS):
            row[fold == k], _ = model.fit(features[fold != k], target[fold != k])(
                features[fold == k]
            )
    weights = 1 / np.maximum(np.mean((left_out - target) ** 2, axis=1), 1e-12)
    weights /= weights.sum()
    r2 = 1 - float(np.mean((weights @ left_out - target) ** 2) / np.var(target))
    predictors = [model.fit(features, target) for model in models]
    return partial(_average, predictors, weights), float(f"{r2:.6g}")


def _average(
    predictors: Sequence[Predictor], weights: FloatArray, features: FloatArray
) -> FloatArray:
    return np.asarray(weights @ np.array([predict(features)[0] for predict in predictors]))


def _measure_effects(features: FloatArray, predict: Mean, seed: int) -> FloatArray:
    rng = numpy_generator(seed, "effects")
    n, d = features.shape
    rows = features[rng.integers(n, size=N_SAMPLES)]
    others = features[rng.integers(n, size=N_SAMPLES)]
    before = predict(rows)
    effects = np.zeros(d)
    for i in range(d):
        changed = rows.copy()
        changed[:, i] = others[:, i]
        if np.any(changed != rows):
            effects[i] = np.mean((predict(changed) - before) ** 2) / 2
    return effects
