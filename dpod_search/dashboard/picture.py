"""The widths of a subnet as a small picture, drawn without a browser."""

from __future__ import annotations

import io
from collections.abc import Mapping
from collections.abc import Sequence

from PIL import Image
from PIL import ImageDraw
from PIL import ImageFont

from dpod_search.escaping import make_visible
from dpod_search.records.search import Group


# Of the palette of Okabe and Ito, which colour-blind readers tell apart.
_ACTIVE = "#0072B2"
_ABSENT = "#D9D9D9"
_INK = "#333333"
_SCALE = 1.4  # pages show it at this size, and sharp enough
_ROW, _BAR = 22, 14
_BAR_WIDTH, _MARGIN = 260, 12
_MAX_NAME = 40


def draw_widths(title: str, widths: Mapping[str, int], groups: Sequence[Group]) -> bytes:
    """Draw a bar for each group: what is active of its full width.

    Args:
        title: Stands above the bars.
        widths: Active width by group.
        groups: The groups, in the order to draw them.

    Returns:
        A PNG; the same bytes for the same arguments.
    """
    font = ImageFont.load_default(12 * _SCALE)
    names = [_shorten(group.name) for group in groups]
    left = max((font.getlength(name) for name in names), default=0.0) / _SCALE + 2 * _MARGIN
    counts = [f"{widths[group.name]} of {group.full}" for group in groups]
    right = max((font.getlength(text) for text in counts), default=0.0) / _SCALE + 2 * _MARGIN
    width = max(left + _BAR_WIDTH + right, font.getlength(title) / _SCALE + 2 * _MARGIN)
    height = _ROW * (len(groups) + 1) + 2 * _MARGIN
    image = Image.new("RGB", (round(width * _SCALE), round(height * _SCALE)), "white")
    draw = ImageDraw.Draw(image)
    draw.text(_scaled(_MARGIN, _MARGIN), title, fill=_INK, font=font)
    for row, (group, name, text) in enumerate(zip(groups, names, counts, strict=True), start=1):
        middle = _MARGIN + row * _ROW + _ROW / 2
        top, bottom = middle - _BAR / 2, middle + _BAR / 2
        draw.text(_scaled(left - _MARGIN, middle), name, fill=_INK, font=font, anchor="rm")
        draw.rectangle((*_scaled(left, top), *_scaled(left + _BAR_WIDTH, bottom)), fill=_ABSENT)
        share = widths[group.name] / group.full
        if share > 0:
            draw.rectangle(
                (*_scaled(left, top), *_scaled(left + share * _BAR_WIDTH, bottom)), fill=_ACTIVE
            )
        place = _scaled(left + _BAR_WIDTH + _MARGIN, middle)
        draw.text(place, text, fill=_INK, font=font, anchor="lm")
    stream = io.BytesIO()
    image.quantize(32).save(stream, format="PNG", optimize=True)
    return stream.getvalue()


def _scaled(x: float, y: float) -> tuple[int, int]:
    return round(x * _SCALE), round(y * _SCALE)


def _shorten(name: str) -> str:
    name = make_visible(name).replace("\n", " ")
    # The end of a layer's path tells more than its beginning.
    return name if len(name) <= _MAX_NAME else "…" + name[1 - _MAX_NAME :]
