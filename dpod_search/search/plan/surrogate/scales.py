"""The scale that a measured objective is predicted on.

Accuracies crowd at their upper end and have a long tail below, which a Gaussian model takes
for outliers. A power transform, its exponent found from the data, makes them nearly normal.

Reference: Yeo, Johnson: A New Family of Power Transformations to Improve Normality or Symmetry,
2000. Cowen-Rivers et al.: HEBO, 2022, arXiv 2012.03826, section 4.1 (for surrogates).
"""

from __future__ import annotations

import numpy as np
from sklearn.preprocessing import PowerTransformer

from dpod_search.pareto import FloatArray


REACH = 2.0  # how many ranges of the values beyond them a prediction may lie


class Scale:
    """A monotone map between values and nearly normal numbers.

    Args:
        values: The values seen, shape (n,).
    """

    def __init__(self, values: FloatArray) -> None:
        self._mean = float(values.mean())
        self._std = float(values.std()) or 1.0
        self._transformer: PowerTransformer | None = None
        standard = (values - self._mean) / self._std
        reach = REACH * (np.ptp(standard) or 1.0)
        self._ends = np.array([standard.min() - reach, standard.max() + reach])
        if np.ptp(standard) > 0:
            self._transformer = PowerTransformer().fit(standard[:, None])
        self._limits = self._forward(self._ends)

    def shrink(self, values: FloatArray) -> FloatArray:
        """Return values as nearly normal numbers, shape (n,)."""
        return self._forward((values - self._mean) / self._std)

    def expand(self, numbers: FloatArray) -> FloatArray:
        """Return the values of nearly normal numbers, shape (n,); inverse of :meth:`shrink`.

        Numbers further off than anything can be predicted are taken for the end of the scale:
        not every number has a value.
        """
        numbers = np.clip(numbers, *self._limits)
        if self._transformer is not None:
            numbers = self._transformer.inverse_transform(numbers[:, None])[:, 0]
        return np.asarray(self._mean + self._std * numbers)

    def _forward(self, standard: FloatArray) -> FloatArray:
        if self._transformer is None:
            return standard
        return np.asarray(self._transformer.transform(standard[:, None])[:, 0])
