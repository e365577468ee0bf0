"""A folder of pictures and of masks that say which class each pixel is of."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from dpod_search.data.image_folder import IMAGENET_MEAN
from dpod_search.data.image_folder import IMAGENET_STD
from dpod_search.data.listing import ENDINGS
from dpod_search.data.pictures import read_picture
from dpod_search.data.places import find_folder
from dpod_search.data.settings import DataSettings
from dpod_search.data.source import DataSource
from dpod_search.errors import DataError
from dpod_search.errors import check_count
from dpod_search.escaping import spell_name


_IMAGES, _MASKS = "images", "masks"
_PARTS = {"train": ("train",), "validation": ("val", "valid", "validation"), "test": ("test",)}
_MODES = ("L", "P", "1")
_SHOWN = 3  # names that a message lists
_ORIENTATION, _UPRIGHT = 274, 4  # of EXIF: how the camera was held; beyond it, on its side

_MEAN, _STD = (torch.tensor(each)[:, None, None] for each in (IMAGENET_MEAN, IMAGENET_STD))


@dataclass(frozen=True)
class Pairs:
    """Pictures and their masks.

    Args:
        images: Files, sorted.
        masks: Theirs, in the same order.
    """

    images: tuple[Path, ...]
    masks: tuple[Path, ...]


class FolderMasks(Dataset[tuple[Tensor, Tensor]]):
    """Pictures and masks of a folder, decoded when they are fetched.

    Args:
        pairs: Which they are.
        image_size: Height and width that both get, in pixels; None leaves them.
    """

    def __init__(self, pairs: Pairs, image_size: int | None) -> None:
        """Decode nothing yet."""
        self.pairs = pairs
        self.image_size = image_size
        mean, std = (values.flatten().tolist() for values in (_MEAN, _STD))
        self.how = f"(pixel / 255 - {mean}) / {std}, by channel, as float32"

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.pairs.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return a normalised picture, float32 ``3 x H x W``, and its mask, int64 ``H x W``."""
        path, mask_path = self.pairs.images[index], self.pairs.masks[index]
        picture = torch.from_numpy(np.array(read_picture(str(path)))).permute(2, 0, 1)
        mask = read_mask(mask_path)
        if mask.shape != picture.shape[1:]:
            raise _differ(mask_path, mask.shape, picture.shape[1:])
        image = picture.to(torch.float32)[None]
        if self.image_size is not None:
            size = (self.image_size, self.image_size)
            image = F.interpolate(image, size=size, mode="bilinear", antialias=True)
            mask = F.interpolate(mask[None, None], size=size, mode="nearest-exact")[0, 0]
        return (image[0] / 255 - _MEAN) / _STD, mask.to(torch.int64)


def load_segmentation(
    folder: str, settings: DataSettings, *, ignored: int = 255, n_classes: int | None = None
) -> DataSource:
    """Load a folder of pictures and masks.

    Args:
        folder: Relative to ``data.root``. Holds ``images/`` and ``masks/`` with files of the same
            names but for their endings; or ``train/``, and maybe ``val/`` and ``test/``, which do.
        settings: ``root`` counts, and ``image_size``: height and width of pictures (bilinear) and
            masks (nearest); without it all must have one size.
        ignored: Class of pixels that are not looked at, 0 to 255.
        n_classes: Classes besides it, 1 to 256; without it all masks are read, once, to find the
            highest.

    Raises:
        ConfigError: If an argument is out of range.
        DataError: If a folder is missing or empty, a picture or a mask has no partner, or a mask
            is not of 8 bits.
    """
    check_count("data.arguments.ignored", ignored, low=0, high=255)
    if n_classes is not None:
        check_count("data.arguments.n_classes", n_classes, low=1, high=256)
    root = find_folder(folder, settings, "segmentation")
    pairs = {part: list_pairs(place) for part, place in _find_parts(root).items()}
    for listed in pairs.values():
        for image, mask in zip(listed.images, listed.masks, strict=True):
            _check_sizes(image, mask)
    sets = {part: FolderMasks(listed, settings.image_size) for part, listed in pairs.items()}
    if n_classes is None:
        masks = [path for listed in pairs.values() for path in listed.masks]
        n_classes = 1 + max(_find_highest(path, ignored) for path in masks)
    if n_classes < 2:
        raise DataError(
            f"{spell_name(str(root))} has one class alone in its masks, {ignored} aside, which is not "
            "looked at: there is nothing to tell apart; number classes from 0 (of masks of 0 and 255 "
            "write 255 as 1: Image.fromarray(numpy.array(Image.open(mask)) // 255).save(mask) for "
            "each), or name another in data.arguments.ignored"
        )
    return DataSource(
        sets["train"],
        None,
        n_classes,
        tuple(map(str, range(n_classes))),
        _hash_files(root, pairs, settings.image_size),
        test=sets.get("test"),
        validation=sets.get("validation"),
    )


