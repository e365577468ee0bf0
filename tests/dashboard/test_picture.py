from __future__ import annotations

import io

from PIL import Image

from dpod_search.dashboard.picture import draw_widths
from dpod_search.records.search import Group


def make_group(name: str, full: int, rungs: tuple[int, ...]) -> Group:
    return Group(name=name, full=full, rungs=rungs)


GROUPS = (
    make_group("stem", 16, (4, 8, 16)),
    make_group("stage1", 32, (8, 32)),
    make_group("block", 1, (0, 1)),
)
ACTIVE = (0, 114, 178)


def count_active(widths):
    image = Image.open(io.BytesIO(draw_widths("trial 3", widths, GROUPS))).convert("RGB")
    colors = {color: n for n, color in image.getcolors(1 << 24)}
    return sum(
        n
        for c, n in colors.items()
        if max(abs(a - b) for a, b in zip(c, ACTIVE, strict=True)) < 12
    )


def test_bars_are_as_long_as_the_widths():
    quarter = count_active({"stem": 4, "stage1": 8, "block": 0})
    half = count_active({"stem": 8, "stage1": 16, "block": 0})
    assert quarter > 0
    assert abs(half / quarter - 2) < 0.1


def test_the_same_widths_are_the_same_file():
    widths = {"stem": 4, "stage1": 8, "block": 1}
    assert draw_widths("t", widths, GROUPS) == draw_widths("t", widths, GROUPS)
    assert draw_widths("t", widths, GROUPS) != draw_widths("t", widths | {"stem": 8}, GROUPS)


def test_many_groups_with_long_names_stay_small():
    names = [f"features.denseblock{i}.{'inner.' * 20}conv{i}" for i in range(100)]
    groups = [make_group(name, 64, (8, 64)) for name in names]
    data = draw_widths("trial 1", dict.fromkeys(names, 8), groups)
    assert len(data) < 200_000
    assert Image.open(io.BytesIO(data)).width < 1200


def test_any_name_is_drawn_on_its_line():
    odd = make_group("a\nb \x1b caf\udce9", 4, (2, 4))
    shown = make_group(r"a b \x1b caf\xe9", 4, (2, 4))
    wanted = draw_widths("trial 3", {shown.name: 4}, (shown,))
    assert draw_widths("trial 3", {odd.name: 4}, (odd,)) == wanted
