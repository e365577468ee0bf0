"""Folders of pictures and masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dpod_search.data import DataSettings
from dpod_search.data import DataSplits
from dpod_search.data import load_data
from dpod_search.data.datasets import fetch_batch
from dpod_search.errors import ConfigError
from dpod_search.errors import DataError


def write_pair(place: Path, name: str, classes: Any, mode: str = "L") -> None:
    """Write a picture, red by the class of a pixel, and its mask."""
    classes = np.asarray(classes, dtype=np.uint8)
    for folder in ("images", "masks"):
        (place / folder).mkdir(parents=True, exist_ok=True)
    picture = np.stack([classes * 20, classes * 0, classes * 0], axis=-1)
    Image.fromarray(picture).save(place / "images" / f"{name}.png")
    mask = Image.fromarray(classes)
    if mode == "P":
        mask.putpalette([7, 8, 9] * 256)
    mask.save(place / "masks" / f"{name}.{'png' if mode == 'P' else 'bmp'}")


def make_masks(n: int, height: int = 6, width: int = 8) -> Any:
    """Make masks of four classes and one that is not looked at."""
    return np.random.default_rng(0).choice([0, 1, 2, 3, 255], (n, height, width))


def load(folder: Path, name: str = "scenes", **settings: Any) -> DataSplits:
    """Load a folder."""
    return load_data(DataSettings(name=f"segmentation:{name}", root=str(folder), **settings), 0)


@pytest.mark.parametrize("mode", ["L", "P"])
def test_masks_are_class_numbers_that_belong_to_their_pictures(tmp_path: Path, mode: str) -> None:
    for index, mask in enumerate(make_masks(12)):
        write_pair(tmp_path / "scenes", f"{index}.day", np.where(mask == 255, 4, mask), mode)
    splits = load(tmp_path, arguments={"ignored": 4})
    images, masks = fetch_batch(splits.train, range(len(splits.train)))

    assert images.shape == (len(masks), 3, 6, 8)
    assert images.dtype == torch.float32
    assert masks.dtype == torch.int64
    assert splits.n_classes == 4
    red = (images[:, 0] * 0.229 + 0.485) * 255 / 20
    assert torch.equal(red.round().long(), masks)


def test_parts_are_kept_and_hidden_files_passed_over(tmp_path: Path) -> None:
    for part, n in (("train", 9), ("val", 3), ("test", 2)):
        for index, mask in enumerate(make_masks(n)):
            write_pair(tmp_path / "scenes" / part, str(index), mask)
    (tmp_path / "scenes/train/images/.hidden.png").write_bytes(b"")
    (tmp_path / "scenes/train/masks/notes.txt").write_text("none")
    splits = load(tmp_path)

    assert (len(splits.validation), len(splits.test)) == (3, 2)
    assert splits.n_classes == 4
    assert load(tmp_path, arguments={"n_classes": 7}).n_classes == 7


def test_resizing_makes_no_new_classes(tmp_path: Path) -> None:
    for index, mask in enumerate(make_masks(12)):
        write_pair(tmp_path / "scenes", str(index), np.where(mask > 0, 3, 0))
    splits = load(tmp_path, image_size=5)
    images, masks = fetch_batch(splits.train, range(len(splits.train)))

    assert images.shape[1:] == (3, 5, 5)
    assert set(masks.unique().tolist()) == {0, 3}
    assert images[:, 0].unique().numel() > 2  # bilinear


def test_the_fingerprint_sees_names_and_the_size(tmp_path: Path) -> None:
    for index, mask in enumerate(make_masks(12)):
        write_pair(tmp_path / "scenes", str(index), mask)
    first, small = load(tmp_path), load(tmp_path, image_size=4)
    write_pair(tmp_path / "scenes", "more", make_masks(1)[0])

    assert len({first.fingerprint, small.fingerprint, load(tmp_path).fingerprint}) == 3


def break_size(place: Path) -> None:
    Image.fromarray(np.zeros((3, 3), np.uint8)).save(place / "masks/0.bmp")


def break_mode(place: Path) -> None:
    Image.fromarray(np.zeros((6, 8, 3), np.uint8)).save(place / "masks/0.bmp")


def break_partner(place: Path) -> None:
    (place / "masks/0.bmp").unlink()


def break_masks(place: Path) -> None:
    (place / "masks").rename(place / "labels")


def break_file(place: Path) -> None:
    (place / "masks/0.bmp").write_bytes(b"BM and nothing")


def break_names(place: Path) -> None:
    (place / "masks/0.png").write_bytes((place / "masks/0.bmp").read_bytes())


def break_all(place: Path) -> None:
    for path in place.glob("*/*"):
        path.unlink()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (break_size, r"masks/0\.bmp is 3 x 3 and its picture 6 x 8; make a mask"),
        (break_mode, r"masks/0\.bmp must be grey of 8 bits .* is RGB"),
        (break_partner, "these are in one alone: 0$"),
        (break_masks, "masks cannot be read: No such file"),
        (break_file, r"masks/0\.bmp cannot be read as a mask"),
        (break_names, r"0\.bmp and 0\.png have one name"),
        (break_all, "and has none"),
    ],
)
def test_bad_folders_are_one_line(tmp_path: Path, change: Any, message: str) -> None:
    for index, mask in enumerate(make_masks(5)):
        write_pair(tmp_path / "scenes", str(index), mask)
    change(tmp_path / "scenes")
    with pytest.raises(DataError, match=message) as caught:
        splits = load(tmp_path)
        for part in (splits.train, splits.calibration, splits.validation, splits.test):
            fetch_batch(part, range(len(part)))
    assert "\n" not in str(caught.value)


def test_a_missing_folder_and_wrong_arguments(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no folder .*none"):
        load(tmp_path, "none")
    with pytest.raises(ConfigError, match="ignored must be"):
        load(tmp_path, arguments={"ignored": 256})
    with pytest.raises(ConfigError, match="it takes ignored, n_classes"):
        load(tmp_path, arguments={"classes": 2})


@pytest.mark.parametrize("value", [0, 255])
def test_masks_of_one_class_are_refused(tmp_path: Path, value: int) -> None:
    for index, mask in enumerate(make_masks(8)):
        write_pair(
            tmp_path / "scenes", str(index), np.where(mask > 1, value, 0) if value else mask * 0
        )
    with pytest.raises(DataError, match="one class alone in its masks, 255 aside.*write 255 as 1"):
        load(tmp_path)
