"""The 442 patients that come with scikit-learn: ten numbers each, and one to be told.

References:
    Efron, Hastie, Johnstone and Tibshirani (2004), "Least angle regression", Annals of Statistics.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dpod_search.data.arrays import standardize
from dpod_search.data.datasets import InMemorySamples
from dpod_search.data.places import refuse_image_size
from dpod_search.data.settings import DataSettings
from dpod_search.data.source import DataSource
from dpod_search.data.source import hash_tensors
from dpod_search.rng import numpy_generator


def load_diabetes(settings: DataSettings) -> DataSource:
    """Load the patients; ``data.test_share`` of them are kept apart, with every seed the same.

    What is to be told, how far the disease went within a year, and the ten numbers are counted
    from the mean of all other patients, in their standard deviations.
    """
    import sklearn.datasets  # takes most of a second, which other sources need not pay

    refuse_image_size("diabetes", settings)
    bunch = sklearn.datasets.load_diabetes(scaled=False)
    n = len(bunch.target)
    # Fixed here, and not drawn with the other splits: what is left says how to standardise.
    order = torch.from_numpy(numpy_generator(0, "diabetes/test").permutation(n))
    n_test = max(1, round(settings.test_share * n))
    test, train = order[:n_test], order[n_test:]

    def hold(values: Tensor) -> tuple[Tensor, Tensor]:
        scaled = standardize(values, values[train])
        return scaled[train], scaled[test]

    known = bunch.target[train.numpy()]
    how = (
        f"float32, {', '.join(bunch.feature_names)}, each less its mean and over its deviation among the "
        f"patients that are not tested on; so is the answer, of mean {known.mean():.4f} and deviation "
        f"{known.std():.4f}"
    )
    samples = hold(torch.from_numpy(bunch.data))
    targets = hold(torch.from_numpy(bunch.target))
    return DataSource(
        InMemorySamples(samples[0], targets[0], how=how),
        None,
        1,
        ("disease progression",),
        hash_tensors(*samples, *targets),
        test=InMemorySamples(samples[1], targets[1], how=how),
    )
