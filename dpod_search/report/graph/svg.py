"""Drawing the placed boxes and wires as SVG: what the template is told."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from dpod_search.figures.text import percent
from dpod_search.report.graph.boxes import Box
from dpod_search.report.graph.inspection import InspectedOperation
from dpod_search.report.graph.inspection import Inspection
from dpod_search.report.graph.layout import Stretch
from dpod_search.report.graph.layout import place
from dpod_search.report.graph.marks import Mark
from dpod_search.report.graph.marks import describe_operation
from dpod_search.report.graph.marks import describe_shape
from dpod_search.report.graph.marks import hue
from dpod_search.report.markup import render


_CHARACTER = 6.63  # width of one, in the monospaced face of 11 px
_LINE = 16.0
_MOST_CHARACTERS = 38
_STRIP = 7.0
_PAD = 8.0
_MARGIN = 16.0
_MOST_STRIPES = 16
_SMALL_SHARE = 0.0005


@dataclass(frozen=True)
class _Row:
    """A line of text in a box, and the operations that it stands for."""

    text: str
    positions: tuple[int, ...]
    is_small: bool


@dataclass(frozen=True)
class _Text:
    """What is written in a box, and the size that it needs."""

    rows: Sequence[_Row]
    foot: tuple[str, str]
    width: float
    height: float


@dataclass(frozen=True)
class _Keys:
    """Which groups and frozen dimensions are made and read somewhere, with spaces between."""

    makes: str
    reads: str


@dataclass(frozen=True)
class _Wire:
    kind: str
    hue: str | None
    keys: _Keys
    path: str


@dataclass(frozen=True)
class _Stripe:
    y: str
    height: str
    hue: str | None


@dataclass(frozen=True)
class _DrawnRow:
    """A row in its place; ``words`` are what a search looks through, ``said`` what it tells."""

    text: str
    is_small: bool
    words: str
    said: str
    keys: _Keys
    y: str
    base: str
    width: str


@dataclass(frozen=True)
class _Foot:
    left: str
    right: str
    x: str
    y: str


@dataclass(frozen=True)
class _DrawnBox:
    kind: str
    place: str
    width: str
    height: str
    keys: _Keys
    strip: tuple[_Stripe, ...]
    rows: tuple[_DrawnRow, ...]
    foot: _Foot | None


def draw_graph(inspection: Inspection, boxes: Sequence[Box], marks: Mapping[int, Mark]) -> Markup:
    """Draw the graph.

    Args:
        inspection: What is drawn.
        boxes: Its operations, folded.
        marks: What belongs to each operation, by position.

    Returns:
        An ``svg`` element.
    """
    written = [_write_box(box, inspection, marks) for box in boxes]
    placed = place(
        [box.sources for box in boxes],
        [text.width for text in written],
        [text.height for text in written],
    )
    width, height = placed.width + 2 * _MARGIN, placed.height + 2 * _MARGIN
    return render(
        "graph.svg",
        width=width,
        height=height,
        view=f"{-_MARGIN:g} {-_MARGIN:g} {width:.0f} {height:.0f}",
        label=f"Graph of {inspection.title}: {len(boxes)} boxes, from input to output",
        strip=f"{_STRIP:g}",
        left=f"{_STRIP + _PAD:g}",
        line=f"{_LINE:g}",
        wires=[_draw_wire(boxes[i], run, marks) for i, run in placed.wires],
        boxes=[
            _draw_box(box, text, f"{x - text.width / 2:.1f} {y:g}", inspection, marks)
            for box, text, x, y in zip(boxes, written, placed.x, placed.y, strict=True)
        ],
    )


def _write_box(box: Box, inspection: Inspection, marks: Mapping[int, Mark]) -> _Text:
    rows, foot = _make_rows(box, inspection), _write_foot(box, inspection, marks)
    lengths = [len(row.text) for row in rows] + [sum(map(len, foot)) + 2 * all(foot)]
    return _Text(
        rows=rows,
        foot=foot,
        width=_CHARACTER * max(lengths) + _STRIP + 2 * _PAD,
        height=_LINE * (len(rows) + any(foot)) + _PAD,
    )


def _make_rows(box: Box, inspection: Inspection) -> list[_Row]:
    rows: list[_Row] = []
    for position in box.rows:
        operation = inspection.operations[position]
        is_small = not (
            operation.macs or operation.params or operation.kind in ("input", "output")
        )
        text = _shorten(_name_small(operation) if is_small else operation.what)
        if is_small and rows and rows[-1].is_small:
            joined = f"{rows[-1].text} · {text}"
            if len(joined) <= _MOST_CHARACTERS:
                rows[-1] = _Row(joined, (*rows[-1].positions, position), True)
                continue
        rows.append(_Row(text, (position,), is_small))
    return rows


def _name_small(operation: InspectedOperation) -> str:
    last = operation.what.rpartition(".")[2]
    return operation.what if operation.kind != "module" or last.isdigit() else last


def _shorten(text: str) -> str:
    # The end of a path tells more than its beginning.
    text = " ".join(text.split()) or "(no name)"
    return text if len(text) <= _MOST_CHARACTERS else f"…{text[1 - _MOST_CHARACTERS :]}"


def _write_foot(box: Box, inspection: Inspection, marks: Mapping[int, Mark]) -> tuple[str, str]:
    """Return the two ends of a box's last line: shape and share of macs, and its groups."""
    last = box.rows[-1]
    macs = sum(inspection.operations[i].macs for i in box.rows) / max(inspection.full["macs"], 1)
    share = f"{percent(macs)} macs" if macs >= _SMALL_SHARE else ""
    shape = describe_shape(inspection.operations[last])
    numbers = [str(number + 1) for number in marks[last].makes]
    if len(numbers) > 3:
        numbers = [f"{len(numbers)} groups"]
    groups = "frozen" if marks[last].is_frozen else "+".join(numbers)
    return " · ".join(part for part in (shape, share) if part), groups


