from __future__ import annotations

import ast
import html
import os
import tomllib
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpod_search.escaping import escape_docstring
from dpod_search.escaping import escape_html
from dpod_search.escaping import make_visible
from dpod_search.escaping import quote_python
from dpod_search.escaping import quote_toml
from dpod_search.escaping import spell_name


# Everything that a name may hold: controls, and halves of characters as of names of files too.
ANYTHING = st.text(
    st.characters() | st.sampled_from("\\\"'`|<>&\n\t\r\x00\x1b\x7f\x9b\u2028\u202e\udce9\ud83d")
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("caf\udce9", r"caf\xe9"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("a\rb\x00\x7f\x9b", r"a\rb\x00\x7f\x9b"),
        ("exe.\u202egpj", r"exe.\u202egpj"),
        ("\ud83d", r"\ud83d"),
        ("grüße 日本 😀\n\tline", "grüße 日本 😀\n\tline"),
    ],
)
def test_what_cannot_be_seen_is_an_escape(text: str, shown: str) -> None:
    assert make_visible(text) == shown


@given(text=ANYTHING)
def test_what_is_shown_can_be_written_and_moves_no_cursor(text: str) -> None:
    for shown in (
        make_visible(text),
        escape_html(text),
        escape_docstring(text),
        quote_python(text),
    ):
        assert not {c for c in shown.encode().decode() if c < " " or "\x7f" <= c < "\xa0"} - {
            "\n",
            "\t",
        }
    assert make_visible(make_visible(text)) == make_visible(text)


@given(text=ANYTHING)
def test_a_name_that_is_text_is_itself_and_any_other_becomes_text(text: str) -> None:
    spelled = spell_name(text)
    spelled.encode()
    assert (spelled == text) == (not any("\ud800" <= c <= "\udfff" for c in text))


def test_bytes_of_a_name_are_spelled_as_such() -> None:
    assert spell_name(os.fsdecode(b"caf\xe9 \x1b\xc3\xa9")) == "caf\\xe9 \x1bé"


class Reader(HTMLParser):
    """Collects what a browser would show, and the tags that it would obey."""

    def __init__(self) -> None:
        super().__init__()
        self.text, self.tags = "", list[object]()

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append((tag, attrs))


@given(text=ANYTHING)
def test_html_shows_the_text_and_obeys_none_of_it(text: str) -> None:
    reader = Reader()
    reader.feed(f'<p title="{escape_html(text)}">{escape_html(text)}</p>')
    reader.close()
    assert reader.tags == [("p", [("title", make_visible(text))])]
    assert reader.text == make_visible(text)
    assert html.unescape(escape_html(text, quote=False)) == make_visible(text)


@given(text=ANYTHING)
def test_a_string_of_python_is_the_text(text: str) -> None:
    assert ast.literal_eval(quote_python(text)) == text
    quote_python(text).encode()


@given(text=st.text(st.characters(codec="utf-8") | st.sampled_from("\x00\x1b\x7f\x9b\u202e\n")))
def test_a_string_of_toml_is_the_text_and_shows_all_of_it(text: str) -> None:
    quoted = quote_toml(text)
    assert tomllib.loads(f"name = {quoted}") == {"name": text}
    assert make_visible(quoted) == quoted


@given(text=ANYTHING)
def test_a_docstring_shows_the_text(text: str) -> None:
    assert ast.literal_eval(f'"""{escape_docstring(text)}"""') == make_visible(text)
