"""Batches fetched at once equal pictures fetched one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader
from torch.utils.data import TensorDataset

from dpod_search.data import InMemoryImages
from dpod_search.data.datasets import DatasetView
from dpod_search.data.datasets import fetch_batch
from dpod_search.data.datasets import resize_bytes
from dpod_search.errors import ConfigError


def make_images(n: int = 12, channels: int = 2) -> InMemoryImages:
    """Make a few random pictures."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (n, channels, 5, 4), generator=generator, dtype=torch.uint8)
    means, stds = (0.3, 0.5), (0.2, 0.4)
    return InMemoryImages(
        images,
        torch.arange(n) % 3,
        peak=255.0,
        mean=means[:channels],
        std=stds[:channels],
    )


def test_normalises_each_channel() -> None:
    dataset = make_images()
    image, label = dataset[4]

    raw = dataset.images[4].float() / 255
    torch.testing.assert_close(image[0], (raw[0] - 0.3) / 0.2)
    torch.testing.assert_close(image[1], (raw[1] - 0.5) / 0.4)
    assert label == 1
    assert isinstance(label, int)


@given(indices=st.lists(st.integers(0, 11), min_size=1, max_size=20))
def test_a_batch_is_its_pictures(indices: list[int]) -> None:
    dataset = make_images()
    plain = TensorDataset(torch.stack([dataset[i][0] for i in range(12)]), dataset.labels)
    images, labels = fetch_batch(dataset, indices)

    assert labels.dtype == torch.int64
    for number, index in enumerate(indices):
        assert torch.equal(images[number], dataset[index][0])
        assert labels[number] == dataset[index][1]
    other_images, other_labels = fetch_batch(plain, indices)
    assert torch.equal(images, other_images)
    assert torch.equal(labels, other_labels)


@given(indices=st.lists(st.integers(0, 3), min_size=1, max_size=6))
def test_a_view_shows_the_whole_through_its_indices(indices: list[int]) -> None:
    dataset = make_images()
    view = DatasetView(dataset, np.array([7, 2, 9, 0]))
    images, labels = view.fetch(indices)

    assert len(view) == 4
    for number, index in enumerate(indices):
        assert torch.equal(images[number], dataset[int(view.indices[index])][0])
        assert torch.equal(view[index][0], images[number])
        assert view[index][1] == labels[number]


def test_works_with_pytorchs_own_loader() -> None:
    view = DatasetView(make_images(), np.arange(3, 11))
    images, labels = next(iter(DataLoader(view, batch_size=4)))

    assert torch.equal(images, view.fetch(range(4))[0])
    assert labels.tolist() == [0, 1, 2, 0]


def test_fetching_does_not_change_what_is_held() -> None:
    dataset = make_images()
    before = dataset.images.clone()
    dataset.fetch([0, 1])
    dataset[0]

    assert torch.equal(dataset.images, before)


@pytest.mark.parametrize("size", [2, 8])
def test_resizes_to_a_square(size: int) -> None:
    flat = torch.full((3, 1, 4, 4), 77, dtype=torch.uint8)
    resized = resize_bytes(flat, size)

    assert resized.shape == (3, 1, size, size)
    assert resized.eq(77).all()
    assert resize_bytes(flat, None) is flat
    assert resize_bytes(flat, 4) is flat


def test_pictures_that_would_fill_the_memory_are_refused_before_they_are_made() -> None:
    many = torch.zeros(1, 1, 1, 1, dtype=torch.uint8).expand(1_000_000, 3, 1, 1)
    with pytest.raises(ConfigError, match="data.image_size must be <= 151 for 1,000,000 pictures"):
        resize_bytes(many, 152)
