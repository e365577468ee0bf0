"""Folders of pictures: with and without a test folder, and what goes wrong with them."""

from __future__ import annotations

import itertools
import json
import os
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dpod_search.data import DataSettings
from dpod_search.data import ImageDataset
from dpod_search.data import SeededLoader
from dpod_search.data import load_data
from dpod_search.data.image_folder import FolderImages
from dpod_search.errors import ConfigError
from dpod_search.errors import DataError


def write_pictures(folder: Path, classes: tuple[str, ...] = ("cat", "dog"), n: int = 8) -> None:
    """Write random pictures of odd sizes, one subfolder a class."""
    rng = np.random.default_rng(0)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for index in range(n):
            pixels = rng.integers(0, 256, (20 + index, 30, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{index}.png")


def make_settings(folder: Path, size: int | None = 16) -> DataSettings:
    """Make settings that name a folder."""
    return DataSettings(name=f"imagefolder:{folder}", image_size=size)


def test_one_folder_of_classes_is_split_four_ways(tmp_path: Path) -> None:
    write_pictures(tmp_path)
    splits = load_data(make_settings(tmp_path), 0)

    assert splits.class_names == ("cat", "dog")
    assert splits.input_shape == (3, 16, 16)
    assert sum(splits.summary()["sizes"].values()) == 16
    image, label = splits.train[0]
    assert image.dtype == torch.float32
    assert label in {0, 1}


def test_pictures_become_64_pixels_unless_told(tmp_path: Path) -> None:
    write_pictures(tmp_path)

    assert load_data(make_settings(tmp_path, None), 0).input_shape == (3, 64, 64)


@pytest.mark.parametrize(
    ("name", "part"),
    [("test", "test"), *((name, "validation") for name in ("val", "valid", "validation"))],
)
def test_a_part_is_read_as_it_stands(tmp_path: Path, name: str, part: str) -> None:
    write_pictures(tmp_path / "train")
    write_pictures(tmp_path / name, n=3)
    splits = load_data(make_settings(tmp_path), 0)
    sizes = splits.summary()["sizes"]

    assert sizes[part] == 6
    assert sum(sizes.values()) == 6 + 16
    assert list_files(getattr(splits, part)) == sorted(tmp_path.glob(f"{name}/*/*"))


def list_files(split: ImageDataset) -> list[Path]:
    """List the files of a split that is a whole folder."""
    assert isinstance(split, FolderImages)
    return [Path(path) for path in split.listing.paths]


def test_three_parts_are_read_as_they_stand(tmp_path: Path) -> None:
    for name, n in {"train": 8, "val": 4, "test": 3}.items():
        write_pictures(tmp_path / name, n=n)
    splits = load_data(make_settings(tmp_path), 0)

    assert list_files(splits.validation) == sorted(tmp_path.glob("val/*/*"))
    assert list_files(splits.test) == sorted(tmp_path.glob("test/*/*"))
    assert len(splits.train) + len(splits.calibration) == 16


def test_settings_name_parts_that_lie_elsewhere(tmp_path: Path) -> None:
    for name, n in {"all": 8, "fresh": 4, "last": 3, "parts/train": 8, "parts/val": 5}.items():
        write_pictures(tmp_path / name, n=n)
    fresh = DataSettings(
        name=f"imagefolder:{tmp_path / 'all'}",
        validation=str(tmp_path / "fresh"),
        test=str(tmp_path / "last"),
    )
    splits = load_data(fresh, 0)
    assert list_files(splits.validation) == sorted(tmp_path.glob("fresh/*/*"))
    assert list_files(splits.test) == sorted(tmp_path.glob("last/*/*"))
    # It goes before one in the folder, and which pictures they are is part of the fingerprint.
    parts = replace(fresh, name=f"imagefolder:{tmp_path / 'parts'}", test=None)
    named = load_data(parts, 0)
    assert list_files(named.validation) == sorted(tmp_path.glob("fresh/*/*"))
    (tmp_path / "fresh" / "cat" / "0.png").rename(tmp_path / "fresh" / "cat" / "0a.png")
    assert load_data(parts, 0).fingerprint != named.fingerprint
    assert load_data(fresh, 0).fingerprint != splits.fingerprint


def test_parts_that_cannot_be_meant(tmp_path: Path) -> None:
    for name in ("two/train", "two/val", "two/valid", "caps/Train", "caps/Test", "all"):
        write_pictures(tmp_path / name)

    with pytest.raises(
        DataError, match=r"two holds val and valid, and only one can be the valida"
    ):
        load_data(make_settings(tmp_path / "two"), 0)
    with pytest.raises(DataError, match=r"\['Test', 'Train'\], which look like parts"):
        load_data(make_settings(tmp_path / "caps"), 0)
    settings = replace(make_settings(tmp_path / "all"), validation="nowhere")
    with pytest.raises(DataError, match=r"data\.validation: nowhere is not a folder"):
        load_data(settings, 0)
    inside = replace(settings, validation=str(tmp_path / "all" / "cat"))
    with pytest.raises(DataError, match="one subfolder of pictures a class"):
        load_data(inside, 0)
    with pytest.raises(ConfigError, match=r"data\.validation and data\.test name folders.*digits"):
        load_data(DataSettings(validation=str(tmp_path / "all")), 0)


def test_fingerprint_sees_names_and_sizes_but_not_the_place(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_pictures(tmp_path / name)
    first, second = (load_data(make_settings(tmp_path / name), 0) for name in "ab")
    assert first.fingerprint == second.fingerprint

    (tmp_path / "b" / "cat" / "0.png").rename(tmp_path / "b" / "cat" / "0a.png")
    assert load_data(make_settings(tmp_path / "b"), 0).fingerprint != first.fingerprint


@pytest.mark.parametrize(
    ("parts", "fingerprint"),
    [
        ([""], "c895b34899df4392130c92d5b52d8ec5208433c8f4c3c86bc656ef8f9a25e0f3"),
        (["train", "test"], "d29df0740a3c6aa4a018a2ad6fc239ac025e4d812d684ffc84a6f481cdc23910"),
    ],
)
def test_fingerprints_stay(parts: list[str], fingerprint: str, tmp_path: Path) -> None:
    # Of order, names, sizes and splits, as torchvision's ImageFolder lists them: else a run that
    # was begun with an earlier version is not resumed.
    for part, name in itertools.product(parts, ("cat", "Dog", "Dog/b", "Dog/b-", "Dog/B")):
        folder = tmp_path / part / name
        folder.mkdir(parents=True, exist_ok=True)
        for index in range(6):
            pixels = np.full((4 + index, 4), index, np.uint8)
            Image.fromarray(pixels).save(folder / f"{index}.bmp")

    assert load_data(make_settings(tmp_path, 4), 0).fingerprint == fingerprint


def test_greys_of_16_bits_are_the_pictures_that_those_of_8_are(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for name, index in itertools.product(("cat", "dog"), range(8)):
        pixels = random.integers(0, 256, (20, 30), dtype=np.uint8)
        forms = {"8": pixels, "16": pixels.astype(np.uint16) * 257, "1": pixels / np.float32(255)}
        for form, values in forms.items():
            (tmp_path / form / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(tmp_path / form / name / f"{index}.tiff")
    first, *others = (load_data(make_settings(tmp_path / form), 0).train for form in forms)

    for other in others:
        assert all(torch.equal(first[i][0], other[i][0]) for i in range(len(first)))


def test_missing_or_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a folder.*from here") as caught:
        load_data(make_settings(tmp_path / "none"), 0)
    assert str(Path.cwd()) in str(caught.value)
    for name in ("", "~nobody-here/pictures", "x" * 5000):
        with pytest.raises(DataError, match="is not a folder"):
            load_data(DataSettings(name=f"imagefolder:{name}"), 0)
    with pytest.raises(DataError, match="one subfolder of pictures a class") as caught:
        load_data(make_settings(tmp_path), 0)
    assert "\n" not in str(caught.value)


def test_hidden_folder_is_no_class(tmp_path: Path) -> None:
    write_pictures(tmp_path, ("cat", "dog", ".ipynb_checkpoints"))

    with pytest.raises(DataError, match=r"hidden folders.*\['\.ipynb_checkpoints'\]; remove them"):
        load_data(make_settings(tmp_path), 0)


def test_one_class_alone(tmp_path: Path) -> None:
    write_pictures(tmp_path, ("cat",))

    with pytest.raises(DataError, match=r"one class alone, cat: there is nothing to tell apart"):
        load_data(make_settings(tmp_path), 0)


def test_a_picture_must_not_be_trained_and_tested_on(tmp_path: Path) -> None:
    write_pictures(tmp_path / "train")
    write_pictures(tmp_path / "test", n=3)
    (tmp_path / "test" / "dog" / "old.png").hardlink_to(tmp_path / "train" / "dog" / "2.png")

    with pytest.raises(DataError, match=r"train/dog/2\.png and .*test/dog/old\.png are one"):
        load_data(make_settings(tmp_path), 0)


def test_names_that_are_not_utf_8(tmp_path: Path) -> None:
    write_pictures(tmp_path, ("cat", os.fsdecode(b"caf\xe9"), os.fsdecode(b"\xffa")))
    odd = tmp_path / os.fsdecode(b"caf\xe9")
    (odd / "0.png").rename(odd / os.fsdecode(b"\xe8.png"))
    splits = load_data(make_settings(tmp_path), 0)

    assert splits.class_names == (r"caf\xe9", "cat", r"\xffa")
    json.dumps(splits.summary(), ensure_ascii=False).encode()  # raises if half a character is left
    assert splits.test[0][0].shape == (3, 16, 16)


@pytest.mark.parametrize("name", ["test", "val"])
def test_part_with_other_classes(tmp_path: Path, name: str) -> None:
    write_pictures(tmp_path / "train")
    write_pictures(tmp_path / name, ("cat", "cow"))

    with pytest.raises(DataError, match=rf"{name} and .*train must.*\['cow', 'dog'\]"):
        load_data(make_settings(tmp_path), 0)


def test_damaged_picture_is_named(tmp_path: Path) -> None:
    write_pictures(tmp_path)
    for path in tmp_path.glob("*/*.png"):
        path.write_bytes(b"not a picture")

    with pytest.raises(DataError, match=r"\.png cannot be read as a picture"):
        load_data(make_settings(tmp_path), 0)


def test_picture_of_absurd_size_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pictures(tmp_path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)

    with pytest.raises(DataError, match=r"\.png cannot be read as a picture"):
        load_data(make_settings(tmp_path), 0)


@pytest.mark.data
def test_real_pictures(data_root: Path, tmp_path: Path) -> None:
    archive = data_root / "cifar10_images.tar.gz"
    if not archive.is_file():
        pytest.skip(f"no {archive.name} in the folder of optional data")
    with tarfile.open(archive, "r:gz") as tar:
        tar.extractall(tmp_path, members=itertools.islice(tar, 200), filter="data")
    splits = load_data(make_settings(tmp_path / "cifar10_images", 32), 0)

    assert splits.n_classes == 10
    assert splits.input_shape == (3, 32, 32)


@pytest.mark.parametrize("n_workers", [0, 1])
def test_damaged_picture_is_one_line_from_another_process_too(
    tmp_path: Path, n_workers: int
) -> None:
    write_pictures(tmp_path)
    train = load_data(make_settings(tmp_path), 0).train
    for path in tmp_path.glob("*/*.png"):
        path.write_bytes(b"not a picture")

    with pytest.raises(DataError) as caught:
        list(SeededLoader(train, batch_size=4, seed=0, n_workers=n_workers))
    assert str(caught.value).startswith(str(tmp_path))
    assert "\n" not in str(caught.value)
