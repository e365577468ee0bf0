from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpod_search.escaping import make_visible
from dpod_search.markdown import code
from dpod_search.markdown import escape
from dpod_search.markdown import table


NAMES = st.text(st.characters() | st.sampled_from("\\`*_[]<>|#~$&!\n\r\x1b\udce9"), max_size=20)


def split_cells(line: str) -> list[str]:
    """Split a line of a table where Markdown does: at bars that no backslash escapes."""
    return re.findall(r"((?:\\[\\|]|[^|])*)\|", line)[1:]


@given(name=NAMES)
def test_escaped_text_reads_as_it_was(name: str) -> None:
    written = escape(name)
    assert "\n" not in written
    assert re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", written) == make_visible(name).replace("\n", " ")
    bare = re.sub(r"\\[!-/:-@\[-`{-~]", "", written)
    assert not set(bare) & set("\\`*[]<>|#~$&")


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("layer1.conv_1", "layer1.conv_1"),
        ("_x_", r"\_x\_"),
        ("a _b", r"a \_b"),
        ("[x](javascript:y)", r"\[x\](javascript:y)"),
    ],
)
def test_names_stay_readable_where_they_can(name: str, written: str) -> None:
    assert escape(name) == written


@given(name=NAMES)
def test_code_ends_where_the_name_ends(name: str) -> None:
    written = code(name)
    fence = re.match("`+", written)[0]
    inner = written[len(fence) : -len(fence)]
    assert written.endswith(fence)
    assert fence not in re.findall("`+", inner)
    assert "\n" not in written
    plain = make_visible(name).replace("\n", " ") or '""'
    assert inner == (f" {plain} " if "`" in plain else plain)
    written.encode()


@given(names=st.lists(NAMES, min_size=2, max_size=4))
def test_a_name_is_one_cell_of_its_table(names: list[str]) -> None:
    lines = table(["", *names], [["", *names], ["", *map(code, names)]])
    assert len(lines) == 4
    assert {len(split_cells(line)) for line in lines} == {1 + len(names)}


def test_code_outside_of_tables_shows_bars_as_they_are() -> None:
    assert code("a|b") == "`a|b`"
