"""The digits are normalised, and resized when asked."""

from __future__ import annotations

import numpy as np

from dpod_search.data import DataSettings
from dpod_search.data.datasets import fetch_batch
from dpod_search.data.digits import load_digits


def test_digits_have_mean_zero_and_spread_one() -> None:
    source = load_digits(DataSettings())
    images, labels = fetch_batch(source.train, range(len(source.train)))

    assert images.shape == (1797, 1, 8, 8)
    assert abs(float(images.mean())) < 1e-3
    assert abs(float(images.std()) - 1) < 1e-3
    assert np.array_equal(labels.numpy(), source.train_labels)
    assert source.test is None


def test_digits_are_resized() -> None:
    source = load_digits(DataSettings(image_size=12))

    assert source.train[0][0].shape == (1, 12, 12)
