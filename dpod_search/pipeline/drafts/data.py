"""What is in the data that a study is drafted for: how many samples of what kind, and targets."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np
from torch import Tensor

from dpod_search.config.template import find_task
from dpod_search.data.collating import list_tensors
from dpod_search.data.datasets import fetch_batch
from dpod_search.data.image_folder import FolderImages
from dpod_search.data.pictures import read_picture
from dpod_search.data.registry import SOURCES
from dpod_search.data.registry import open_source
from dpod_search.data.segmentation_folder import FolderMasks
from dpod_search.data.settings import DataSettings
from dpod_search.data.source import DataSource
from dpod_search.errors import DataError
from dpod_search.escaping import spell_name
from dpod_search.own_code import own_code
from dpod_search.pipeline.drafts.found import CLASSES
from dpod_search.pipeline.drafts.found import FoundData
from dpod_search.pipeline.drafts.places import spell_data


_N_LOOKED_AT = 64  # files of pictures that are opened, and samples whose targets are looked at
# Sets that are not downloaded to be looked at: shape of a picture, and how many.
_KNOWN: Mapping[str, tuple[tuple[int, int, int], int]] = MappingProxyType(
    {"fashion_mnist": ((1, 28, 28), 60_000), "cifar10": ((3, 32, 32), 50_000)}
)
_N_KNOWN_CLASSES = 10


def look_at_data(text: str) -> FoundData:
    """Look at data.

    Args:
        text: As :func:`~dpod_search.pipeline.drafts.places.spell_data` takes it. Nothing is
            downloaded.

    Raises:
        ConfigError: If a function of the user's cannot be called.
        DataError: If the data are missing, cannot be read, or are of no use.
    """
    name, root = spell_data(text)
    settings = DataSettings(name) if root is None else DataSettings(name, root=root)
    try:
        source = open_source(settings)
    except DataError:
        if name not in _KNOWN:
            raise
        return _take_known(settings)
    n_train = len(source.train)
    if not n_train:
        raise DataError(f"{spell_name(name)} is empty; add samples")
    shape: tuple[int, ...]
    if isinstance(source.train, FolderImages | FolderMasks):
        shape, is_grey, has_one_size = _open_pictures(list_files(source.train))
    else:
        shape, is_grey, has_one_size = _look_at_first(source, name)
    is_picture = len(shape) == 3
    return FoundData(
        called=text,
        settings=_name_classes(settings, source),
        source=source,
        task=find_task(name) or _find_task(source, name, is_picture),
        shape=shape,
        is_picture=is_picture,
        is_resized=is_picture
        and (name in SOURCES or isinstance(source.train, FolderImages | FolderMasks)),
        has_one_size=has_one_size,
        is_grey=is_grey,
        n_train=n_train,
        n_classes=source.n_classes,
        class_names=tuple(map(str, source.class_names)),
    )


def list_files(dataset: FolderImages | FolderMasks) -> Sequence[str]:
    """Return the files of a folder's pictures."""
    if isinstance(dataset, FolderImages):
        return dataset.listing.paths
    return [str(path) for path in dataset.pairs.images]


def _take_known(settings: DataSettings) -> FoundData:
    """Return what is known of a set that is not there yet."""
    shape, n_train = _KNOWN[settings.name]
    return FoundData(
        called=settings.name,
        settings=replace(settings, download=True),
        source=None,
        task=CLASSES,
        shape=shape,
        is_picture=True,
        is_resized=True,
        has_one_size=True,
        is_grey=shape[0] == 1,
        n_train=n_train,
        n_classes=_N_KNOWN_CLASSES,
        class_names=(),
    )


def _name_classes(settings: DataSettings, source: DataSource) -> DataSettings:
    """Say how many classes masks have, which are all read otherwise."""
    if not isinstance(source.train, FolderMasks):
        return settings
    return replace(settings, arguments={"n_classes": source.n_classes})


def _open_pictures(files: Sequence[str]) -> tuple[tuple[int, int, int], bool, bool]:
    """Open some files of many; return the usual shape, whether all are grey, and of one size."""
    chosen = np.unique(np.linspace(0, len(files) - 1, _N_LOOKED_AT).round().astype(int))
    pictures = [read_picture(files[index]) for index in chosen]
    sizes = [(picture.height, picture.width) for picture in pictures]
    is_grey = all(_has_no_colour(np.asarray(picture)) for picture in pictures)
    height, width = (int(statistics.median(each)) for each in zip(*sizes, strict=True))
    return (3, height, width), is_grey, len(set(sizes)) == 1


def _has_no_colour(pixels: np.typing.NDArray[np.uint8]) -> bool:
    return bool((pixels == pixels[..., :1]).all())


def _look_at_first(source: DataSource, name: str) -> tuple[tuple[int, ...], bool, bool]:
    with own_code(f"{name}: the training set", DataError):
        sample = source.train[0][0]
        tensors = list_tensors(sample)
    shape = tuple(tensors[0].shape)
    is_picture = len(shape) == 3 and len(tensors) == 1
    is_grey = is_picture and shape[0] == 1
    return shape, is_grey, True


def _find_task(source: DataSource, name: str, is_picture: bool) -> str:
    """Say what targets are for, by their types and shapes."""
    if source.train_labels is not None:
        return CLASSES
    n = min(_N_LOOKED_AT, len(source.train))
    with own_code(f"{name}: the training set", DataError):
        samples, targets = fetch_batch(source.train, range(n))
    first = list_tensors(samples)[0]
    is_of_labels = targets.ndim == 2 and bool(((targets == 0) | (targets == 1)).all())
    if targets.is_floating_point():
        return "multilabel" if is_of_labels and targets.shape[1] > 1 else "regression"
    if targets.ndim == 3 and is_picture:
        return "segmentation"
    if targets.ndim == 2 and not _has_places(first, targets):
        return "multilabel"
    return "language-model" if _comes_next(first, targets) else "sequence-labels"


def _has_places(samples: Tensor, targets: Tensor) -> bool:
    """Say whether samples have a place for each target: tokens, or rows of numbers."""
    is_row = samples.ndim == 3 or (samples.ndim == 2 and not samples.is_floating_point())
    return is_row and samples.shape[1] == targets.shape[1]


def _comes_next(samples: Tensor, targets: Tensor) -> bool:
    """Say whether targets are the tokens that come next."""
    is_alike = samples.shape == targets.shape and not samples.is_floating_point()
    return is_alike and bool((samples[:, 1:] == targets[:, :-1]).all())
