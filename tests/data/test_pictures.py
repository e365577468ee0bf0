"""One ramp written in many modes reads as the same ramp; what cannot be read right is said."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from dpod_search.data.pictures import read_picture
from dpod_search.errors import DataError


Grey = npt.NDArray[np.uint8]

# Every grey once, darkest first; not square, so that a turned picture shows.
RAMP = np.arange(256, dtype=np.uint8).reshape(8, 32)
_ORIENTATION = 0x0112


def save(array: npt.NDArray[np.generic], path: Path, **options: object) -> None:
    Image.fromarray(array).save(path, **options)


def save_png(path: Path, rows: bytes, *, bits: int, kind: int, extra: bytes = b"") -> None:
    """Write a PNG of a form that Pillow can only read."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    height, width = RAMP.shape
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0))
    n_bytes = len(rows) // height
    lines = b"".join(b"\0" + rows[i * n_bytes : (i + 1) * n_bytes] for i in range(height))
    body = chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + extra + body)


def save_png16(path: Path, ramp: Grey, n_channels: int, kind: int) -> None:
    values = np.repeat(ramp.astype(">u2")[..., None] * 257, n_channels, axis=-1)
    if n_channels in {2, 4}:
        values[..., -1] = 65535
    save_png(path, values.astype(">u2").tobytes(), bits=16, kind=kind)


def save_turned(path: Path, ramp: Grey, orientation: int) -> None:
    # What a camera writes that was held upside down, or on its side.
    turned = {3: np.rot90(ramp, 2), 6: np.rot90(ramp), 8: np.rot90(ramp, -1)}[orientation]
    exif = Image.Exif()
    exif[_ORIENTATION] = orientation
    options = {"tiffinfo" if path.suffix == ".tiff" else "exif": exif}
    save(np.ascontiguousarray(turned), path, **options)


def save_palette(path: Path, ramp: Grey, **options: object) -> None:
    image = Image.fromarray(255 - ramp).convert("P")
    # The darkest grey stands last: numbers of a palette are no greys.
    image.putpalette([255 - grey for grey in range(256) for _ in range(3)])
    image.save(path, **options)


def save_12_bits(path: Path, ramp: Grey) -> None:
    # Two values of 12 bits in three bytes; Pillow reads them but writes none.
    pairs = np.round(ramp.astype(np.float64) / 255 * 4095).astype(int).reshape(-1, 2)
    data = b"".join(bytes((a >> 4, (a & 15) << 4 | b >> 8, b & 255)) for a, b in pairs.tolist())
    height, width = ramp.shape
    entries = [(256, 3, width), (257, 3, height), (258, 3, 12), (259, 3, 1), (262, 3, 1)]
    entries += [(273, 4, 8), (277, 3, 1), (278, 3, height), (279, 4, len(data))]
    fields = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    offset = 8 + len(data)
    table = struct.pack("<H", len(entries)) + fields + struct.pack("<I", 0)
    path.write_bytes(struct.pack("<2sHI", b"II", 42, offset) + data + table)


def is_read_or_named(path: Path) -> bool:
    """Say whether a file is read, or refused in a line that names it; other errors pass through."""
    try:
        with warnings.catch_warnings():  # Pillow's, which are errors here and none elsewhere
            warnings.simplefilter("ignore")
            read_picture(str(path))
    except DataError as error:
        return str(path) in str(error) and "\n" not in str(error)
    return True


def stack(*channels: Grey) -> Grey:
    return np.stack(channels, axis=-1)


FULL = np.full_like(RAMP, 255)
NONE = np.zeros_like(RAMP)

FORMS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "grey": ("png", lambda p: save(RAMP, p)),
    "RGB": ("png", lambda p: save(stack(RAMP, RAMP, RAMP), p)),
    "RGB in TIFF": ("tiff", lambda p: save(stack(RAMP, RAMP, RAMP), p)),
    "grey of 16 bits": ("png", lambda p: save(RAMP.astype(np.uint16) * 257, p)),
    "grey of 16 bits in PGM": ("pgm", lambda p: save(RAMP.astype(np.uint16) * 257, p)),
    "grey of 16 bits in TIFF": ("tiff", lambda p: save(RAMP.astype(np.uint16) * 257, p)),
    "grey of 16 bits, big end first": ("tiff", lambda p: save(RAMP.astype(">u2") * 257, p)),
    # Pillow turns these around itself, when it writes and when it reads; those of 16 bits never.
    "white is 0, 8 bits": ("tiff", lambda p: save(RAMP, p, tiffinfo={262: 0})),
    "white is 0, 16 bits": (
        "tiff",
        lambda p: save(65535 - RAMP.astype(np.uint16) * 257, p, tiffinfo={262: 0}),
    ),
    "grey of 12 bits": ("tiff", lambda p: save_12_bits(p, RAMP)),
    "RGB of 16 bits": ("png", lambda p: save_png16(p, RAMP, 3, kind=2)),
    "grey and alpha of 16 bits": ("png", lambda p: save_png16(p, RAMP, 2, kind=4)),
    "RGBA of 16 bits": ("png", lambda p: save_png16(p, RAMP, 4, kind=6)),
    "floats in [0, 1]": ("tiff", lambda p: save(RAMP.astype(np.float32) / 255, p)),
    "floats a hair outside": (
        "tiff",
        lambda p: save(RAMP.astype(np.float32) / 255 * 1.0001 - 0.00005, p),
    ),
    "LA": ("png", lambda p: Image.fromarray(stack(RAMP, FULL), "LA").save(p)),
    "RGBA": ("png", lambda p: save(stack(RAMP, RAMP, RAMP, FULL), p)),
    "black, more or less of it": ("png", lambda p: save(stack(NONE, NONE, NONE, 255 - RAMP), p)),
    "LA, black, more or less of it": (
        "png",
        lambda p: Image.fromarray(stack(NONE, 255 - RAMP), "LA").save(p),
    ),
    "palette": ("png", lambda p: save_palette(p, RAMP)),
    "palette, black see-through": (
        "png",
        lambda p: save_palette(p, np.maximum(RAMP, 1), transparency=0),
    ),
    "palette, all opaque": ("png", lambda p: save_palette(p, RAMP, transparency=b"\xff" * 256)),
    "CMYK": (
        "tiff",
        lambda p: Image.fromarray(stack(NONE, NONE, NONE, 255 - RAMP), "CMYK").save(p),
    ),
    "upside down": ("png", lambda p: save_turned(p, RAMP, 3)),
    "on its left side": ("png", lambda p: save_turned(p, RAMP, 6)),
    "on its right side": ("tiff", lambda p: save_turned(p, RAMP, 8)),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_ramp_is_read_as_it_was_written(form: str, tmp_path: Path) -> None:
    ending, write = FORMS[form]
    path = tmp_path / f"ramp.{ending}"
    write(path)
    picture = read_picture(str(path))

    assert picture.mode == "RGB"
    off = np.abs(np.asarray(picture).astype(int) - RAMP[..., None])
    assert off.shape == (8, 32, 3)
    assert off.max() <= 1