def _list_keys(positions: Iterable[int], marks: Mapping[int, Mark]) -> _Keys:
    own = [marks[position] for position in positions]
    makes = [f"g{n}" for mark in own for n in mark.makes]
    makes += [f"g{n}" for mark in own for n in mark.blocks]
    makes += [f"f{mark.frozen}" for mark in own if mark.frozen is not None]
    reads = [f"g{n}" for mark in own for n in mark.reads]
    reads += [f"f{n}" for mark in own for n in mark.freezes]
    return _Keys(" ".join(dict.fromkeys(makes)), " ".join(dict.fromkeys(reads)))


def _draw_wire(box: Box, run: Sequence[Stretch], marks: Mapping[int, Mark]) -> _Wire:
    last = box.rows[-1]
    mark = marks[last]
    kind = "wire frozen" if mark.is_frozen else "wire"
    return _Wire(
        kind=f"{kind} coloured" if mark.makes else kind,
        hue=hue(mark.makes[0]) if mark.makes else None,
        keys=_list_keys([last], marks),
        path=" ".join(_bend(stretch) for stretch in run),
    )


def _bend(stretch: Stretch) -> str:
    (x, y), (end_x, end_y) = stretch.start, stretch.end
    start = f"M{x:g} {y:g}V{stretch.low:g}"
    if abs(x - end_x) < 0.5:
        return f"{start}V{end_y:g}"
    middle = (stretch.low + end_y) / 2
    return f"{start}C{x:g} {middle:g} {end_x:g} {middle:g} {end_x:g} {end_y:g}"


def _draw_box(
    box: Box, text: _Text, place_of_box: str, inspection: Inspection, marks: Mapping[int, Mark]
) -> _DrawnBox:
    own = [marks[position] for position in box.rows]
    kinds = ["box"]
    kinds += ["frozen"] if own[-1].is_frozen else []
    kinds += ["freezes"] if any(mark.freezes for mark in own) else []
    foot = None
    if any(text.foot):
        y = _LINE * (len(text.rows) + 1) - 1
        foot = _Foot(*text.foot, x=f"{text.width - _PAD:.1f}", y=f"{y:g}")
    return _DrawnBox(
        kind=" ".join(kinds),
        place=place_of_box,
        width=f"{text.width:.1f}",
        height=f"{text.height:g}",
        keys=_list_keys(box.rows, marks),
        strip=tuple(_draw_strip(own[-1].makes, text.height)),
        rows=tuple(
            _draw_row(i, row, text.width, inspection, marks) for i, row in enumerate(text.rows)
        ),
        foot=foot,
    )


def _draw_strip(groups: Sequence[int], height: float) -> list[_Stripe]:
    shown = groups[:_MOST_STRIPES] or (None,)
    step = height / len(shown)
    return [
        _Stripe(f"{i * step:.1f}", f"{step:.1f}", None if group is None else hue(group))
        for i, group in enumerate(shown)
    ]


def _draw_row(
    place_in_box: int,
    row: _Row,
    width: float,
    inspection: Inspection,
    marks: Mapping[int, Mark],
) -> _DrawnRow:
    operations = [inspection.operations[position] for position in row.positions]
    said = (
        describe_operation(inspection.operations[position], marks[position], inspection)
        for position in row.positions
    )
    y = _LINE * place_in_box + _PAD / 2
    return _DrawnRow(
        text=row.text,
        is_small=row.is_small,
        words=" ".join(f"{item.what} {item.line}" for item in operations).lower(),
        said="\n\n".join(said),
        keys=_list_keys(row.positions, marks),
        y=f"{y:g}",
        base=f"{y + 11:g}",
        width=f"{width - _STRIP - 1:.1f}",
    )
