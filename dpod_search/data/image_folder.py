"""A folder of pictures, one subfolder a class, decoded when they are fetched."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset

from dpod_search.data.listing import Lister
from dpod_search.data.listing import Listing
from dpod_search.data.pictures import read_picture
from dpod_search.data.settings import DataSettings
from dpod_search.data.source import DataSource
from dpod_search.data.source import spell_name
from dpod_search.errors import DataError
from dpod_search.torchvision_ops import import_torchvision


_DEFAULT_SIZE = 64

# Of ImageNet's training pictures, as torchvision's own weights expect.
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)

_TEST_FOLDERS = ("test", "val")


class FolderImages(Dataset[tuple[Tensor, int]]):
    """Pictures of a folder, decoded when they are fetched.

    Args:
        listing: Which they are.
        image_size: The short side becomes that long, then the middle is cut out, in pixels.
    """

    def __init__(self, listing: Listing, image_size: int) -> None:
        """Decode nothing yet."""
        transforms = import_torchvision("transforms")
        self.listing = listing
        self.transform: Any = transforms.Compose(
            [
                transforms.Resize(image_size),
                transforms.CenterCrop(image_size),
                transforms.ToTensor(),
                transforms.Normalize(_MEAN, _STD),
            ]
        )

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.listing.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Return a normalised picture and its label."""
        picture = read_picture(self.listing.paths[index])
        return self.transform(picture), int(self.listing.labels[index])


def load_image_folder(folder: str, settings: DataSettings) -> DataSource:
    """Load a folder of pictures.

    Args:
        folder: Holds one subfolder a class; or ``train/`` and ``test/`` (or ``val/``) which do.
        settings: ``image_size`` counts: the short side becomes that long, then the middle is cut
            out; 64 pixels if it is None.

    Returns:
        The source; its test set is that of ``test/`` or ``val/``, if there is one.

    Raises:
        DataError: If the folder is missing, holds no pictures or a hidden folder, its test folder
            has other classes than its train folder, or a picture is in two places.
    """
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise DataError(
            f"imagefolder: {root} is not a folder; write imagefolder:<folder>, from here "
            f"({Path.cwd()}) or from /"
        )
    lister = Lister()
    train_root = root / "train" if (root / "train").is_dir() else root
    train = lister.list_classes(train_root)
    tests = [root / name for name in _TEST_FOLDERS if (root / name).is_dir()]
    test = lister.list_classes(tests[0]) if tests and train_root != root else None
    if test is not None and test.classes != train.classes:
        odd = sorted(map(spell_name, set(test.classes) ^ set(train.classes)))
        raise DataError(
            f"{tests[0]} and {train_root} must have the same classes, these are in one: {odd}"
        )
    size = _DEFAULT_SIZE if settings.image_size is None else settings.image_size
    return DataSource(
        FolderImages(train, size),
        train.labels,
        len(train.classes),
        train.classes,
        _hash_files(root, [train] if test is None else [train, test]),
        None if test is None else FolderImages(test, size),
        None if test is None else test.labels,
    )


def _hash_files(root: Path, listings: list[Listing]) -> str:
    digest = hashlib.sha256()
    pictures = [
        (Path(path), size)
        for listing in listings
        for path, size in zip(listing.paths, listing.sizes, strict=True)
    ]
    for path, size in sorted(pictures):
        name = path.relative_to(root).as_posix().encode("utf-8", "surrogateescape")
        digest.update(name + f"\n{size}\n".encode())
    return digest.hexdigest()
