"""Splits: disjoint, covering, stratified, and a function of the seed."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dpod_search.data import DataSettings
from dpod_search.data import DataSplits
from dpod_search.data import SeededLoader
from dpod_search.data import load_data
from dpod_search.data.source import hash_tensors
from dpod_search.data.splits import split_indices
from dpod_search.data.splits import split_unlabelled
from dpod_search.errors import ConfigError
from dpod_search.errors import DataError


def make_labels(counts: list[int], seed: int = 0) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Make labels with so many of each class, in random order."""
    labels = np.repeat(np.arange(len(counts)), counts)
    return np.random.default_rng(seed).permutation(labels)


def name_classes(counts: list[int]) -> tuple[str, ...]:
    """Name classes by their numbers."""
    return tuple(map(str, range(len(counts))))


share = st.floats(0.01, 0.31)


@given(
    counts=st.lists(st.integers(4, 60), min_size=1, max_size=5),
    shares=st.tuples(share, share, share),
    seed=st.integers(0, 2**40),
)
def test_splits_are_disjoint_covering_and_stratified(
    counts: list[int], shares: tuple[float, float, float], seed: int
) -> None:
    labels = make_labels(counts)
    wanted = dict(zip(("calibration", "validation", "test"), shares, strict=True))
    parts = split_indices(labels, wanted, seed=seed, class_names=name_classes(counts))

    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(len(labels)))
    for name, indices in parts.items():
        got = np.bincount(labels[indices], minlength=len(counts))
        assert (got >= 1).all()
        if name != "train":
            ideal = np.array(counts) * wanted[name]
            # Half a picture of rounding, at least one picture, and room left to train.
            assert (np.abs(got - np.maximum(ideal, 1)) <= 1.5).all()


@given(seed=st.integers(0, 2**40))
def test_splits_are_a_function_of_the_seed(seed: int) -> None:
    labels = make_labels([20, 30])
    shares = {"calibration": 0.2, "validation": 0.2}
    first, again, other = (
        split_indices(labels, shares, seed=s, class_names=("a", "b"))
        for s in (seed, seed, seed + 1)
    )

    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert any(not np.array_equal(first[name], other[name]) for name in first)


def test_the_pictures_of_a_split_are_not_sorted_by_class() -> None:
    labels = np.repeat(np.arange(4), 50)
    parts = split_indices(labels, {"calibration": 0.2}, seed=0, class_names=name_classes([50] * 4))

    assert len(set(labels[parts["calibration"][:15]].tolist())) == 4


def test_a_class_with_too_few_pictures_is_named() -> None:
    with pytest.raises(DataError, match=r"class 'cat' has too few pictures \(2\).*3 splits"):
        split_indices(
            make_labels([9, 2]),
            {"calibration": 0.1, "validation": 0.1},
            seed=0,
            class_names=("dog", "cat"),
        )


@pytest.fixture(scope="module")
def digits() -> DataSplits:
    """The digits, split with seed 0."""
    return load_data(DataSettings(), 0)


def test_digits_are_split_by_their_shares(digits: DataSplits) -> None:
    summary = digits.summary()

    assert sum(summary["sizes"].values()) == 1797
    assert summary["sizes"]["validation"] == pytest.approx(0.2 * 1797, abs=5)
    assert summary["sizes"]["calibration"] == pytest.approx(0.1 * 1797, abs=5)
    assert summary["sizes"]["test"] == pytest.approx(0.2 * 1797, abs=5)
    assert digits.input_shape == (1, 8, 8)
    assert json.loads(json.dumps(summary)) == summary


def test_fingerprint_changes_with_seed_and_pictures_only(digits: DataSplits) -> None:
    assert load_data(DataSettings(root="elsewhere"), 0).fingerprint == digits.fingerprint
    assert load_data(DataSettings(), 1).fingerprint != digits.fingerprint
    assert load_data(DataSettings(image_size=10), 0).fingerprint != digits.fingerprint
    assert load_data(DataSettings(test_share=0.1), 0).fingerprint != digits.fingerprint


def test_splits_of_labelled_pictures_are_what_they_have_always_been(digits: DataSplits) -> None:
    # A run goes on only with the data that it began with.
    assert digits.fingerprint == (
        "4e1fbc3248dceba665c07c27bc0ab2e751912ccf73c29a1ea97ca7070e48f3d6"
    )
    loader = SeededLoader(
        digits.train, batch_size=64, seed=0, shuffle=True, crop_padding=1, flip=True
    )
    assert hash_tensors(*(tensor for batch in loader for tensor in batch)) == (
        "ffeb3a70c2ae715d965389041610fce6b54d7e6f97e5ddb3124c3aa186a27f35"
    )


@given(n=st.integers(4, 200), shares=st.tuples(share, share, share), seed=st.integers(0, 2**40))
def test_samples_without_classes_are_split_by_the_seed(
    n: int, shares: tuple[float, float, float], seed: int
) -> None:
    wanted = dict(zip(("calibration", "validation", "test"), shares, strict=True))
    parts = split_unlabelled(n, wanted, seed=seed)

    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(n))
    assert all(len(part) for part in parts.values())
    again = split_unlabelled(n, wanted, seed=seed)
    assert all(np.array_equal(parts[name], again[name]) for name in parts)


def test_too_few_samples_without_classes() -> None:
    with pytest.raises(DataError, match=r"too few samples to train on \(2\)"):
        split_unlabelled(2, {"calibration": 0.1, "validation": 0.1}, seed=0)


def test_an_example_is_two_training_samples(digits: DataSplits) -> None:
    assert torch.equal(digits.example, torch.stack([digits.train[i][0] for i in (0, 1)]))


@pytest.mark.parametrize(
    "settings",
    [
        {"validation_share": 0.0},
        {"calibration_share": 1.0},
        {"test_share": float("nan")},
        {"validation_share": 0.5, "calibration_share": 0.3, "test_share": 0.2},
        {"image_size": 0},
    ],
)
def test_settings_out_of_range(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"data\."):
        DataSettings(**settings)


def test_classes_without_names_are_told_by_their_numbers(tmp_path):
    labels = np.arange(1200).repeat(4)
    file = tmp_path / "many.npz"
    np.savez(file, x=np.random.default_rng(0).normal(size=(4800, 3)).astype(np.float32), y=labels)
    splits = load_data(DataSettings(name=f"arrays:{file}"), seed=0)
    assert splits.class_names == ()
    assert splits.n_classes == 1200
    assert len(splits.test) >= 1200
