"""A layered drawing: boxes by depth, long edges in lanes, few crossings, straight lines.

All edges that leave one box share their lanes, so that the many long edges of a densely
connected net stay apart.

References:
    Sugiyama, Tagawa, Toda: Methods for visual understanding of hierarchical system structures,
    1981 (layers, barycenters).
    Barlow et al.: Statistical inference under order restrictions, 1972 (pool adjacent violators,
    which finds the places nearest to the wanted ones).
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import dataclass


_LANE_WIDTH = 9.0
_BOX_GAP = 26.0
_LAYER_GAP = 34.0
_N_ORDERINGS = 6
_N_PLACINGS = 10
_STRAIGHT = 6.0  # how much more a lane wants to be straight than a box wants to be centred


@dataclass(frozen=True)
class Placed:
    """Where things are drawn, in pixels, y downwards.

    Args:
        x: Centre of every box.
        y: Top of every box.
        wires: By box that is read, its wire.
        width: Of the whole drawing.
        height: Of the whole drawing.
    """

    x: tuple[float, ...]
    y: tuple[float, ...]
    wires: tuple[tuple[int, tuple[Stretch, ...]], ...]
    width: float
    height: float


@dataclass(frozen=True)
class Stretch:
    """A piece of a wire, between two layers.

    Args:
        start: Where it leaves, (x, y).
        low: The y down to which it runs straight; it bends below.
        end: Where it arrives, (x, y).
        target: The box at its end, or None inside a lane.
    """

    start: tuple[float, float]
    low: float
    end: tuple[float, float]
    target: int | None


@dataclass
class _Point:
    """A box, or the place where a lane crosses a layer."""

    layer: int
    width: float
    box: int | None
    above: list[int]
    below: list[int]


def place(
    sources: Sequence[Sequence[int]], widths: Sequence[float], heights: Sequence[float]
) -> Placed:
    """Place boxes and the wires between them; the same boxes always come out the same.

    Args:
        sources: For every box the earlier boxes that it reads.
        widths: Of the boxes, in pixels.
        heights: Of the boxes, in pixels.

    Returns:
        Places in a drawing whose upper left corner is (0, 0).
    """
    depths = _find_depths(sources)
    points = [
        _Point(depth, width, i, [], [])
        for i, (depth, width) in enumerate(zip(depths, widths, strict=True))
    ]
    _add_lanes(points, sources)
    layers: list[list[int]] = [[] for _ in range(max(depths, default=-1) + 1)]
    for number, point in enumerate(points):
        layers[point.layer].append(number)
    _order(points, layers)
    x = _find_x(points, layers)
    y = _find_y(points, layers, heights)
    left = min((x[i] - p.width / 2 for i, p in enumerate(points)), default=0.0)
    x = [round(value - left, 1) for value in x]
    n_boxes = len(sources)
    return Placed(
        x=tuple(x[:n_boxes]),
        y=tuple(y.tops[point.layer] for point in points[:n_boxes]),
        wires=tuple(
            (i, tuple(_run_wire(i, points, x, y))) for i in range(n_boxes) if points[i].below
        ),
        width=max((x[i] + p.width / 2 for i, p in enumerate(points)), default=0.0),
        height=y.lows[-1] if y.lows else 0.0,
    )


def _find_depths(sources: Sequence[Sequence[int]]) -> list[int]:
    depths: list[int] = []
    for own in sources:
        depths.append(1 + max((depths[source] for source in own), default=-1))
    # What reads nothing stands just above its first reader, not at the top.
    first_reader: dict[int, int] = {}
    for i, own in enumerate(sources):
        for source in own:
            first_reader[source] = min(first_reader.get(source, depths[i]), depths[i])
    return [
        depth if sources[i] or i not in first_reader else first_reader[i] - 1
        for i, depth in enumerate(depths)
    ]


def _add_lanes(points: list[_Point], sources: Sequence[Sequence[int]]) -> None:
    lanes: dict[int, list[int]] = {i: [i] for i in range(len(sources))}
    for target, own in enumerate(sources):
        for source in own:
            lane = lanes[source]
            n_needed = points[target].layer - points[source].layer
            while len(lane) < n_needed:
                new = len(points)
                points.append(
                    _Point(points[lane[-1]].layer + 1, _LANE_WIDTH, None, [lane[-1]], [])
                )
                points[lane[-1]].below.append(new)
                lane.append(new)
            last = lane[n_needed - 1]
            points[last].below.append(target)
            points[target].above.append(last)


def _order(points: Sequence[_Point], layers: list[list[int]]) -> None:
    """Order every layer by where its neighbours stand, to and fro, and keep the best order."""
    best, fewest = [list(layer) for layer in layers], _count_crossings(points, layers)
    for sweep in range(_N_ORDERINGS):
        goes_down = sweep % 2 == 0
        place_of = {n: i / max(len(layer) - 1, 1) for layer in layers for i, n in enumerate(layer)}
        for layer in layers if goes_down else reversed(layers):
            wanted = {}
            for i, number in enumerate(layer):
                near = points[number].above if goes_down else points[number].below
                here = place_of[number]
                wanted[number] = (sum(place_of[n] for n in near) / len(near) if near else here, i)
            layer.sort(key=wanted.__getitem__)
            place_of.update({n: i / max(len(layer) - 1, 1) for i, n in enumerate(layer)})
        n_crossings = _count_crossings(points, layers)
        if n_crossings < fewest:
            best, fewest = [list(layer) for layer in layers], n_crossings
    layers[:] = best


def _count_crossings(points: Sequence[_Point], layers: Sequence[Sequence[int]]) -> int:
    place_of = {n: i for layer in layers for i, n in enumerate(layer)}
    n_crossings = 0
    for layer in layers:
        seen: list[int] = []
        for number in layer:
            ends = sorted(place_of[n] for n in points[number].below)
            n_crossings += sum(one > end for end in ends for one in seen)
            seen += ends
    return n_crossings


def _find_x(points: Sequence[_Point], layers: Sequence[Sequence[int]]) -> list[float]:
    x = [0.0] * len(points)
    for layer in layers:
        _settle(layer, points, x, dict.fromkeys(layer, 0.0), dict.fromkeys(layer, 1.0))
    for sweep in range(_N_PLACINGS):
        goes_down = sweep % 2 == 0
        for layer in layers if goes_down else reversed(layers):
            wanted: dict[int, float] = {}
            weights: dict[int, float] = {}
            for number in layer:
                point = points[number]
                near = point.above if goes_down else point.below
                pull = [(x[n], _pull(point, points[n])) for n in near]
                weights[number] = sum(weight for _, weight in pull) or 0.1
                wanted[number] = (
                    sum(at * weight for at, weight in pull) / weights[number]
                    if pull
                    else x[number]
                )
            _settle(layer, points, x, wanted, weights)
    return x


def _pull(one: _Point, other: _Point) -> float:
    return _STRAIGHT if one.box is None and other.box is None else 1.0


def _settle(
    layer: Sequence[int],
    points: Sequence[_Point],
    x: list[float],
    wanted: dict[int, float],
    weights: dict[int, float],
) -> None:
    """Move the points of a layer as near to where they want to be as they fit, in their order."""
    # Take the least distances away, and what remains only has to ascend.
    shift = 0.0
    shifts: list[float] = []
    for i, number in enumerate(layer):
        if i:
            shift += _distance(points[layer[i - 1]], points[number])
        shifts.append(shift)
    blocks: list[tuple[float, float, int]] = []  # mean, weight, number of points
    for number, shift in zip(layer, shifts, strict=True):
        mean, weight, n = wanted[number] - shift, weights[number], 1
        while blocks and blocks[-1][0] > mean:
            other, heavy, m = blocks.pop()
            mean = (mean * weight + other * heavy) / (weight + heavy)
            weight, n = weight + heavy, n + m
        blocks.append((mean, weight, n))
    means: Iterable[float] = (mean for mean, _, n in blocks for _ in range(n))
    for number, shift, mean in zip(layer, shifts, means, strict=True):
        x[number] = mean + shift


def _distance(one: _Point, other: _Point) -> float:
    gap = 0.0 if one.box is None and other.box is None else _BOX_GAP / 2
    gap += _BOX_GAP / 2 if one.box is not None and other.box is not None else 0.0
    return (one.width + other.width) / 2 + gap


@dataclass(frozen=True)
class _Heights:
    """The y of every layer's top and lowest bottom, and of every box's bottom."""

    tops: list[float]
    lows: list[float]
    bottoms: list[float]


def _find_y(
    points: Sequence[_Point], layers: Sequence[Sequence[int]], heights: Sequence[float]
) -> _Heights:
    found = _Heights([], [], [])
    y = 0.0
    for layer in layers:
        boxes = [box for n in layer if (box := points[n].box) is not None]
        found.tops.append(y)
        found.lows.append(y + max((heights[box] for box in boxes), default=0.0))
        y = found.lows[-1] + _LAYER_GAP
    for point, height in zip(points, heights, strict=False):  # lanes follow the boxes
        found.bottoms.append(found.tops[point.layer] + height)
    return found


def _run_wire(
    box: int, points: Sequence[_Point], x: Sequence[float], y: _Heights
) -> Iterable[Stretch]:
    ahead = [box]
    while ahead:
        number = ahead.pop()
        point = points[number]
        top = y.bottoms[box] if number == box else y.tops[point.layer]
        for below in point.below:
            target = points[below]
            end = (x[below], y.tops[target.layer])
            yield Stretch((x[number], top), y.lows[point.layer], end, target.box)
            if target.box is None:
                ahead.append(below)
