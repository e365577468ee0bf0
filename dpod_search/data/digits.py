"""The 1,797 handwritten digits that come with scikit-learn: 8 x 8 pixels, no download.

References:
    Alpaydin and Kaynak (1998), "Optical recognition of handwritten digits", UCI repository.
"""

from __future__ import annotations

import numpy as np
import torch

from dpod_search.data.datasets import InMemoryImages
from dpod_search.data.datasets import resize_bytes
from dpod_search.data.settings import DataSettings
from dpod_search.data.source import DataSource
from dpod_search.data.source import hash_tensors


# Of all pictures, on the scale of 0 to 1.
_PEAK = 16.0
_MEAN = (0.3053,)
_STD = (0.3760,)


def load_digits(settings: DataSettings) -> DataSource:
    """Load the digits; they have no test set of their own."""
    import sklearn.datasets  # takes most of a second, which other sources need not pay

    bunch = sklearn.datasets.load_digits()
    images = torch.from_numpy(bunch.images.astype(np.uint8)).unsqueeze(1)
    images = resize_bytes(images, settings.image_size)
    labels = bunch.target.astype(np.int64)
    dataset = InMemoryImages(images, torch.from_numpy(labels), peak=_PEAK, mean=_MEAN, std=_STD)
    names = tuple(str(digit) for digit in range(10))
    return DataSource(dataset, labels, 10, names, hash_tensors(images))
