from __future__ import annotations

import io

from rich.console import Console
from rich.table import Table

from dpod_search.bars.drawing import Bars
from dpod_search.cli import terminal
from dpod_search.cli.options import make_console
from dpod_search.cli.terminal import say


AWKWARD = "caf\udce9 \x1b]0;owned\x07 [bold]x[/] [/nothing] :smile: a\rb"
SHOWN = r"caf\xe9 \x1b]0;owned\x07 [bold]x[/] [/nothing] :smile: a\rb"


def test_lines_tables_and_words_show_what_is_in_them(capsys):
    console = make_console()
    console.print(AWKWARD, highlight=False)
    table = Table(title=AWKWARD)
    table.add_column(AWKWARD)
    table.add_row(AWKWARD)
    console.print(table)
    say(AWKWARD)
    assert capsys.readouterr().out.count(SHOWN) == 5


def test_bars_show_what_they_are_told():
    console = Console(force_terminal=True, width=300, file=io.StringIO())
    with Bars(console) as bars:
        bars.start(AWKWARD, 2)
        bars.advance(1, AWKWARD)
        bars.finish()
    text = console.file.getvalue()
    assert SHOWN in text
    assert "\x1b]0;" not in text


def test_what_an_encoding_lacks_is_an_escape(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", stream)
    terminal.spare_encoding()
    say("macs ≤ 5")
    assert stream.buffer.getvalue() == b"macs \\u2264 5\n"


def test_an_error_obeys_no_name(call_main, tmp_path):
    name = tmp_path / "\x1b[31mred.toml"
    code, out, err = call_main("run", "--study", name)
    assert (code, out) == (2, "")
    assert r"\x1b[31mred.toml" in err
    assert "\x1b" not in err