def test_black_and_white_of_one_bit(tmp_path: Path) -> None:
    Image.fromarray(RAMP > 127).save(tmp_path / "a.png")
    pixels = np.asarray(read_picture(str(tmp_path / "a.png")))

    assert (pixels == np.where(RAMP > 127, 255, 0)[..., None]).all()


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_is_read_as_pillow_reads_it(mode: str, tmp_path: Path) -> None:
    # Those of CMYK are upside down as Adobe writes them, which Pillow knows.
    greys = 255 - RAMP if mode == "CMYK" else RAMP
    Image.merge(mode, [Image.fromarray(greys if m in "KRGBL" else NONE) for m in mode]).save(
        tmp_path / "a.jpg", quality=100
    )
    pixels = np.asarray(read_picture(str(tmp_path / "a.jpg")))

    assert (pixels == np.asarray(Image.open(tmp_path / "a.jpg").convert("RGB"))).all()
    assert np.abs(pixels.astype(int) - RAMP[..., None]).max() <= 3


def test_what_is_see_through_lies_on_white(tmp_path: Path) -> None:
    forms = {
        "rgba.png": lambda p: save(stack(NONE, NONE, NONE, NONE), p),
        "palette.png": lambda p: save_palette(p, NONE, transparency=255),
        "key.png": lambda p: save(stack(NONE, NONE, NONE), p, transparency=(0, 0, 0)),
        "grey.png": lambda p: save(NONE, p, transparency=0),
        "grey16.png": lambda p: save(NONE.astype(np.uint16), p, transparency=0),
    }
    for name, write in forms.items():
        write(tmp_path / name)
        assert (np.asarray(read_picture(str(tmp_path / name))) == 255).all(), name


def test_of_several_frames_the_first_is_read(tmp_path: Path) -> None:
    frames = [Image.fromarray(RAMP), Image.fromarray(255 - RAMP)]
    for name in ("a.gif", "a.png", "a.tiff"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        pixels = np.asarray(read_picture(str(tmp_path / name)))
        assert (pixels == RAMP[..., None]).all(), name


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (RAMP.astype(np.float32), r"from 0 to 255.*\[0, 1\]"),
        (RAMP.astype(np.float32) / 255 - 0.5, r"from -0\.5 to 0\.5.*\[0, 1\]"),
        (np.full((8, 32), np.nan, np.float32), r"\[0, 1\]"),
        (RAMP.astype(np.int32), r"from 0 to 255, and nothing says what white is"),
    ],
)
def test_values_without_a_known_range_are_refused(
    values: npt.NDArray[np.generic], message: str, tmp_path: Path
) -> None:
    save(values, tmp_path / "odd.tiff")

    with pytest.raises(DataError, match=rf"odd\.tiff.*{message}"):
        read_picture(str(tmp_path / "odd.tiff"))


@pytest.mark.parametrize("ending", ["png", "jpg", "tiff", "bmp", "webp", "pgm"])
def test_a_file_cut_off_anywhere_is_read_or_named(ending: str, tmp_path: Path) -> None:
    whole = tmp_path / f"whole.{ending}"
    save(RAMP, whole)
    data = whole.read_bytes()
    path = tmp_path / f"cut.{ending}"
    for end in range(0, len(data), max(1, len(data) // 40)):
        path.write_bytes(data[:end])
        assert is_read_or_named(path)


def test_a_file_with_wrong_bytes_is_read_or_named(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    exif = Image.Exif()
    exif[_ORIENTATION] = 6
    for ending in ("png", "jpg", "tiff", "bmp", "webp"):
        Image.fromarray(RAMP).save(tmp_path / f"whole.{ending}", exif=exif)
        data = (tmp_path / f"whole.{ending}").read_bytes()
        path = tmp_path / f"wrong.{ending}"
        for _ in range(60):
            wrong = bytearray(data)
            for place in random.integers(0, min(len(data), 200), 3):
                wrong[place] = random.integers(256)
            path.write_bytes(wrong)
            assert is_read_or_named(path)


def test_a_turn_that_cannot_be_read_does_not_take_the_picture(tmp_path: Path) -> None:
    Image.fromarray(RAMP).save(tmp_path / "a.png", exif=b"Exif\0\0MM\0\x2a\xff\xff\xff\xff")

    assert (np.asarray(read_picture(str(tmp_path / "a.png"))) == RAMP[..., None]).all()
