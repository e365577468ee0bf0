from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader
from torch.utils.data import TensorDataset
from training.fakes import make_batches
from training.fakes import make_loader
from training.fakes import make_pictures

from dpod_search.data import SeededLoader
from dpod_search.training import rewind
from dpod_search.training.batches import count_batches
from dpod_search.training.batches import count_images


def test_batches_are_counted():
    assert count_batches(make_batches()) == 3
    assert count_batches(make_loader()) == 3


@pytest.mark.parametrize("n_ranks", [1, 2])
def test_pictures_of_an_epoch_are_counted_and_never_too_many(n_ranks):
    dataset = TensorDataset(*make_pictures(20))
    unsized = [*DataLoader(dataset, batch_size=8)]

    class Plain:
        def __len__(self):
            return len(unsized)

        def __iter__(self):
            return iter(unsized)

    assert count_images(unsized, n_ranks) == 20 * n_ranks
    assert count_images(Plain(), n_ranks) == 17 * n_ranks
    assert count_images(DataLoader(dataset, batch_size=8), n_ranks) == 17 * n_ranks
    assert count_images(DataLoader(dataset, batch_size=8, drop_last=True), n_ranks) == 16 * n_ranks
    # Ours knows the other ranks.
    assert count_images(SeededLoader(dataset, batch_size=8, seed=0), n_ranks) == 20
    loader = SeededLoader(dataset, batch_size=8, seed=0, drop_last=True, n_ranks=n_ranks)
    assert count_images(loader, n_ranks) == 16


def test_rewinding_brings_a_loader_to_its_start_and_leaves_others_alone():
    loader = make_loader()
    first = next(iter(loader))[0]
    loader.set_position(4, 2)
    rewind(loader)
    assert torch.equal(next(iter(loader))[0], first)
    rewind(make_batches())
