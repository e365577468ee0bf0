"""Fashion-MNIST and CIFAR-10 through torchvision, held in memory, official test sets kept.

References:
    Xiao, Rasul and Vollgraf (2017), "Fashion-MNIST", arXiv 1708.07747.
    Krizhevsky (2009), "Learning multiple layers of features from tiny images".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dpod_search.data.datasets import InMemoryImages
from dpod_search.data.datasets import resize_bytes
from dpod_search.data.settings import DataSettings
from dpod_search.data.source import DataSource
from dpod_search.data.source import hash_tensors
from dpod_search.errors import DataError
from dpod_search.files import expand_path
from dpod_search.torchvision_ops import import_torchvision


@dataclass(frozen=True)
class _Set:
    name: str
    torchvision_class: str
    mean: tuple[float, ...]
    std: tuple[float, ...]


# Statistics of the training pictures, on the scale of 0 to 1.
_FASHION_MNIST = _Set("fashion_mnist", "FashionMNIST", (0.2860,), (0.3530,))
_CIFAR10 = _Set("cifar10", "CIFAR10", (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))


def load_fashion_mnist(settings: DataSettings) -> DataSource:
    """Load Fashion-MNIST: 60,000 + 10,000 grey pictures of clothes, 28 x 28."""
    return _load(_FASHION_MNIST, settings)


def load_cifar10(settings: DataSettings) -> DataSource:
    """Load CIFAR-10: 50,000 + 10,000 colour pictures of things and animals, 32 x 32."""
    return _load(_CIFAR10, settings)


def _load(which: _Set, settings: DataSettings) -> DataSource:
    raw_train = _open(which, settings, train=True)
    raw_test = _open(which, settings, train=False)
    train, test = (_hold(raw, which, settings.image_size) for raw in (raw_train, raw_test))
    return DataSource(
        train,
        train.labels.numpy(),
        len(raw_train.classes),
        tuple(raw_train.classes),
        hash_tensors(train.images, test.images),
        test,
        test.labels.numpy(),
    )


def _open(which: _Set, settings: DataSettings, *, train: bool) -> Any:
    make = getattr(import_torchvision("datasets"), which.torchvision_class)
    root = expand_path(settings.root)
    try:
        return make(root, train=train, download=settings.download)
    except (RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())
        if settings.download:
            raise DataError(
                f"{which.name} could not be fetched into {root} ({reason}); check the network, or "
                "set data.root to a folder that has it"
            ) from error
        raise DataError(
            f"{which.name} is not in {root} ({reason}); set data.download = true to fetch it, "
            "or data.root to the folder that has it"
        ) from error


def _hold(raw: Any, which: _Set, image_size: int | None) -> InMemoryImages:
    images = resize_bytes(_to_bytes(raw.data), image_size)
    labels = torch.as_tensor(raw.targets, dtype=torch.int64)
    return InMemoryImages(images, labels, peak=255.0, mean=which.mean, std=which.std)


def _to_bytes(data: Tensor | np.typing.NDArray[np.uint8]) -> Tensor:
    # Grey sets come as a tensor n x height x width, colour ones as an array with channels last.
    images = torch.as_tensor(data)
    if images.ndim == 3:
        return images.unsqueeze(1)
    return images.permute(0, 3, 1, 2).contiguous()
