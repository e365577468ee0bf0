"""Names of the user's as text of other languages: they show as they are, and do nothing else.

Classes, groups, studies, files and reasons may hold anything: tags, quotes, colour codes of a
terminal, bytes that are no UTF-8. There is one function a language; those of Markdown stand with
its tables, in :mod:`dpod_search.markdown`.
"""

from __future__ import annotations

import html
import json
import unicodedata


# Controls, halves of characters, and separators of lines that only some programs know.
_UNSEEN = ("Cc", "Cs", "Zl", "Zp")
# These turn the direction of writing around, and show a name as another one.
_TURNING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def make_visible(text: str) -> str:
    r"""Write text for a terminal: what cannot be seen as an escape such as ``\x1b``.

    Newlines and tabs stay. A byte of a file's name that is no UTF-8, which Python keeps as half a
    character, is an escape too, so that the text can be written as UTF-8.
    """
    return "".join(map(_write_visibly, text))


def _write_visibly(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    is_unseen = unicodedata.category(character) in _UNSEEN and character not in "\n\t"
    if is_unseen or character in _TURNING:
        return character.encode("unicode_escape").decode()
    return character


def spell_name(name: str) -> str:
    r"""Return a name, of a file for instance, as text that can be written as UTF-8.

    On Linux a file's name is any bytes; those that are not UTF-8 become ``\xe9`` and the like. All
    else stays, so that a name that is text is itself.
    """
    return "".join(_write_visibly(c) if unicodedata.category(c) == "Cs" else c for c in name)


def escape_html(text: str, *, quote: bool = True) -> str:
    """Write text as HTML, for elements and for attributes in quotes.

    Args:
        text: Plain text.
        quote: Escape quotes too, which only attributes need.
    """
    return html.escape(make_visible(text), quote=quote)


def escape_docstring(text: str) -> str:
    """Write text inside a string of Python's in three double quotes."""
    return make_visible(text).replace("\\", "\\\\").replace('"', '\\"')


def quote_python(text: str) -> str:
    """Return a string of Python's in double quotes that is this text, whatever it holds."""
    # JSON writes characters beyond 16 bits as two halves, which Python would keep apart.
    quoted = (json.dumps(c)[1:-1] if c in '"\\' else _quote(c) for c in text)
    return f'"{"".join(quoted)}"'


def quote_toml(text: str) -> str:
    """Return a string of TOML's in double quotes that is this text, of whole characters."""
    # A JSON string is one, but shows what is not seen and is no control of JSON's.
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(c if make_visible(c) == c else f"\\u{ord(c):04x}" for c in quoted)


def _quote(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode()
