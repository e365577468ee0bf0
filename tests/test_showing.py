"""What values look like at a prompt and in a notebook."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from training.fakes import make_batches
from training.fakes import make_supernet

import dpod_search as dpod
from dpod_search.export import ExportedModel
from dpod_search.finetune import FinetunedSubnet
from dpod_search.footprint import measure_shares
from dpod_search.search import Candidate
from dpod_search.search import Front
from dpod_search.search import Macs
from dpod_search.showing import Sheet
from dpod_search.supernet import Subnet
from dpod_search.supernet.supernet import measure_held
from dpod_search.training import TrainingResult
from dpod_search.widths import Widths


class Reader(HTMLParser):
    """Reads HTML of which every element is closed, and keeps its text and its elements."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.texts: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.seen.add(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


OURS = {
    "div",
    "strong",
    "b",
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "details",
    "summary",
    "pre",
}


def read(html):
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert not reader.open
    assert reader.seen <= OURS
    # Self-contained, and inks are those of the page, light or dark.
    assert {name for name, _ in reader.attributes} <= {"style"}
    for _, style in reader.attributes:
        assert "url(" not in (style or "")
        assert "#" not in (style or "")
    return reader


def fits(text):
    lines = text.split("\n")
    return len(lines) <= 24 and max(map(len, lines)) <= 100


TEXT = st.text(max_size=60) | st.sampled_from(
    ["<b>", "</div>", "&amp;", "\x1b[31m", "a\nb", "\u202e"]
)
ROW = st.tuples(TEXT, TEXT, TEXT)


@given(
    TEXT,
    st.lists(st.tuples(TEXT, TEXT), max_size=9),
    st.lists(ROW, max_size=40),
    st.booleans(),
    st.none() | st.tuples(TEXT, TEXT),
)
def test_whatever_is_told_fits_a_screen_and_is_no_markup(title, facts, rows, is_brief, folded):
    sheet = Sheet(title, facts, ("a", "b", "c"), rows, is_brief, folded)
    assert fits(sheet.to_text())
    assert "\x1b" not in sheet.to_text() + sheet.to_html()
    reader = read(sheet.to_html())
    assert sheet.to_html().count("<tr>") == 1 + min(len(rows), 16)
    assert "\u202e" not in "".join(reader.texts)


def test_of_many_rows_the_ends_are_shown_and_the_rest_is_counted():
    rows = [(str(i), "x") for i in range(40)]
    text = Sheet("T", (), ("n", "x"), rows).to_text()
    shown = [line.split()[0] for line in text.splitlines()[2:]]
    assert "… 25 more" in text
    assert [n for n in shown if n != "…"] == [*map(str, range(12)), "37", "38", "39"]


def make_candidate(name="<b>group</b>", n=3):
    names = tuple(f"{name}{i}" for i in range(n))
    widths = Widths(names, tuple(range(1, n + 1)))
    return Candidate(4, widths, {"macs": 100.0, "<b>": 0.5}, {"macs": 100, "params": 7})


def make_values():
    candidate = make_candidate()
    many = tuple(make_candidate(n=60) for _ in range(50))
    supernet = make_supernet()
    widths = supernet.space.smallest
    splits = dpod.load_data(dpod.DataSettings("digits"), seed=0)
    metrics = {"accuracy": 0.5, "<b>": 1.0}
    return {
        "Widths": candidate.widths,
        "Candidate": candidate,
        "Front": Front(many, (Macs(),), {"macs": 200.0}),
        "Subnet": Subnet(supernet, widths),
        "Supernet": supernet,
        "DataSplits": splits,
        "TrainingResult": TrainingResult(
            (), ({"step": 0, "lr": 0.1, "<b>": 2.0},), 1, 2.0, 3.0, 0.0
        ),
        "FinetunedSubnet": FinetunedSubnet(
            nn.ReLU(), candidate.widths, candidate.footprint, (3, 8, 8), None, metrics
        ),
        "ExportedModel": ExportedModel(Path("<b>.pt2"), "<b>", "ab" * 32, 2048, 1e-7),
    }


VALUES = make_values()


@pytest.mark.parametrize("name", VALUES)
def test_each_value_shows_itself_in_a_screen(name):
    value = VALUES[name]
    assert type(value).__name__ == name
    assert repr(value).startswith(name)
    assert fits(repr(value))
    html = value._repr_html_()
    assert name in "".join(read(html).texts)
    assert html.count("<tr>") <= 17
    assert len(html) < 20_000


@pytest.mark.parametrize("name", ["Widths", "Candidate", "Front", "Subnet"])
def test_what_stands_in_lists_is_short(name):
    lines = repr(VALUES[name]).splitlines()
    assert len(lines) == 1 if name != "Front" else len(lines) <= 20


def test_a_supernet_tells_its_groups_and_keeps_the_tree_of_its_modules():
    supernet = VALUES["Supernet"]
    for group, rungs in zip(supernet.groups, supernet.space.rungs, strict=True):
        (line,) = [x for x in repr(supernet).splitlines() if x.split()[0] == group.name]
        assert line.split()[1:3] == [group.kind, f"{rungs[0]}..{rungs[-1]}"]
    assert str(supernet) == nn.Module.__repr__(supernet)
    assert repr(supernet.net) in str(supernet).replace("\n  ", "\n")
    assert "(net):" in "".join(read(supernet._repr_html_()).texts)


def test_shares_of_groups_are_those_of_the_report():
    supernet = VALUES["Supernet"]
    shares = measure_shares(supernet, dpod.build_footprint(supernet))
    told = [(share.in_layers.macs, share.in_layers.params) for share in shares]
    assert measure_held(supernet) == told


def test_a_front_shows_its_table_and_below_it_the_figure(monkeypatch):
    shown = []
    front = Front((make_candidate(),), (Macs(),), {"macs": 200.0})
    monkeypatch.setitem(
        __import__("sys").modules,
        "IPython.display",
        type("Display", (), {"display": staticmethod(lambda b, raw: shown.append(b))}),
    )
    front._ipython_display_()
    assert shown[0]["text/html"] == front._repr_html_()
    drawn = shown[1]["application/vnd.plotly.v1+json"]
    assert [t["name"] for t in drawn["data"]] == [t.name for t in front.plot().data]
    assert drawn["layout"]["height"] < 400


def test_a_trained_supernet_is_told_without_running_it():
    supernet = make_supernet()
    result = dpod.train_supernet(supernet, make_batches(), policy="independent", epochs=1)
    with torch.no_grad():
        assert fits(repr(result))
        assert "loss" in repr(result)
