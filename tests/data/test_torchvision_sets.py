"""Fashion-MNIST and CIFAR-10: official test sets, held as bytes, normalised."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dpod_search.data import DataSettings
from dpod_search.data import load_data
from dpod_search.data.datasets import fetch_batch
from dpod_search.errors import DataError
from dpod_search.torchvision_ops import import_torchvision


class FakeCifar10:
    """Forty random pictures in the layout of torchvision's CIFAR-10."""

    classes = tuple("abcd")

    def __init__(self, root: Path, train: bool, download: bool) -> None:
        assert not download
        generator = np.random.default_rng(int(train))
        self.data = generator.integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
        self.targets = [i % 4 for i in range(40)]


def test_colour_pictures_keep_their_test_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_torchvision("datasets"), "CIFAR10", FakeCifar10)
    splits = load_data(DataSettings(name="cifar10"), 0)

    assert splits.input_shape == (3, 32, 32)
    assert splits.class_names == ("a", "b", "c", "d")
    assert splits.summary()["sizes"] == {
        "train": 28,
        "calibration": 4,
        "validation": 8,
        "test": 40,
    }
    raw = FakeCifar10(Path(), train=False, download=False).data[5] / 255
    image, label = splits.test[5]
    torch.testing.assert_close(
        image[1], torch.tensor((raw[..., 1] - 0.4822) / 0.2435, dtype=torch.float32)
    )
    assert label == 1


@pytest.mark.parametrize("root", ["nothing-here", "~nobody-here/data"])
def test_missing_set_says_how_to_get_it(root: str) -> None:
    with pytest.raises(DataError, match=r"data\.download = true .*, or data\.root") as caught:
        load_data(DataSettings(name="fashion_mnist", root=root), 0)
    assert "\n" not in str(caught.value)


def test_failed_download_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr(import_torchvision("datasets"), "FashionMNIST", fail)
    with pytest.raises(DataError, match=r"could not be fetched.*no network"):
        load_data(DataSettings(name="fashion_mnist", root=str(tmp_path), download=True), 0)


@pytest.mark.data
def test_fashion_mnist(data_root: Path) -> None:
    settings = DataSettings(name="fashion_mnist", root=str(data_root), image_size=14)
    splits = load_data(settings, 0)

    assert splits.summary()["sizes"] == {
        "train": 42_000,
        "calibration": 6_000,
        "validation": 12_000,
        "test": 10_000,
    }
    assert splits.input_shape == (1, 14, 14)
    images, _ = fetch_batch(splits.train, range(0, 42_000, 10))
    assert abs(float(images.mean())) < 0.02
