"""A file as a picture a person would recognise: RGB of 8 bits, whatever it was written as."""

from __future__ import annotations

import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL import ImageOps
from PIL import UnidentifiedImageError

from dpod_search.errors import DataError
from dpod_search.escaping import spell_name


_BITS_PER_SAMPLE, _PHOTOMETRIC = 258, 262  # tags of TIFF
_WHITE_IS_ZERO = 0
_DEEP = 65535.0
# Floats that a resize or a rounding pushed out of [0, 1] by less than half a grey are meant to be
# in it.
_SLACK = 0.5 / 255

_SEE_THROUGH = ("LA", "La", "PA", "RGBA", "RGBa")


def read_picture(path: str) -> Image.Image:
    """Read a picture as RGB, by the range that its values have.

    Grey of more than 8 bits is scaled by the bits that the file states, floats from [0, 1]. A
    picture is turned as its camera says (EXIF). What is see-through lies on white. Of several
    frames the first counts. Pictures of 8 bits without any of that are what Pillow makes of them.

    Raises:
        DataError: If the file is missing, is no picture, or holds values without a known range.
    """
    try:
        # By its name Pillow would map an uncompressed TIFF into memory, and scramble it if it is to
        # be turned by 90 degrees (Pillow 13.0).
        with Path(path).open("rb") as file, Image.open(file) as image:
            image.load()
            _turn(image)
            return _to_rgb(image)
    except UnidentifiedImageError as error:
        raise DataError(
            f"{spell_name(path)} cannot be read as a picture (it has no form that Pillow knows); "
            "convert it or remove it"
        ) from error
    except Exception as error:  # decoders meet more in a damaged file than they promise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"{spell_name(path)} cannot be read as a picture ({reason}); convert it or remove it"
        ) from error


def _turn(image: Image.Image) -> None:
    with warnings.catch_warnings(), suppress(Exception):
        # Notes that cannot be parsed do not make a picture worse, and are no news.
        warnings.simplefilter("ignore")
        ImageOps.exif_transpose(image, in_place=True)


def _to_rgb(image: Image.Image) -> Image.Image:
    flat = _to_bytes(image) if image.mode in {"I", "F"} or image.mode.startswith("I;") else image
    if flat.mode in _SEE_THROUGH or "transparency" in flat.info:
        flat = flat.convert("RGBA")
        white = Image.new("RGBA", flat.size, "white")
        return Image.alpha_composite(white, flat).convert("RGB")
    return flat.convert("RGB")


def _to_bytes(image: Image.Image) -> Image.Image:
    """Scale grey of many bits to 8; with alpha if one of its greys stands for see-through."""
    values = np.asarray(image).astype(np.float64)
    shares = values / _find_white(image, values)
    tags: Any = getattr(image, "tag_v2", {})
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        shares = 1 - shares  # Pillow does so with 8 bits only
    grey = Image.fromarray(np.round(np.clip(shares, 0, 1) * 255).astype(np.uint8))
    key = image.info.get("transparency")
    if isinstance(key, int):
        grey.putalpha(Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8)))
    return grey


def _find_white(image: Image.Image, values: npt.NDArray[np.float64]) -> float:
    """Return the value that stands for white."""
    low, high = values.min(), values.max()
    if image.mode == "F":
        # No guess at 0 to 255: a picture that is a little too bright would become black.
        if not (low >= -_SLACK and high <= 1 + _SLACK):
            raise ValueError(f"its floats run from {low:g} to {high:g}, and must lie in [0, 1]")
        return 1.0
    if image.mode == "I" and image.format not in {"PNG", "PPM"}:  # of which these have 16 bits
        raise ValueError(
            f"its whole numbers run from {low:g} to {high:g}, and nothing says what white is: "
            "8 or 16 bits without a sign would"
        )
    tags: Any = getattr(image, "tag_v2", {})
    bits = tags.get(_BITS_PER_SAMPLE)
    return _DEEP if bits is None else float(2 ** bits[0] - 1)
