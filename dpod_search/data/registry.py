"""The sources of pictures, by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from collections.abc import Mapping

from dpod_search.data.digits import load_digits
from dpod_search.data.image_folder import load_image_folder
from dpod_search.data.imported import load_imported
from dpod_search.data.settings import DataSettings
from dpod_search.data.source import DataSource
from dpod_search.data.torchvision_sets import load_cifar10
from dpod_search.data.torchvision_sets import load_fashion_mnist
from dpod_search.errors import ConfigError
from dpod_search.errors import DataError
from dpod_search.errors import show
from dpod_search.imports import is_import_path


SOURCES: Mapping[str, Callable[[DataSettings], DataSource]] = {
    "digits": load_digits,
    "fashion_mnist": load_fashion_mnist,
    "cifar10": load_cifar10,
}

_FOLDER = "imagefolder:"


def open_source(settings: DataSettings) -> DataSource:
    """Find a source by its name and load it.

    Raises:
        ConfigError: If a setting is given that this source has no use for.
        DataError: If the name is unknown, or the pictures are missing or of no use.
    """
    name = settings.name
    is_folder = name.startswith(_FOLDER)
    if not is_folder and (settings.validation, settings.test) != (None, None):
        raise ConfigError(
            f"data.validation and data.test name folders beside an {_FOLDER}<folder>, and data.name "
            f"is {name}; remove them"
        )
    if name in SOURCES or is_folder:
        if settings.arguments:
            raise ConfigError(
                f"data.arguments only go to an imported function, not to {name}: "
                f"remove {sorted(settings.arguments)}"
            )
        return (
            load_image_folder(name.removeprefix(_FOLDER), settings)
            if is_folder
            else SOURCES[name](settings)
        )
    if not is_import_path(name):
        near = difflib.get_close_matches(name, SOURCES, n=1)
        hint = f"did you mean {near[0]!r}? It" if near else "it"
        raise DataError(
            f"data.name {show(name)} is not known; {hint} is one of {', '.join(SOURCES)}, "
            "imagefolder:<folder>, or package.module:function"
        )
    if settings.image_size is not None:
        raise ConfigError(
            f"data.image_size does not reach {name}; pass the size in data.arguments"
        )
    return load_imported(name, settings)
