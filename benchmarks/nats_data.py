"""CIFAR-10 from a folder of JPEG pictures in one archive: unpacked and decoded once, kept as bytes.

JPEG is lossy: what comes of it is "CIFAR-10 (JPEG copy)".

References:
    Krizhevsky: Learning multiple layers of features from tiny images, 2009.
"""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dpod_search.data import DataSource
from dpod_search.data import InMemoryImages
from dpod_search.data.datasets import resize_bytes
from dpod_search.data.source import hash_tensors
from dpod_search.errors import DataError


ARCHIVE = "cifar10_images.tar.gz"
MEAN = (0.4914, 0.4822, 0.4465)
STD = (0.2470, 0.2435, 0.2616)


def unpack_pictures(archive: Path, kept: Path) -> Path:
    """Decode the pictures of an archive ``.../<split>/<class>/<name>.jpg``, unless it was done.

    Args:
        archive: The archive.
        kept: Folder of the decoded pictures.

    Returns:
        An ``.npz`` file with ``train``, ``test`` (n, 3, 32, 32), uint8, and their ``_labels``.

    Raises:
        DataError: If there is no such archive.
    """
    file = kept / "cifar10_jpeg_copy.npz"
    if file.exists():
        return file
    if not archive.exists():
        raise DataError(f"there is no archive {archive}; name its folder with --data-root")
    pictures: dict[str, dict[str, list[np.ndarray]]] = {"train": {}, "test": {}}
    with tarfile.open(archive) as tar:
        for member in sorted(tar.getmembers(), key=lambda member: member.name):
            if member.isfile() and member.name.endswith(".jpg"):
                split, class_name, _ = member.name.split("/")[-3:]
                content = tar.extractfile(member)
                assert content is not None
                with Image.open(io.BytesIO(content.read())) as picture:
                    pixels = np.asarray(picture.convert("RGB"))
                pictures[split].setdefault(class_name, []).append(pixels)
    arrays: dict[str, np.ndarray] = {}
    for split, by_class in pictures.items():
        stacked = np.concatenate([np.stack(by_class[name]) for name in sorted(by_class)])
        counts = [len(by_class[name]) for name in sorted(by_class)]
        arrays[split] = stacked.transpose(0, 3, 1, 2)
        arrays[f"{split}_labels"] = np.repeat(np.arange(len(counts)), counts)
    kept.mkdir(parents=True, exist_ok=True)
    aside = file.with_suffix(".part.npz")
    np.savez(aside, **arrays)  # type: ignore[arg-type]  # arrays by name, all of them
    aside.replace(file)
    return file


def load_cifar(file: str, side: int) -> DataSource:
    """Load the decoded pictures, as a study's ``[data]`` names it.

    Args:
        file: What :func:`unpack_pictures` returned.
        side: Height and width to resize them to, in pixels.
    """
    with np.load(file) as kept:
        arrays = {name: torch.from_numpy(kept[name]) for name in kept.files}
    images = {split: resize_bytes(arrays[split], side) for split in ("train", "test")}
    sets = {
        split: InMemoryImages(
            images[split], arrays[f"{split}_labels"], peak=255, mean=MEAN, std=STD
        )
        for split in images
    }
    labels = {split: arrays[f"{split}_labels"].numpy() for split in images}
    return DataSource(
        sets["train"],
        labels["train"],
        n_classes=10,
        class_names=tuple(map(str, range(10))),
        content_hash=hash_tensors(images["train"], images["test"]),
        test=sets["test"],
        test_labels=labels["test"],
    )
