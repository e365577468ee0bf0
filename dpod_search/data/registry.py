"""The sources of samples, by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from collections.abc import Mapping
from functools import partial

from dpod_search.data.arrays import load_arrays
from dpod_search.data.diabetes import load_diabetes
from dpod_search.data.digits import load_digits
from dpod_search.data.image_folder import load_image_folder
from dpod_search.data.imported import load_imported
from dpod_search.data.segmentation_folder import load_segmentation
from dpod_search.data.settings import DataSettings
from dpod_search.data.source import DataSource
from dpod_search.data.text import load_text
from dpod_search.data.torchvision_sets import load_cifar10
from dpod_search.data.torchvision_sets import load_fashion_mnist
from dpod_search.errors import ConfigError
from dpod_search.errors import DataError
from dpod_search.errors import show
from dpod_search.imports import call_with
from dpod_search.imports import is_import_path


SOURCES: Mapping[str, Callable[[DataSettings], DataSource]] = {
    "digits": load_digits,
    "fashion_mnist": load_fashion_mnist,
    "cifar10": load_cifar10,
    "diabetes": load_diabetes,
}

_FOLDER = "imagefolder"
# What stands before the colon of a name, and what loads the place behind it, with the arguments of
# the study by keyword.
PREFIXES: Mapping[str, Callable[..., DataSource]] = {
    _FOLDER: load_image_folder,
    "segmentation": load_segmentation,
    "text": load_text,
    "arrays": load_arrays,
}


def open_source(settings: DataSettings) -> DataSource:
    """Find a source by its name and load it.

    Raises:
        ConfigError: If a setting is given that this source has no use for.
        DataError: If the name is unknown, or the samples are missing or of no use.
    """
    name = settings.name
    prefix, colon, place = name.partition(":")
    if prefix != _FOLDER and (settings.validation, settings.test) != (None, None):
        raise ConfigError(
            "data.validation and data.test name folders beside an imagefolder:<folder>, and "
            f"data.name is {name}; remove them"
        )
    if settings.arguments and (name in SOURCES or prefix == _FOLDER):
        raise ConfigError(
            f"data.arguments are of no use to {name}: remove {sorted(settings.arguments)}"
        )
    if name in SOURCES:
        return SOURCES[name](settings)
    if colon and prefix in PREFIXES:
        load = partial(PREFIXES[prefix], place, settings)
        source: DataSource = call_with(load, settings.arguments, name=f"data.name {show(name)}")
        return source
    if not is_import_path(name):
        near = difflib.get_close_matches(name, SOURCES, n=1)
        hint = f"did you mean {near[0]!r}? It" if near else "it"
        raise DataError(
            f"data.name {show(name)} is not known; {hint} is one of {', '.join(SOURCES)}, "
            "imagefolder:<folder>, segmentation:<folder>, text:<file>, arrays:<file.npz>, or "
            "package.module:function"
        )
    if settings.image_size is not None:
        raise ConfigError(
            f"data.image_size does not reach {name}; pass the size in data.arguments"
        )
    return load_imported(name, settings)
