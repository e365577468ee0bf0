"""The loader: any position again, without what came before it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import TensorDataset

from dpod_search.data import SeededLoader
from dpod_search.data import gather_images
from dpod_search.errors import ConfigError
from dpod_search.errors import DataError


def make_dataset(n: int = 23) -> TensorDataset:
    """Make pictures whose pixels all hold their own number."""
    numbers = torch.arange(n)
    return TensorDataset(numbers.float()[:, None, None, None].expand(n, 1, 4, 4) + 1, numbers)


def run_epoch(loader: SeededLoader, epoch: int, batch: int = 0) -> list[tuple[Tensor, Tensor]]:
    """Collect the batches from a position on."""
    loader.set_position(epoch, batch)
    return list(loader)


def are_equal(first: list[tuple[Tensor, Tensor]], second: list[tuple[Tensor, Tensor]]) -> bool:
    """Tell whether batches are the same to the bit."""
    return len(first) == len(second) and all(
        torch.equal(a, c) and torch.equal(b, d)
        for (a, b), (c, d) in zip(first, second, strict=True)
    )


@given(
    seed=st.integers(0, 2**40),
    epoch=st.integers(0, 50),
    batch=st.integers(0, 6),
    flip=st.booleans(),
    padding=st.integers(0, 2),
)
def test_resumes_at_any_batch(seed: int, epoch: int, batch: int, flip: bool, padding: int) -> None:
    options: dict[str, Any] = {"shuffle": True, "flip": flip, "crop_padding": padding}
    whole = run_epoch(SeededLoader(make_dataset(), batch_size=4, seed=seed, **options), epoch)
    part = run_epoch(
        SeededLoader(make_dataset(), batch_size=4, seed=seed, **options), epoch, batch
    )

    assert are_equal(part, whole[batch:])


@given(n=st.integers(1, 40), batch_size=st.integers(1, 45), shuffle=st.booleans())
def test_an_epoch_shows_every_picture_once(n: int, batch_size: int, shuffle: bool) -> None:
    loader = SeededLoader(make_dataset(n), batch_size=batch_size, seed=1, shuffle=shuffle)
    batches = list(loader)
    labels = torch.cat([labels for _, labels in batches])

    assert len(batches) == len(loader)
    assert sorted(labels.tolist()) == list(range(n))
    if not shuffle:
        assert labels.tolist() == list(range(n))


def test_iterating_twice_gives_the_same_batches() -> None:
    loader = SeededLoader(make_dataset(), batch_size=4, seed=1, shuffle=True, crop_padding=1)

    assert are_equal(list(loader), list(loader))


def test_epochs_and_seeds_differ() -> None:
    loader = SeededLoader(make_dataset(), batch_size=23, seed=1, shuffle=True)
    other = SeededLoader(make_dataset(), batch_size=23, seed=2, shuffle=True)
    orders = [next(iter(run_epoch(loader, epoch)))[1].tolist() for epoch in (0, 1)]

    assert orders[0] != orders[1]
    assert run_epoch(other, 0)[0][1].tolist() != orders[0]


def test_augmentation_differs_between_epochs_without_shuffling() -> None:
    loader = SeededLoader(make_dataset(), batch_size=23, seed=1, crop_padding=2)

    assert not torch.equal(run_epoch(loader, 0)[0][0], run_epoch(loader, 1)[0][0])


def test_drop_last_leaves_out_the_small_batch() -> None:
    loader = SeededLoader(make_dataset(10), batch_size=4, seed=0, drop_last=True)

    assert [len(labels) for _, labels in loader] == [4, 4]
    assert len(loader) == 2


def test_workers_give_the_same_batches() -> None:
    options: dict[str, Any] = {"batch_size": 6, "seed": 5, "shuffle": True, "flip": True}
    here = SeededLoader(make_dataset(), **options)
    there = SeededLoader(make_dataset(), **options, n_workers=1)

    assert are_equal(run_epoch(there, 3, 1), run_epoch(here, 3, 1))


@pytest.mark.parametrize("n_workers", [0, 1])
def test_the_global_generator_does_not_move(n_workers: int) -> None:
    before = torch.get_rng_state()
    list(
        SeededLoader(
            make_dataset(), batch_size=8, seed=0, shuffle=True, flip=True, n_workers=n_workers
        )
    )

    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("position", [(-1, 0), (0, -1), (0, 7)])
def test_refuses_a_position_out_of_range(position: tuple[int, int]) -> None:
    loader = SeededLoader(make_dataset(), batch_size=4, seed=0)
    with pytest.raises(ConfigError):
        loader.set_position(*position)


@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": 0},
        {"crop_padding": -1},
        {"crop_padding": 4},  # of pictures of 4 x 4
        {"n_workers": -1},
        {"n_workers": 1000},  # on any machine of fewer than 250 cores
        {"n_workers": 2**63 - 1},
        {"batch_size": 2**63},
        {"batch_size": 24, "drop_last": True},
        {"rank": 2, "n_ranks": 2, "drop_last": True},
        {"rank": 0, "n_ranks": 3, "drop_last": True},  # batches of four
        {"rank": 0, "n_ranks": 2},  # a last batch of three
    ],
)
def test_refuses_options_out_of_range(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        SeededLoader(make_dataset(), **{"batch_size": 4, "seed": 0, **options})


def test_refuses_an_empty_dataset() -> None:
    with pytest.raises(DataError, match="at least one picture"):
        SeededLoader(make_dataset(0), batch_size=4, seed=0)


@pytest.mark.parametrize("n_workers", [0, 1])
def test_ranks_share_every_batch_of_one_loader(n_workers: int) -> None:
    options: dict[str, Any] = {"batch_size": 6, "seed": 0, "shuffle": True, "drop_last": True}
    whole = run_epoch(SeededLoader(make_dataset(), **options), 1)
    parts = [
        run_epoch(
            SeededLoader(make_dataset(), **options, rank=rank, n_ranks=2, n_workers=n_workers), 1
        )
        for rank in range(2)
    ]
    assert len(whole) == len(parts[0]) == len(parts[1]) == 3
    for number, (_, labels) in enumerate(whole):
        dealt = torch.stack([part[number][1] for part in parts], dim=1).flatten()
        assert dealt.tolist() == labels.tolist()


def test_ranks_augment_their_pictures_each_in_its_own_way() -> None:
    images = torch.rand(1, 1, 8, 8).expand(8, 1, 8, 8)
    dataset = TensorDataset(images, torch.zeros(8, dtype=torch.long))
    options: dict[str, Any] = {"batch_size": 8, "seed": 0, "drop_last": True, "crop_padding": 4}
    first, again, second = (
        next(iter(SeededLoader(dataset, **options, rank=rank, n_ranks=2)))[0] for rank in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


def test_gathers_evenly_from_a_dataset() -> None:
    images = gather_images(make_dataset(9), 3)

    assert images[:, 0, 0, 0].tolist() == [1, 5, 9]
    assert len(gather_images(make_dataset(9), 100)) == 9


def test_gathers_the_first_of_a_loader_and_no_more() -> None:
    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        for start in (0, 4):
            yield torch.arange(start, start + 4.0)[:, None, None, None], torch.zeros(4)
        raise AssertionError("asked for more than it needs")

    assert gather_images(batches(), 6).flatten().tolist() == [0, 1, 2, 3, 4, 5]
    loader = SeededLoader(make_dataset(), batch_size=4, seed=0)
    assert gather_images(loader, 6)[:, 0, 0, 0].tolist() == [1, 2, 3, 4, 5, 6]


def test_gathering_nothing_is_an_error() -> None:
    with pytest.raises(DataError):
        gather_images(iter([]), 5)
    with pytest.raises(DataError):
        gather_images(make_dataset(0), 5)
    with pytest.raises(ConfigError):
        gather_images(make_dataset(), 0)
