"""Predicts the measured objectives of a task, with intervals that are calibrated, not believed.

For each objective the model that cross-validation finds best. By how many predicted standard
deviations it is wrong on points that it has not seen says how wide an interval must be, and
how often past intervals have held corrects that: subnets that a search goes for are chosen
where the prediction is too good, so residuals of a random split promise too much for them.

References:
    Lei, G'Sell, Rinaldo, Tibshirani, Wasserman: Distribution-Free Predictive Inference for
    Regression, 2018, section 5.2 (locally weighted conformal), arXiv 1604.04173.
    Vovk: Cross-conformal predictors, 2015, arXiv 1208.0806.
    Angelopoulos, Candes, Tibshirani: Conformal PID Control for Time Series Prediction, 2023,
    section 2.1 (tracking a quantile by the errors made), arXiv 2307.16895.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dpod_search.pareto import FloatArray
from dpod_search.rng import derive_seed
from dpod_search.search.plan.history import FinishedTrial
from dpod_search.search.plan.lattice import Lattice
from dpod_search.search.plan.surrogate.encoding import Encoder
from dpod_search.search.plan.surrogate.encoding import choose_columns
from dpod_search.search.plan.surrogate.models import MODELS
from dpod_search.search.plan.surrogate.models import Model
from dpod_search.search.plan.surrogate.models import Predictor
from dpod_search.search.plan.surrogate.models import small_numerics
from dpod_search.search.plan.surrogate.scales import Scale
from dpod_search.search.task import SearchTask
from dpod_search.widths import IntArray
from dpod_search.widths import Widths


N_FOLDS = 5
# Another model than the first has to be this much better: the first extrapolates best.
MARGIN = 0.9
# How fast the intervals follow the share of past ones that have held.
GAIN = 0.2


@dataclass(frozen=True)
class Regression:
    """One objective, learned.

    Args:
        predictor: Predicts it on its scale.
        scale: From values to what is predicted.
        factor: Half the width of an interval, in predicted standard deviations.
        sign: 1 if more is better, else -1.
    """

    predictor: Predictor
    scale: Scale
    factor: float
    sign: float


class Predictions:
    """Predicted values of n subnets for k measured objectives, and their calibrated intervals.

    Args:
        regressions: One for each objective.
        X: The subnets' standardised features, shape (n, n_features).
    """

    def __init__(self, regressions: Sequence[Regression], X: FloatArray) -> None:
        self._regressions = regressions
        self._found = [regression.predictor(X) for regression in regressions]

    @property
    def mean(self) -> FloatArray:
        """The middle, shape (n, k), in the units of the objectives."""
        return np.asarray(self.better(np.zeros((1, len(self._regressions))))[0])

    @property
    def low(self) -> FloatArray:
        """Lower ends of the intervals, shape (n, k)."""
        return np.asarray(
            self.better(np.array([[-r.sign * r.factor for r in self._regressions]]))[0]
        )

    @property
    def high(self) -> FloatArray:
        """Upper ends of the intervals, shape (n, k)."""
        return np.asarray(
            self.better(np.array([[r.sign * r.factor for r in self._regressions]]))[0]
        )

    def better(self, by: FloatArray) -> FloatArray:
        """Return what the subnets are if they are better than expected.

        Args:
            by: By how many of the model's standard deviations, shape (s, k).

        Returns:
            Values of shape (s, n, k).
        """
        columns = []
        for i, (regression, (mean, std)) in enumerate(
            zip(self._regressions, self._found, strict=True)
        ):
            numbers = mean + regression.sign * by[:, i, None] * std
            columns.append(regression.scale.expand(numbers.ravel()).reshape(numbers.shape))
        return np.stack(columns, axis=2)


@dataclass(frozen=True)
class ModelChoice:
    """What is costly to find out about one objective and holds for a while.

    Args:
        name: Of the model.
        model: The model, tuned.
        residuals: Its errors on points it had not seen, in its own standard deviations,
            ascending; shape (n,).
        scores: Root mean squared error of every model, in standard deviations of the objective.
    """

    name: str
    model: Model
    residuals: FloatArray
    scores: Mapping[str, float]


@dataclass(frozen=True)
class Tuning:
    """What of a surrogate holds for a while, so that fitting it again costs little.

    Args:
        columns: The features that are used.
        choices: A model for each measured objective.
    """

    columns: tuple[int, ...]
    choices: tuple[ModelChoice, ...]


class Surrogate:
    """Predicts the measured objectives of a task.

    Args:
        task: The task.
        trials: The evaluated trials to learn from; at least ten.
        confidence: Coverage of the intervals, in (0, 1).
        tuning: Features and models of an earlier surrogate; None chooses them anew.
        past: All evaluated trials, whose predictions say how well intervals have held.
    """

    def __init__(
        self,
        task: SearchTask,
        trials: Sequence[FinishedTrial],
        *,
        confidence: float,
        tuning: Tuning | None = None,
        past: Sequence[FinishedTrial] = (),
    ) -> None:
        self._known: dict[Widths, FloatArray] = {}
        self._lattice = Lattice(task)
        self._encoder = Encoder(task, self._lattice)
        features = self._encoder.encode(self._lattice.from_widths([t.widths for t in trials]))
        self._mean = features.mean(axis=0)
        self._scale = np.where(features.std(axis=0) > 0, features.std(axis=0), 1)
        scaled = (features - self._mean) / self._scale
        self._columns = list(tuning.columns) if tuning else choose_columns(scaled)
        X = scaled[:, self._columns]
        columns = [i for i, o in enumerate(task.objectives) if o.is_measured]
        targets = np.array([[t.values[i] for i in columns] for t in trials if t.values])
        choices = []
        self._regressions = []
        with small_numerics():
            for i, y in enumerate(targets.T):
                scale = Scale(y)
                seed = derive_seed(task.seed, "surrogate", i) % 2**32
                choice = tuning.choices[i] if tuning else choose_model(X, scale.shrink(y), seed)
                factor = _find_quantile(choice.residuals, confidence)
                factor *= _track_quantile(columns[i], task, past, confidence)
                predictor = choice.model.fit(X, scale.shrink(y))
                choices.append(choice)
                sign = 1.0 if task.measured[i].direction == "maximize" else -1.0
                self._regressions.append(Regression(predictor, scale, factor, sign))
        self.tuning = Tuning(tuple(self._columns), tuple(choices))

    def prepare(self, widths: Sequence[Widths]) -> None:
        """Predict subnets that :meth:`summarize` will be asked for, all at once."""
        if widths:
            found = self.predict(widths)
            rows = np.stack([found.mean, found.low, found.high], axis=1)
            # The last digits depend on how many are predicted at once.
            rounded = np.reshape([float(f"{x:.10g}") for x in rows.ravel()], rows.shape)
            self._known.update(zip(widths, rounded, strict=True))

    def summarize(self, widths: Widths) -> FloatArray:
        """Return mean, low and high of each of the k measured objectives; shape (3, k)."""
        if widths not in self._known:
            self.prepare([widths])
        return self._known[widths]

    def predict(self, widths: Sequence[Widths]) -> Predictions:
        """Predict subnets given by their widths; see :meth:`predict_rungs`."""
        return self.predict_rungs(self._lattice.from_widths(widths))

    def predict_rungs(
        self, rungs: IntArray, footprints: Mapping[str, FloatArray] | None = None
    ) -> Predictions:
        """Predict subnets given by their rung indices.

        Args:
            rungs: Shape (n, n_groups).
            footprints: Their footprints, if they are known already.

        Returns:
            What is expected of each measured objective, in their order.
        """
        X = self._standardize(self._encoder.encode(rungs, footprints))
        with small_numerics():
            return Predictions(self._regressions, X)

    def _standardize(self, features: FloatArray) -> FloatArray:
        columns = self._columns
        return np.asarray((features[:, columns] - self._mean[columns]) / self._scale[columns])


def choose_model(X: FloatArray, y: FloatArray, seed: int) -> ModelChoice:
    """Choose the model that predicts left-out points best.

    Args:
        X: Standardised features, shape (n, n_features).
        y: Standardised targets, shape (n,).
        seed: Of whatever a model draws.

    Returns:
        The first model of the registry, unless another's error is clearly smaller.
    """
    found = []
    for name, make in MODELS.items():
        model = make(seed)
        model.tune(X, y)
        errors, residuals = _cross_validate(X, y, model)
        found.append((float(np.sqrt(np.mean(errors**2))), name, model, np.sort(residuals)))
    scores = {name: rmse for rmse, name, _, _ in found}
    best = min(found, key=lambda entry: entry[0])
    if found[0][0] * MARGIN <= best[0]:
        best = found[0]
    return ModelChoice(best[1], best[2], best[3], scores)


def _cross_validate(X: FloatArray, y: FloatArray, model: Model) -> tuple[FloatArray, FloatArray]:
    # What was tuned stays that of all points: only the fit is without the fold.
    fold = np.arange(len(y)) % N_FOLDS
    errors, stds = np.empty(len(y)), np.empty(len(y))
    for i in range(N_FOLDS):
        predict = model.fit(X[fold != i], y[fold != i])
        mean, stds[fold == i] = predict(X[fold == i])
        errors[fold == i] = np.abs(y[fold == i] - mean)
    return errors, errors / np.maximum(stds, 1e-12)


def _find_quantile(residuals: FloatArray, confidence: float) -> float:
    # Lei et al. (2018), section 5.2: the ceil((n + 1) * confidence)-th smallest of n scores.
    rank = min(len(residuals), math.ceil((len(residuals) + 1) * confidence))
    return float(residuals[rank - 1])


def _track_quantile(
    column: int, task: SearchTask, past: Sequence[FinishedTrial], confidence: float
) -> float:
    # Angelopoulos et al. (2023), equation 4, for the logarithm of the width: every miss
    # widens the next intervals, every hit narrows them, in balance at the rate asked for.
    name = task.objectives[column].name
    total = 0.0
    for trial in past:
        if trial.values and name in trial.predictions:
            _, low, high = trial.predictions[name]
            missed = not low <= trial.values[column] <= high
            total += missed - (1 - confidence)
    return math.exp(GAIN * total)
