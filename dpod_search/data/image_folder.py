"""A folder of pictures, one subfolder a class, decoded when they are fetched."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from dpod_search.data.pictures import read_picture
from dpod_search.data.settings import DataSettings
from dpod_search.data.source import DataSource
from dpod_search.errors import DataError
from dpod_search.torchvision_ops import import_torchvision


_DEFAULT_SIZE = 64

# Of ImageNet's training pictures, as torchvision's own weights expect.
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)

_TEST_FOLDERS = ("test", "val")


def load_image_folder(folder: str, settings: DataSettings) -> DataSource:
    """Load a folder of pictures.

    Args:
        folder: Holds one subfolder a class; or ``train/`` and ``test/`` (or ``val/``) which do.
        settings: ``image_size`` counts: the short side becomes that long, then the middle is cut
            out; 64 pixels if it is None.

    Returns:
        The source; its test set is that of ``test/`` or ``val/``, if there is one.

    Raises:
        DataError: If the folder is missing, holds no pictures or a hidden folder, or its test
            folder has other classes than its train folder.
    """
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise DataError(
            f"imagefolder: {root} is not a folder; write imagefolder:<folder>, from here "
            f"({Path.cwd()}) or from /"
        )
    train_root = root / "train" if (root / "train").is_dir() else root
    train = _open(train_root, settings.image_size)
    tests = [root / name for name in _TEST_FOLDERS if (root / name).is_dir()]
    test = _open(tests[0], settings.image_size) if tests and train_root != root else None
    if test is not None and test.classes != train.classes:
        odd = sorted(set(test.classes) ^ set(train.classes))
        raise DataError(
            f"{tests[0]} and {train_root} must have the same classes, these are in one: {odd}"
        )
    return DataSource(
        train,
        _labels(train),
        len(train.classes),
        tuple(train.classes),
        _hash_files(root, [train] if test is None else [train, test]),
        test,
        None if test is None else _labels(test),
    )


def _open(root: Path, image_size: int | None) -> Any:
    transforms = import_torchvision("transforms")
    size = _DEFAULT_SIZE if image_size is None else image_size
    transform = transforms.Compose(
        [
            transforms.Resize(size),
            transforms.CenterCrop(size),
            transforms.ToTensor(),
            transforms.Normalize(_MEAN, _STD),
        ]
    )
    try:
        make = import_torchvision("datasets").ImageFolder
        dataset = make(root, transform=transform, loader=read_picture)
    except FileNotFoundError as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{root} must hold one subfolder of pictures a class: {reason}") from error
    hidden = [name for name in dataset.classes if name.startswith(".")]
    if (
        hidden
    ):  # left by an editor or a notebook; nobody sees it, and the model gets an output more
        raise DataError(
            f"{root} holds hidden folders, which would be classes: {hidden}; remove them"
        )
    return dataset


def _labels(dataset: Any) -> np.typing.NDArray[np.int64]:
    return np.asarray(dataset.targets, dtype=np.int64)


def _hash_files(root: Path, datasets: list[Any]) -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(path) for dataset in datasets for path, _ in dataset.samples):
        digest.update(f"{path.relative_to(root).as_posix()}\n{path.stat().st_size}\n".encode())
    return digest.hexdigest()
