"""Pictures from a user's own function."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dpod_search.data import DataSettings
from dpod_search.data import load_data
from dpod_search.data.datasets import fetch_batch
from dpod_search.errors import ConfigError
from dpod_search.errors import DataError


MODULE = """
import torch
from torch.utils.data import Dataset, TensorDataset
from dpod_search.data import DataSettings
from dpod_search.data.digits import load_digits

class Plain(Dataset):
    def __init__(self, n, n_classes, image):
        self.n, self.n_classes, self.image = n, n_classes, image
    def __len__(self):
        return self.n
    def __getitem__(self, index):
        if index >= self.n:
            raise IndexError
        return self.image + index, index % self.n_classes

def tensors(n=60, shift=0.0, with_test=False):
    images = torch.zeros(n, 1, 6, 6) + shift
    dataset = TensorDataset(images, torch.arange(n) % 3)
    return dataset, dataset if with_test else None, 3

def plain():
    return Plain(40, 2, torch.zeros(3, 5, 5)), None, 2

def source():
    return load_digits(DataSettings())

def number():
    return 3

def bytes_instead():
    return Plain(40, 2, torch.zeros(3, 5, 5, dtype=torch.uint8)), None, 2

def empty():
    return Plain(0, 2, torch.zeros(3, 5, 5)), None, 2

def labels_too_high():
    return Plain(40, 4, torch.zeros(3, 5, 5)), None, 2

def one_class():
    return Plain(40, 1, torch.zeros(3, 5, 5)), None, 1

def one_hot():
    labels = torch.eye(2)[torch.arange(40) % 2]
    return TensorDataset(torch.zeros(40, 3, 5, 5), labels), None, 2

def floats():
    return TensorDataset(torch.zeros(40, 5), torch.rand(40)), None, 1

def masks(shift=0):
    images = torch.zeros(40, 3, 5, 5)
    masks = torch.arange(40)[:, None, None].expand(40, 5, 5) % 3 + shift
    return TensorDataset(images, masks), TensorDataset(images, masks), 4

def tokens():
    rows = torch.arange(40 * 6).reshape(40, 6)
    return TensorDataset(rows[:, :-1], rows[:, 1:]), None, 240

def two_inputs():
    class Two(Plain):
        def __getitem__(self, index):
            return {"a": torch.rand(3), "b": torch.arange(2)}, index % 2
    return Two(40, 2, None), None, 2

def float_test():
    dataset = TensorDataset(torch.zeros(40, 5), torch.arange(40) % 2)
    return dataset, floats()[0], 2

def no_outputs():
    return floats()[0], None, 0

def not_a_dataset():
    return iter([]), None, 2
"""


@pytest.fixture(autouse=True)
def _own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_pictures.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)


def make_settings(function: str, **arguments: Any) -> DataSettings:
    """Make settings that name a function of the module above."""
    return DataSettings(name=f"own_pictures:{function}", arguments=arguments)


def test_tensors_with_arguments() -> None:
    splits = load_data(make_settings("tensors", n=90), 0)

    assert sum(splits.summary()["sizes"].values()) == 90
    assert splits.class_names == ("0", "1", "2")
    assert splits.input_shape == (1, 6, 6)


def test_its_own_test_set_is_kept() -> None:
    assert len(load_data(make_settings("tensors", with_test=True), 0).test) == 60


def test_labels_of_any_dataset_are_read() -> None:
    splits = load_data(make_settings("plain"), 0)
    image, label = splits.train[0]

    assert int(image[0, 0, 0]) % 2 == label


def test_a_source_is_taken_as_it_is() -> None:
    assert load_data(make_settings("source"), 0).fingerprint == (
        load_data(DataSettings(), 0).fingerprint
    )


@pytest.mark.parametrize(
    ("function", "sample", "target", "n"),
    [
        ("floats", (5,), (), 1),
        ("one_hot", (3, 5, 5), (2,), 2),
        ("masks", (3, 5, 5), (5, 5), 4),
        ("tokens", (5,), (5,), 240),
    ],
)
def test_targets_that_are_no_classes(
    function: str, sample: tuple[int, ...], target: tuple[int, ...], n: int
) -> None:
    splits = load_data(make_settings(function), 0)
    found, wanted = fetch_batch(splits.train, [0, 1, 2])

    assert splits.input_shape == sample
    assert splits.example.shape == (2, *sample)
    assert splits.example.dtype == found.dtype
    assert found.shape == (3, *sample)
    assert wanted.shape == (3, *target)
    assert splits.n_classes == n


def test_samples_of_several_tensors_are_split() -> None:
    splits = load_data(make_settings("two_inputs"), 0)
    samples, _ = fetch_batch(splits.train, [0, 1])

    assert sorted(samples) == ["a", "b"]
    assert splits.input_shape == (3,)


def test_fingerprint_sees_masks() -> None:
    prints = {load_data(make_settings("masks", shift=s), 0).fingerprint for s in (0, 1)}

    assert len(prints) == 2


@pytest.mark.parametrize(
    ("function", "seed", "fingerprint"),
    [
        ("tensors", 0, "a192f8ccb56b9758960550569219973f48fabe28e5db359ca9b7f544b57f8f22"),
        ("plain", 3, "2162f8aaed5c9b7591c30cfc6ded7d40820ab06c66c68f102bf098b3b73d2faa"),
    ],
)
def test_labelled_pictures_have_the_fingerprint_that_they_always_had(
    function: str, seed: int, fingerprint: str
) -> None:
    arguments = {"with_test": True} if function == "tensors" else {}

    assert load_data(make_settings(function, **arguments), seed).fingerprint == fingerprint


def test_fingerprint_sees_the_pictures() -> None:
    prints = {
        load_data(make_settings("tensors", shift=shift), 0).fingerprint for shift in (0.0, 1.0)
    }

    assert len(prints) == 2


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("number", "must return a DataSource or .* got a int"),
        ("bytes_instead", "float32 tensor channels x height x width"),
        ("empty", "is empty"),
        ("labels_too_high", r"labels must lie in \[0, 2\), got 0 to 3"),
        ("one_class", "n_classes, must be >= 2, got 1"),
        ("float_test", "the test set must have whole numbers as labels, as the training set"),
        ("no_outputs", "n_classes, must be >= 1, got 0"),
        ("not_a_dataset", "must have a length and indices"),
    ],
)
def test_what_a_function_must_not_return(function: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        load_data(make_settings(function), 0)
    assert "\n" not in str(caught.value)


def test_arguments_the_function_does_not_take() -> None:
    with pytest.raises(ConfigError, match="it takes n, shift, with_test"):
        load_data(make_settings("tensors", size=3), 0)
