"""What is said of the normalisation is what the data do."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dpod_search.data import DataSettings
from dpod_search.data import InMemoryImages
from dpod_search.data import load_data
from dpod_search.data.datasets import DatasetView
from dpod_search.pipeline.picture_input import describe_input
from dpod_search.torchvision_ops import import_torchvision


v2 = import_torchvision("transforms.v2")


def test_digits_are_normalised_as_said():
    data = load_data(DataSettings(), 0)
    said = describe_input(data.test, source="digits")
    assert said["peak"] == 16
    assert said["mean"] == [0.3053]
    assert said["std"] == [0.376]
    assert said["how"] == "(pixel / 16 - [0.3053]) / [0.376], by channel, as float32"


@pytest.mark.parametrize(("source", "peak"), [("cifar10", 255.0), ("my.module:pictures", 1.0)])
def test_bytes_in_memory_become_what_is_said(source, peak):
    images = torch.arange(12, dtype=torch.uint8).reshape(1, 3, 2, 2)
    dataset = InMemoryImages(
        images, torch.zeros(1), peak=255.0, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6)
    )
    said = describe_input(DatasetView(dataset, np.array([0])), source=source)
    assert said["peak"] == peak
    mean, std = (torch.tensor(said[name]).reshape(3, 1, 1) for name in ("mean", "std"))
    torch.testing.assert_close((images[0] / peak - mean) / std, dataset[0][0])


def test_a_folders_transform_says_it():
    noise = SimpleNamespace(mean=0.0, std=0.1)  # adds what is no normalisation
    steps = [SimpleNamespace(size=64), noise, v2.Normalize(mean=[0.5], std=[0.25])]
    dataset = SimpleNamespace(transform=SimpleNamespace(transforms=steps))
    said = describe_input(dataset, source="imagefolder:pictures")
    assert (said["peak"], said["mean"], said["std"]) == (255, [0.5], [0.25])


def test_an_unknown_source_is_said_to_be_unknown():
    said = describe_input([], source="my.module:pictures")
    assert said["mean"] is None
    assert said["how"] == "float32 exactly as my.module:pictures yields them"
