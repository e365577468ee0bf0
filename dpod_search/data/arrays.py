"""Arrays of a ``.npz`` file: pictures, rows of numbers or of tokens, and any targets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dpod_search.data.array_targets import Targets
from dpod_search.data.array_targets import read_targets
from dpod_search.data.datasets import ImageDataset
from dpod_search.data.datasets import InMemoryImages
from dpod_search.data.datasets import InMemorySamples
from dpod_search.data.places import find_file
from dpod_search.data.places import refuse_image_size
from dpod_search.data.settings import DataSettings
from dpod_search.data.source import DataSource
from dpod_search.data.source import hash_tensors
from dpod_search.errors import ConfigError
from dpod_search.errors import DataError
from dpod_search.errors import check_count
from dpod_search.errors import show
from dpod_search.errors import tell_first_line
from dpod_search.escaping import spell_name


Array = npt.NDArray[np.generic]
Part = tuple[Array, Array]

_PEAK = 255.0
_CHANNELS = (1, 3, 4)
_CHUNK = 1024  # pictures that are averaged at a time
_MOST_OUTPUTS = 10_000_000
# Part -> its keys in a file.
_KEYS: Mapping[str, tuple[str, str]] = {
    "train": ("train_x", "train_y"),
    "validation": ("val_x", "val_y"),
    "test": ("test_x", "test_y"),
}
_ALONE = ("x", "y")


def load_arrays(
    name: str,
    settings: DataSettings,
    *,
    standardize: bool = False,
    ignored: int | None = None,
    outputs: int | None = None,
) -> DataSource:
    """Load a file of arrays: ``x`` and ``y``, or ``train_x``, ``train_y``, ``val_x`` and so on.

    Bytes of four axes are pictures, channels first or last, and are normalised by the training
    pictures' mean and deviation. Other whole numbers are tokens. Of ``y``, whole numbers of one axis are
    classes, floats are numbers to be told, and whole numbers of more axes are a class for each
    place, or labels where samples have no such places.

    Args:
        name: The file, relative to ``data.root``. Nothing in it is unpickled.
        settings: ``root`` counts.
        standardize: Count floats from the training samples' mean, in their deviations: those of
            each column of rows, or of each channel, axis 1, of what has more axes.
        ignored: Class of places where nothing is asked, which is not counted among the classes;
            without it 255 and -100.
        outputs: Numbers that the model returns for a sample or a place, if not what ``y`` says, 1
            to 10,000,000.

    Raises:
        ConfigError: If an argument is of another kind or out of range.
        DataError: If the file is missing, damaged, or not as described.
    """
    refuse_image_size(f"arrays:{name}", settings)
    if not isinstance(standardize, bool):
        raise ConfigError(
            f"data.arguments.standardize must be true or false, got {show(standardize)}"
        )
    if ignored is not None:
        check_count("data.arguments.ignored", ignored, low=-(2**31), high=2**31)
    if outputs is not None:
        check_count("data.arguments.outputs", outputs, low=1, high=_MOST_OUTPUTS)
    path = find_file(name, settings, "arrays")
    parts = _read_parts(path)
    _check_parts(parts, path)
    targets = read_targets(
        {part: y for part, (_, y) in parts.items()}, parts["train"][0], ignored, outputs, path
    )
    samples = {part: _read_samples(x, path) for part, (x, _) in parts.items()}
    return _make_source(samples, targets, is_standardized=standardize)


def standardize(values: Tensor, reference: Tensor) -> Tensor:
    """Count numbers from the mean of others, in their standard deviations.

    Args:
        values: Rows ``n x columns`` or single numbers ``n``, each column by itself; or ``n x
            channels x ...``, each channel by itself.
        reference: Such others, whose mean becomes 0 and whose deviation 1 (what does not vary
            becomes 0).

    Returns:
        Of the same shape, float32.
    """
    axes = [axis for axis in range(values.ndim) if axis != 1]
    mean = reference.double().mean(axes, keepdim=True)
    std = (reference.double() - mean).square().mean(axes, keepdim=True).sqrt()
    std = torch.where(std > 0, std, torch.ones_like(std))
    return ((values.double() - mean) / std).float()


def _read_parts(path: Path) -> dict[str, Part]:
    shown = spell_name(str(path))
    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            found = dict(loaded) if isinstance(loaded, np.lib.npyio.NpzFile) else None
    except Exception as error:  # of a damaged file zipfile, zlib and NumPy raise all kinds
        reason = show(tell_first_line(error))
        raise DataError(
            f"arrays: {shown} cannot be read ({reason}); write it by numpy.savez, without objects"
        ) from error
    if found is None:
        raise DataError(f"arrays: {shown} holds one array; save several by numpy.savez")
    parts = {part: keys for part, keys in _KEYS.items() if set(keys) & set(found)}
    if set(_ALONE) & set(found):
        parts = {**parts, "train": _ALONE}
    wanted = [name for keys in parts.values() for name in keys]
    if "train" not in parts or sorted(wanted) != sorted(found):
        raise DataError(
            f"arrays: {shown} must hold x and y, or train_x and train_y, with or without val_x and "
            f"val_y, test_x and test_y, and holds {', '.join(map(spell_name, found)) or 'nothing'}"
        )
    return {part: (found[x], found[y]) for part, (x, y) in parts.items()}


def _check_parts(parts: Mapping[str, Part], path: Path) -> None:
    """Raise unless all parts are alike, and have a target for each sample."""
    train_x, train_y = parts["train"]
    for part, (x, y) in parts.items():
        name = f"arrays: {spell_name(str(path))}, the {part} part"
        if x.ndim < 2 or y.ndim < 1 or len(x) != len(y) or x.size == 0 or y.size == 0:
            raise DataError(
                f"{name} must have samples x of two or more axes and a target y for each, got "
                f"{x.shape} and {y.shape}"
            )
        alike = ((x, train_x, "x"), (y, train_y, "y"))
        for array, first, key in alike:
            if (array.shape[1:], array.dtype) != (first.shape[1:], first.dtype):
                raise DataError(
                    f"{name} must have {key} of the training part's shape and type, got "
                    f"{array.dtype} {array.shape} beside {first.dtype} {first.shape}"
                )
            if array.dtype.kind not in "biuf":
                raise DataError(f"{name} must have numbers as {key}, got {array.dtype}")
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise DataError(f"{name} has NaN or infinity in {key}; drop or fill them")


def _read_samples(x: Array, path: Path) -> Tensor:
    """Return pictures as uint8 with channels first, floats as float32, tokens as int64."""
    if x.dtype != np.uint8:
        kind = np.float32 if x.dtype.kind == "f" else np.int64
        with np.errstate(over="ignore"):
            samples = torch.from_numpy(x.astype(kind))
        if samples.is_floating_point() and not bool(samples.isfinite().all()):
            raise DataError(
                f"arrays: {spell_name(str(path))}: x has numbers beyond those of float32; rescale them"
            )
        return samples
    is_last, is_first = (x.ndim == 4 and x.shape[axis] in _CHANNELS for axis in (-1, 1))
    if is_last == is_first:
        raise DataError(
            f"arrays: {spell_name(str(path))}: uint8 x must be pictures, n x height x width x "
            f"channels or n x channels x height x width, of 1, 3 or 4 channels, got {x.shape}; "
            "give other samples as float32, or as int64 if they are tokens"
        )
    images = torch.from_numpy(x)
    return images.permute(0, 3, 1, 2).contiguous() if is_last else images


def _make_source(
    samples: Mapping[str, Tensor], targets: Targets, *, is_standardized: bool
) -> DataSource:
    train = samples["train"]
    statistics = _average_bytes(train) if train.dtype == torch.uint8 else None
    sets: dict[str, ImageDataset] = {}
    for part, x in samples.items():
        y = targets.tensors[part]
        if statistics is not None:
            mean, std = statistics
            sets[part] = InMemoryImages(x, y, peak=_PEAK, mean=mean, std=std)
        else:
            is_scaled = is_standardized and x.is_floating_point()
            how = (
                "float32, each column or channel less its mean and over its deviation in the file"
            )
            sets[part] = (
                InMemorySamples(standardize(x, train), y, how=f"{how}'s training part")
                if is_scaled
                else InMemorySamples(x, y)
            )
    given = [tensor for part in samples for tensor in (samples[part], targets.tensors[part])]
    return DataSource(
        sets["train"],
        targets.labels.get("train"),
        targets.n_outputs,
        tuple(map(str, range(targets.n_outputs))) if targets.is_named else (),
        hash_tensors(*given, torch.tensor(is_standardized)),
        test=sets.get("test"),
        test_labels=targets.labels.get("test"),
        validation=sets.get("validation"),
        validation_labels=targets.labels.get("validation"),
    )


def _average_bytes(images: Tensor) -> tuple[list[float], list[float]]:
    """Return mean and deviation of each channel, on the scale of 0 to 1."""
    sums = torch.zeros(2, images.shape[1], dtype=torch.float64)
    for chunk in torch.split(images, _CHUNK):
        values = chunk.double() / _PEAK
        sums += torch.stack([values.sum((0, 2, 3)), values.square().sum((0, 2, 3))])
    mean, square = sums * images.shape[1] / images.numel()
    variance = square - mean.square()
    std = torch.where(variance > 0, variance, torch.ones_like(variance)).sqrt()
    return mean.tolist(), std.tolist()
