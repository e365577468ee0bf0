"""Array files: what x and y mean by their types and axes, and what is said of bad ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dpod_search.data import DataSettings
from dpod_search.data import DataSplits
from dpod_search.data import load_data
from dpod_search.data.arrays import standardize
from dpod_search.data.datasets import fetch_batch
from dpod_search.errors import ConfigError
from dpod_search.errors import DataError


DRAW = np.random.default_rng(0)
PICTURES = DRAW.integers(0, 256, (40, 6, 7, 3), dtype=np.uint8)
CLASSES = np.arange(40) % 3
MASKS = DRAW.integers(0, 5, (40, 6, 7), dtype=np.uint8)
ROWS = DRAW.normal(5, 2, (40, 4))
TOKENS = DRAW.integers(0, 9, (40, 8))


def load(folder: Path, arguments: dict[str, Any] | None = None, **arrays: Any) -> DataSplits:
    """Write a file and load it."""
    np.savez(folder / "arrays.npz", **arrays)
    settings = DataSettings(name="arrays:arrays.npz", root=str(folder), arguments=arguments or {})
    return load_data(settings, 0)


@pytest.mark.parametrize(
    ("x", "y", "shape", "n", "target"),
    [
        (PICTURES, CLASSES, (3, 6, 7), 3, ()),
        (PICTURES, CLASSES == 1, (3, 6, 7), 2, ()),
        (PICTURES.transpose(0, 3, 1, 2), CLASSES.astype(np.uint8), (3, 6, 7), 3, ()),
        (PICTURES[..., :1], MASKS, (1, 6, 7), 5, (6, 7)),
        (PICTURES, CLASSES[:, None] == [0, 1, 2], (3, 6, 7), 3, (3,)),
        (ROWS, ROWS[:, 0], (4,), 1, ()),
        (ROWS.astype(np.float32), ROWS[:, :2], (4,), 2, (2,)),
        (ROWS, (ROWS > 5).astype(np.int8), (4,), 4, (4,)),
        (TOKENS, TOKENS.astype(np.int16), (8,), 9, (8,)),
        (DRAW.random((40, 8, 5)), TOKENS, (8, 5), 9, (8,)),
    ],
)
def test_types_and_axes_say_what_is_meant(
    tmp_path: Path, *, x: Any, y: Any, shape: tuple[int, ...], n: int, target: tuple[int, ...]
) -> None:
    splits = load(tmp_path, x=x, y=y)
    samples, targets = fetch_batch(splits.train, [0, 1])

    assert samples.shape == (2, *shape)
    assert splits.input_shape == shape
    assert samples.dtype == (torch.int64 if x is TOKENS else torch.float32)
    assert splits.n_classes == n
    assert targets.shape == (2, *target)
    assert targets.is_floating_point() == (y.dtype.kind == "f")


def test_pictures_are_normalised_by_the_training_pictures(tmp_path: Path) -> None:
    splits = load(tmp_path, train_x=PICTURES, train_y=MASKS, test_x=PICTURES // 2, test_y=MASKS)
    train, calibration, validation = (
        fetch_batch(part, range(len(part)))[0]
        for part in (splits.train, splits.calibration, splits.validation)
    )
    whole = torch.cat([train, calibration, validation])
    test = fetch_batch(splits.test, range(40))[0]

    torch.testing.assert_close(whole.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(whole.std((0, 2, 3), correction=0), torch.ones(3))
    assert (test.mean((0, 2, 3)) < -0.5).all()


def test_classes_are_in_every_split_and_parts_are_kept(tmp_path: Path) -> None:
    splits = load(tmp_path, train_x=ROWS, train_y=CLASSES, val_x=ROWS[:6], val_y=CLASSES[:6])
    for part in (splits.train, splits.calibration, splits.test):
        assert set(fetch_batch(part, range(len(part)))[1].tolist()) == {0, 1, 2}
    assert len(splits.validation) == 6


def test_rows_are_standardised_if_asked(tmp_path: Path) -> None:
    plain, scaled = (
        load(
            tmp_path,
            {"standardize": is_asked},
            train_x=ROWS,
            train_y=ROWS[:, 0],
            test_x=ROWS,
            test_y=ROWS[:, 0],
        )
        for is_asked in (False, True)
    )
    test, _ = fetch_batch(scaled.test, range(40))

    torch.testing.assert_close(test.mean(0), torch.zeros(4), atol=1e-6, rtol=0)
    torch.testing.assert_close(test.std(0, correction=0), torch.ones(4))
    assert fetch_batch(plain.test, range(40))[0].mean() > 4
    assert plain.fingerprint != scaled.fingerprint


def test_what_does_not_vary_becomes_zero() -> None:
    assert standardize(torch.full((3, 2), 7.0), torch.full((3, 2), 7.0)).eq(0).all()


def test_the_class_that_is_not_looked_at_is_not_counted(tmp_path: Path) -> None:
    void = np.where(MASKS == 4, 255, MASKS)

    assert load(tmp_path, x=PICTURES, y=void).n_classes == 4
    assert load(tmp_path, {"ignored": 4}, x=PICTURES, y=MASKS).n_classes == 4
    assert load(tmp_path, {"outputs": 9}, x=PICTURES, y=MASKS).n_classes == 9


def test_the_fingerprint_sees_masks(tmp_path: Path) -> None:
    first, second = (load(tmp_path, x=PICTURES, y=y) for y in (MASKS, MASKS[::-1]))

    assert first.fingerprint != second.fingerprint


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": ROWS}, "must hold x and y, .* holds x"),
        ({"a": ROWS, "b": CLASSES}, "must hold x and y"),
        ({"x": ROWS, "y": CLASSES, "test_x": ROWS}, "must hold x and y"),
        ({"x": ROWS, "y": CLASSES, "z": ROWS}, "holds x, y, z"),
        ({"x": ROWS, "y": CLASSES[:3]}, r"a target y for each, got \(40, 4\) and \(3,\)"),
        ({"x": ROWS[:0], "y": CLASSES[:0]}, "must have samples"),
        ({"x": CLASSES, "y": CLASSES}, "two or more axes"),
        ({"x": ROWS, "y": np.array(["cat"] * 40)}, "must have numbers as y"),
        ({"x": ROWS, "y": np.array([None] * 40)}, "cannot be read .*without objects"),
        ({"x": np.full((40, 2), np.nan), "y": CLASSES}, "NaN or infinity in x"),
        ({"x": ROWS, "y": np.full(40, np.inf)}, "NaN or infinity in y"),
        ({"x": ROWS, "y": CLASSES - 1}, r"classes must lie in \[0, 2\), got -1 to 1"),
        ({"x": PICTURES.reshape(40, -1), "y": CLASSES}, "uint8 x must be pictures"),
        (
            {"x": PICTURES[:, :, :3], "y": CLASSES, "val_x": PICTURES, "val_y": CLASSES},
            "shape and type",
        ),
        ({"x": ROWS, "y": CLASSES * 0}, "one class alone"),
    ],
)
def test_bad_files_are_one_line(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        load(tmp_path, **arrays)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.npz", "there is no file"),
        ("bad.npz", "cannot be read"),
        ("one.npy", "one array"),
        ("a" * 300, "no file"),
    ],
)
def test_what_is_no_such_file(tmp_path: Path, name: str, message: str) -> None:
    np.savez(tmp_path / "good.npz", x=ROWS, y=CLASSES)
    (tmp_path / "bad.npz").write_bytes((tmp_path / "good.npz").read_bytes()[:300])
    np.save(tmp_path / "one.npy", ROWS)
    with pytest.raises(DataError, match=message) as caught:
        load_data(DataSettings(name=f"arrays:{name}", root=str(tmp_path)), 0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"standardize": 1}, "standardize must be true or false, got 1"),
        ({"ignored": 0.5}, "ignored must be a whole number"),
        ({"outputs": 0}, "outputs must be"),
        ({"size": 3}, "it takes standardize, ignored, outputs"),
    ],
)
def test_arguments_are_checked(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, arguments, x=ROWS, y=CLASSES)


def test_pictures_are_not_resized(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.image_size does not reach arrays:a\.npz"):
        load_data(DataSettings(name="arrays:a.npz", root=str(tmp_path), image_size=8), 0)
