from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from dpod_search.report.graph.layout import place


@st.composite
def graphs(draw):
    n = draw(st.integers(1, 14))
    sources = [
        sorted(draw(st.sets(st.integers(0, i - 1), max_size=3))) if i else [] for i in range(n)
    ]
    sizes = st.lists(st.floats(20, 300), min_size=n, max_size=n)
    return sources, draw(sizes), draw(sizes)


@given(graphs())
def test_boxes_lie_apart_and_inside_and_below_what_they_read(graph):
    sources, widths, heights = graph
    placed = place(*graph)
    edges = [
        (x - w / 2, y, x + w / 2, y + h)
        for x, y, w, h in zip(placed.x, placed.y, widths, heights, strict=True)
    ]
    for left, top, right, bottom in edges:
        assert left >= -0.1
        assert top >= 0
        assert right <= placed.width + 0.1
        assert bottom <= placed.height + 0.1
    for one, other in combinations(edges, 2):
        is_apart = (
            one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
        )
        assert is_apart
    for target, own in enumerate(sources):
        assert all(placed.y[source] + heights[source] <= placed.y[target] for source in own)


@given(graphs())
def test_wires_join_exactly_what_is_read(graph):
    sources, _, _ = graph
    placed = place(*graph)
    joined = {
        (source, stretch.target)
        for source, run in placed.wires
        for stretch in run
        if stretch.target is not None
    }
    assert joined == {(source, target) for target, own in enumerate(sources) for source in own}
    assert place(*graph) == placed


def test_a_chain_is_straight():
    placed = place([[], [0], [1]], [100.0, 60.0, 100.0], [20.0] * 3)
    assert len(set(placed.x)) == 1


def test_the_long_edges_of_one_box_share_their_lanes():
    # A densely connected chain: each box reads all the earlier ones.
    n = 40
    placed = place([list(range(i)) for i in range(n)], [100.0] * n, [20.0] * n)
    assert placed.width < n * 100
    assert sum(len(run) for _, run in placed.wires) <= n * n


def test_nothing_has_no_size():
    placed = place([], [], [])
    assert (placed.width, placed.height, placed.wires) == (0, 0, ())