def list_pairs(place: Path) -> Pairs:
    """List the pictures of a folder with their masks.

    Args:
        place: Holds ``images/`` and ``masks/``. Names that begin with a dot, and files of other
            endings than pictures have, are passed over.

    Raises:
        DataError: If there are none, or one lacks its partner or has two.
    """
    images, masks = (_list_stems(place / name) for name in (_IMAGES, _MASKS))
    alone = sorted(images.keys() ^ masks.keys())
    if alone or not images:
        named = ", ".join(map(spell_name, alone[:_SHOWN])) + ", …" * (len(alone) > _SHOWN)
        raise DataError(
            f"{spell_name(str(place))} must hold {_IMAGES}/ and {_MASKS}/ with pictures of the same "
            + (f"names, these are in one alone: {named}" if alone else "names, and has none")
        )
    stems = sorted(images)
    return Pairs(tuple(images[stem] for stem in stems), tuple(masks[stem] for stem in stems))


def _check_sizes(image: Path, mask: Path) -> None:
    """Raise if a mask has another size than its picture; neither is decoded."""
    sizes = []
    for path in (image, mask):
        try:
            with path.open("rb") as file, Image.open(file) as opened:
                turns = opened.getexif().get(_ORIENTATION, 1) > _UPRIGHT
                width, height = opened.size
                sizes.append((width, height) if turns else (height, width))
        except Exception:  # noqa: BLE001  # who reads the picture itself says what is wrong with it
            return
    if sizes[0] != sizes[1]:
        raise _differ(mask, sizes[1], sizes[0])


def read_mask(path: Path) -> Tensor:
    """Read a mask: the class numbers of its pixels, uint8 ``H x W``.

    Raises:
        DataError: If it cannot be read, or is not grey of 8 bits or of a palette.
    """
    try:
        with path.open("rb") as file, Image.open(file) as image:
            image.load()
            mode, values = image.mode, np.array(image)
    except Exception as error:  # decoders meet more in a damaged file than they promise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"{spell_name(str(path))} cannot be read as a mask ({reason}); mend or remove it"
        ) from error
    if mode not in _MODES:
        raise DataError(
            f"{spell_name(str(path))} must be grey of 8 bits or have a palette, the class of a pixel "
            f"its number, and is {mode}; convert it"
        )
    return torch.from_numpy(values.astype(np.uint8))


def _find_parts(root: Path) -> dict[str, Path]:
    if not (root / "train").is_dir():
        return {"train": root}
    found = {
        part: [root / name for name in names if (root / name).is_dir()]
        for part, names in _PARTS.items()
    }
    for part, places in found.items():
        if len(places) > 1:
            raise DataError(
                f"{spell_name(str(root))} holds {' and '.join(path.name for path in places)}, and "
                f"only one can be the {part} part; remove one"
            )
    return {part: places[0] for part, places in found.items() if places}


def _list_stems(folder: Path) -> dict[str, Path]:
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix.lower() in ENDINGS)
    except OSError as error:
        raise DataError(
            f"{spell_name(str(folder))} cannot be read: {error.strerror or error}; it must hold "
            "pictures"
        ) from error
    shown = [path for path in files if not path.name.startswith(".")]
    stems = {path.stem: path for path in shown}
    for path in shown:
        if stems[path.stem] != path:
            raise DataError(
                f"{spell_name(str(path))} and {spell_name(stems[path.stem].name)} have one name; "
                "remove one"
            )
    return stems


def _find_highest(path: Path, ignored: int) -> int:
    asked = read_mask(path)
    asked = asked[asked != ignored]
    return int(asked.max()) if asked.numel() else 0


def _differ(mask: Path, size: Sequence[int], of_picture: Sequence[int]) -> DataError:
    """Return the error that a mask has another size, height first, than its picture."""
    told, wanted = (" x ".join(map(str, each)) for each in (size, of_picture))
    return DataError(
        f"{spell_name(str(mask))} is {told} and its picture {wanted}; make a mask of the picture's "
        "size"
    )


def _hash_files(root: Path, pairs: Mapping[str, Pairs], image_size: int | None) -> str:
    """Return a hash of names and sizes that does not depend on where the folder lies."""
    digest = hashlib.sha256(f"{image_size}\n".encode())
    for part, listed in pairs.items():
        digest.update(f"{part}:\n".encode())
        for path in (*listed.images, *listed.masks):
            name = path.relative_to(root).as_posix().encode("utf-8", "surrogateescape")
            digest.update(name + f"\n{path.stat().st_size}\n".encode())
    return digest.hexdigest()
