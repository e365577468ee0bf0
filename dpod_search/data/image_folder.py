"""A folder of pictures, one subfolder a class, decoded when they are fetched."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset

from dpod_search.data.listing import Lister
from dpod_search.data.listing import Listing
from dpod_search.data.pictures import read_picture
from dpod_search.data.settings import DataSettings
from dpod_search.data.source import DataSource
from dpod_search.errors import DataError
from dpod_search.escaping import spell_name
from dpod_search.files import expand_path
from dpod_search.torchvision_ops import import_torchvision


DEFAULT_SIZE = 64  # pixels of a side, where a study says none

# Of ImageNet's training pictures, as torchvision's own weights expect.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_TRAIN = "train"
# What the other parts are called beside a train/.
_PARTS: Mapping[str, tuple[str, ...]] = {
    "validation": ("val", "valid", "validation"),
    "test": ("test",),
}


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
                transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
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
        folder: Holds one subfolder a class; or ``train/``, and maybe ``val/`` (``valid/``,
            ``validation/``) and ``test/``, which do.
        settings: ``image_size`` counts: the short side becomes that long, then the middle is cut
            out; 64 pixels if it is None. ``validation`` and ``test`` name folders in place of
            those.

    Returns:
        The source; its validation and test sets are those of their folders, where there are any.

    Raises:
        DataError: If a folder is missing, holds no pictures or a hidden folder, or its parts have
            not the same classes; or if a picture is in two places.
    """
    root = _find_folder(folder, "imagefolder", "imagefolder:<folder>")
    lister = Lister()
    listings = {
        part: lister.list_classes(place) for part, place in _find_parts(root, settings).items()
    }
    train = listings[_TRAIN]
    for listing in listings.values():
        _check_classes(listing, train)
    size = DEFAULT_SIZE if settings.image_size is None else settings.image_size
    images = {part: FolderImages(listing, size) for part, listing in listings.items()}
    validation, test = images.get("validation"), images.get("test")
    return DataSource(
        images[_TRAIN],
        train.labels,
        len(train.classes),
        train.classes,
        _hash_files(root, listings, settings),
        test,
        None if test is None else test.listing.labels,
        validation,
        None if validation is None else validation.listing.labels,
    )


def _find_folder(folder: str, name: str, how: str) -> Path:
    path = expand_path(folder)
    try:
        is_folder = bool(folder) and path.is_dir()
    except OSError:  # a name that is too long
        is_folder = False
    if not is_folder:
        raise DataError(
            f"{name}: {spell_name(folder) or 'an empty name'} is not a folder; write {how}, from here "
            f"({spell_name(str(Path.cwd()))}) or from /"
        )
    return path


def _find_parts(root: Path, settings: DataSettings) -> dict[str, Path]:
    """Return the folders of classes: that to train on, and those of other parts that have one."""
    has_parts = (root / _TRAIN).is_dir()
    if not has_parts:
        _check_no_parts(root)
    places = {_TRAIN: root / _TRAIN if has_parts else root}
    given = _list_given(settings)
    for part, names in _PARTS.items():
        folder = given[part]
        if folder is not None:
            places[part] = _find_folder(folder, f"data.{part}", "a folder")
            continue
        found = [root / name for name in names if has_parts and (root / name).is_dir()]
        if len(found) > 1:
            raise DataError(
                f"{spell_name(str(root))} holds {' and '.join(path.name for path in found)}, and "
                f"only one can be the {part} part; remove one, or name it in data.{part}"
            )
        if found:
            places[part] = found[0]
    return places


def _list_given(settings: DataSettings) -> dict[str, str | None]:
    return {"validation": settings.validation, "test": settings.test}


def _check_no_parts(root: Path) -> None:
    """Raise if the classes would be parts, under names that mean the same to a person."""
    names = [path.name for path in root.iterdir() if path.is_dir()]
    parts = {_TRAIN, "training", "testing", *(name for names in _PARTS.values() for name in names)}
    if names and {name.lower() for name in names} <= parts:
        raise DataError(
            f"{spell_name(str(root))} holds {sorted(names)}, which look like parts and not like "
            f"classes; call that to train on {_TRAIN!r} (small letters)"
        )


def _check_classes(listing: Listing, train: Listing) -> None:
    if listing.classes != train.classes:
        odd = sorted(map(spell_name, set(listing.classes) ^ set(train.classes)))
        raise DataError(
            f"{spell_name(str(listing.root))} and {spell_name(str(train.root))} must have the same "
            f"classes, these are in one: {odd}"
        )


def _hash_files(root: Path, listings: Mapping[str, Listing], settings: DataSettings) -> str:
    """Return a hash of names and sizes that does not depend on where the folders lie."""
    digest = hashlib.sha256()
    elsewhere = [part for part, folder in _list_given(settings).items() if folder is not None]
    _digest(digest, root, [ls for part, ls in listings.items() if part not in elsewhere])
    for part in elsewhere:
        digest.update(f"{part}:\n".encode())
        _digest(digest, listings[part].root, [listings[part]])
    return digest.hexdigest()


def _digest(digest: Any, root: Path, listings: list[Listing]) -> None:
    pictures = [
        (Path(path), size)
        for listing in listings
        for path, size in zip(listing.paths, listing.sizes, strict=True)
    ]
    for path, size in sorted(pictures):
        name = path.relative_to(root).as_posix().encode("utf-8", "surrogateescape")
        digest.update(name + f"\n{size}\n".encode())
