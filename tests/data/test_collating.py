"""Items become batches, and come out of them as they went in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dpod_search.data.collating import collate
from dpod_search.data.collating import list_tensors
from dpod_search.data.collating import split_batch
from dpod_search.data.datasets import InMemorySamples
from dpod_search.data.datasets import fetch_batch
from dpod_search.errors import DataError


@dataclass(frozen=True)
class Pair:
    """A sample of two tensors."""

    ids: Tensor
    mask: Tensor


SAMPLES: tuple[Any, ...] = (
    torch.arange(3),
    (torch.arange(3), torch.rand(2, 2)),
    {"ids": torch.arange(3), "more": (torch.rand(1),)},
    Pair(torch.arange(3), torch.ones(3)),
)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: type(sample).__name__)
def test_what_is_collated_comes_out_again(sample: Any) -> None:
    batch = collate([sample, sample, sample])
    items = split_batch(batch, torch.tensor([5, 6, 7]))

    assert type(batch) is type(sample)
    assert [target for _, target in items] == [5, 6, 7]
    for found, given in zip(list_tensors(items[1][0]), list_tensors(sample), strict=True):
        assert torch.equal(found, given)


@pytest.mark.parametrize(
    ("numbers", "dtype"),
    [
        ([1, 2], torch.int64),
        ([True, False], torch.int64),
        ([0.5, 2.0], torch.float32),
        ([np.float64(0.5), np.float64(1)], torch.float32),
        ([np.ones(2), np.zeros(2)], torch.float32),
    ],
)
def test_numbers_become_a_tensor(numbers: list[Any], dtype: torch.dtype) -> None:
    made = collate(numbers)

    assert made.dtype == dtype
    assert len(made) == 2


class Listed(Dataset[Any]):
    """Items of a list."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]


def test_samples_of_several_tensors_and_targets_that_are_tensors_make_a_batch() -> None:
    samples, targets = fetch_batch(Listed([(s, torch.rand(4)) for s in [SAMPLES[2]] * 3]), [0, 2])

    assert samples["ids"].shape == (2, 3)
    assert samples["more"][0].shape == (2, 1)
    assert targets.shape == (2, 4)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (
            [(torch.ones(3), 0), (torch.ones(4), 0)],
            r"of one shape, got \(4,\) at index 1, not \(3,\)",
        ),
        ([(torch.ones(3), torch.ones(2)), (torch.ones(3), torch.ones(1))], "targets of one shape"),
        ([("text", 0)], "got <class 'str'> at index 0"),
        ([(torch.ones(3), "cat")], "got 'cat' at index 0; give the number"),
        ([(torch.ones(3), 0), torch.ones(3)], "at index 1"),
        ([({"a": torch.ones(3)}, 0), ({"b": torch.ones(3, 1)}, 0)], "samples of one shape"),
    ],
)
def test_what_makes_no_batch_is_one_line(items: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        fetch_batch(Listed(items), range(len(items)))
    assert "\n" not in str(caught.value)


def test_bytes_in_memory_are_handed_out_as_classes() -> None:
    dataset = InMemorySamples(torch.rand(3, 2), torch.full((3, 4), 255, dtype=torch.uint8))

    assert dataset[1][1].tolist() == [255] * 4
    assert dataset.fetch([0, 2])[1].dtype == torch.int64
    assert InMemorySamples(torch.rand(3, 2), torch.arange(3))[2][1] == 2
    assert len(dataset.__getitems__([0, 1])) == len(dataset) - 1
