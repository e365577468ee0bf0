"""Widths, rungs and rounding."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import width_spaces
from strategies import widths_of

from dpod_search.errors import ConfigError
from dpod_search.widths import Widths
from dpod_search.widths import WidthSpace
from dpod_search.widths import round_width


@given(st.integers(1, 4096), st.floats(1e-6, 1), st.integers(1, 64))
def test_rounding_stays_in_range_and_on_the_multiple(
    full: int, ratio: float, multiple: int
) -> None:
    width = round_width(full, ratio, multiple)

    assert 1 <= width <= full
    assert width == full or width % multiple == 0
    assert width >= min(full, ratio * full - 1e-6)
    assert width < ratio * full + multiple + 1
    assert round_width(full, 1.0, multiple) == full


@given(st.integers(1, 512), st.integers(1, 512), st.integers(1, 16))
def test_a_ratio_that_is_a_fraction_gives_that_fraction(
    full: int, part: int, multiple: int
) -> None:
    part = min(part, full)
    exact = min(full, math.ceil(part / multiple) * multiple)

    assert round_width(full, part / full, multiple) == exact  # 0.7 * 10 is not 7.000000000000001


@given(st.integers(1, 999), st.floats(0.001, 1), st.floats(0.001, 1), st.integers(1, 16))
def test_rounding_keeps_the_order(full: int, one: float, other: float, multiple: int) -> None:
    small, large = sorted((one, other))

    assert round_width(full, small, multiple) <= round_width(full, large, multiple)


@given(width_spaces(), st.data())
def test_spaces_round_trip(space: WidthSpace, data: st.DataObject) -> None:
    widths = data.draw(widths_of(space))

    assert space.from_rungs(space.to_rungs(widths)) == widths
    assert space.from_rungs(np.array(space.to_rungs(widths))) == widths
    assert space.make(dict(widths)) == widths
    assert space.make(dict(reversed(dict(widths).items()))) == widths
    assert space.make({name: np.int64(width) for name, width in widths.items()}) == widths
    assert all(type(width) is int for width in space.make(widths).active)
    space.check(widths)


@given(width_spaces())
def test_a_space_describes_itself(space: WidthSpace) -> None:
    assert space.n_rungs == tuple(map(len, space.rungs))
    assert space.n_subnets == math.prod(space.n_rungs)
    assert space.to_rungs(space.smallest) == (0,) * len(space.names)
    assert space.to_rungs(space.full) == tuple(n - 1 for n in space.n_rungs)
    described = space.to_json()
    assert tuple(group["name"] for group in described) == space.names
    assert tuple(tuple(group["rungs"]) for group in described) == space.rungs
    assert tuple(group["full"] for group in described) == space.full.active


@given(width_spaces(), st.floats(0, 1))
def test_uniform_is_the_widest_rung_not_above_the_ratio(space: WidthSpace, ratio: float) -> None:
    for width, rungs in zip(space.uniform(ratio).active, space.rungs, strict=True):
        wider = [rung for rung in rungs if rung > width]
        assert width <= ratio * rungs[-1] + 1e-9 or width == rungs[0]
        assert all(rung > ratio * rungs[-1] for rung in wider)
    assert space.uniform(1.0) == space.full


def test_sampling_reaches_every_rung_and_repeats_with_its_seed() -> None:
    space = WidthSpace.from_ratios({"a": 8, "b": 3})
    drawn = [space.sample(np.random.default_rng(seed)) for seed in range(200)]

    assert drawn == [space.sample(np.random.default_rng(seed)) for seed in range(200)]
    assert set(drawn) == {Widths(("a", "b"), (a, b)) for a in range(1, 9) for b in (1, 2, 3)}


def test_ladders_from_ratios() -> None:
    space = WidthSpace.from_ratios({"a": 16, "b": 10, "c": 1}, [0.25, 0.7], multiple=4)

    assert space.rungs == ((4, 12, 16), (4, 8, 10), (1,))
    assert space.full == {"a": 16, "b": 10, "c": 1}
    assert space.smallest == {"a": 4, "b": 4, "c": 1}


@pytest.mark.parametrize(
    ("ratios", "multiple"),
    [([0.0], 1), ([-0.5], 1), ([1.01], 1), ([float("nan")], 1), ([0.5], 0), ([0.5], -3)],
)
def test_ladders_that_make_no_sense(ratios: list[float], multiple: int) -> None:
    with pytest.raises(ConfigError, match="must"):
        WidthSpace.from_ratios({"a": 8}, ratios, multiple)


@pytest.mark.parametrize("rungs", [(), (0, 4), (4, 2), (2, 2)])
def test_rungs_that_do_not_ascend(rungs: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="rungs of a must ascend"):
        WidthSpace(("a",), (rungs,))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"a": 8}, r"\['b'\]"),
        ({"a": 8, "b": 4, "c": 1}, r"\['c'\]"),
        ({"a": 7, "b": 4}, r"width 7 of a is not one of its rungs \(4, 8\)"),
        ({"a": 8, "b": 3.9}, r"width 3\.9 of b is not one"),
        ({"a": 8, "b": "4"}, r"width 4 of b is not one"),
        (Widths(("b", "a"), (4, 8)), r"must stand in the order \['a', 'b'\]"),
    ],
)
def test_widths_of_another_space_are_refused(wrong: dict[str, int], message: str) -> None:
    space = WidthSpace.from_ratios({"a": 8, "b": 4}, [0.5])

    refuse = space.check if isinstance(wrong, Widths) else space.make
    with pytest.raises(ConfigError, match=message):
        refuse(wrong)


def test_widths_are_a_mapping_and_a_key() -> None:
    widths = Widths(("a", "b"), (4, 2))

    assert dict(widths) == {"a": 4, "b": 2}
    assert widths == {"b": 2, "a": 4}
    assert widths != {"a": 4}
    assert widths != "4:2"
    assert str(widths) == "4:2"
    assert widths["b"] == 2
    assert len(widths) == 2
    assert {widths: 1}[Widths(("a", "b"), (4, 2))] == 1
    assert widths != Widths(("b", "a"), (2, 4))
    assert widths.replace("b", 9) == {"a": 4, "b": 9}
    assert widths["b"] == 2
    with pytest.raises(KeyError):
        widths["c"]


@st.composite
def nested_spaces(draw: st.DrawFn) -> WidthSpace:
    """A space with blocks, in each of which some of the groups before it are, blocks too."""
    names = [f"group{i}" for i in range(draw(st.integers(1, 4)))]
    full = {name: draw(st.integers(1, 6)) for name in names}
    inside: dict[str, list[str]] = {}
    for i in range(draw(st.integers(0, 4))):
        inner = draw(st.lists(st.sampled_from(list(full)), unique=True))
        inside |= {f"block{i}": inner} if inner else {}
        full[f"block{i}"] = 1
    order = draw(st.permutations(list(full)))
    blocks = [name for name in full if name.startswith("block")]
    return WidthSpace.from_ratios(
        {name: full[name] for name in order}, [0.5], blocks=blocks, inside=inside
    )


@given(nested_spaces(), st.data())
def test_the_canonical_choice_hides_what_is_inside_removed_blocks(
    space: WidthSpace, data: st.DataObject
) -> None:
    widths = data.draw(widths_of(space))
    canonical = space.canonical(widths)

    space.check(canonical)
    assert space.canonical(canonical) == canonical
    hidden: set[str] = set()
    while True:
        missing = [b for b, _ in space.inside if b in hidden or not widths[b]]
        more = {name for block, names in space.inside if block in missing for name in names}
        if more <= hidden:
            break
        hidden |= more
    for name in space.names:
        expected = space.smallest[name] if name in hidden else widths[name]
        assert canonical[name] == expected
    assert space.canonical(space.full) == space.full
    assert space.canonical(space.smallest) == space.smallest


@given(nested_spaces(), st.data())
def test_many_are_made_canonical_as_one_is(space: WidthSpace, data: st.DataObject) -> None:
    chosen = data.draw(st.lists(widths_of(space), max_size=6))
    rungs = np.array([space.to_rungs(w) for w in chosen], dtype=np.int64)
    rungs = rungs.reshape(len(chosen), len(space.names))
    before = rungs.copy()

    made = space.canonical_rungs(rungs)
    assert made.dtype == rungs.dtype
    assert made.shape == rungs.shape
    assert np.array_equal(rungs, before)
    assert [space.from_rungs(row) for row in made] == [space.canonical(w) for w in chosen]


def test_a_space_with_blocks_is_a_key_and_says_what_is_inside() -> None:
    full = {"a": 4, "b": 4, "outer": 1, "inner": 1}
    make = {"blocks": ["outer", "inner"], "inside": {"outer": ["a", "inner"], "inner": ["a"]}}
    space = WidthSpace.from_ratios(full, [0.5], **make)

    assert {space: 1}[WidthSpace.from_ratios(full, [0.5], **make)] == 1
    assert space != WidthSpace.from_ratios(full, [0.5], blocks=["outer", "inner"])
    assert space.to_json() == [
        {"name": "a", "full": 4, "rungs": [2, 4], "inside": ["outer", "inner"]},
        {"name": "b", "full": 4, "rungs": [2, 4]},
        {"name": "outer", "full": 1, "rungs": [0, 1]},
        {"name": "inner", "full": 1, "rungs": [0, 1], "inside": ["outer"]},
    ]
    assert space.n_subnets == 16
    assert len({space.canonical(space.from_rungs(i)) for i in np.ndindex(2, 2, 2, 2)}) == 8


@pytest.mark.parametrize(
    ("inside", "message"),
    [
        ({"a": ["b"]}, "a has groups inside, but is no block"),
        ({"gone": ["b"]}, "gone has groups inside, but is no block"),
        ({"block": ["gone"]}, r"groups inside block are not of the space: \['gone'\]"),
    ],
)
def test_groups_are_inside_of_blocks_only(inside: dict[str, list[str]], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        WidthSpace.from_ratios({"a": 4, "b": 4, "block": 1}, blocks=["block"], inside=inside)
