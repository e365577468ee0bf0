from __future__ import annotations

import dataclasses
import html
import re

import pytest
from browser import open_page
from report.graph.graphs import make_inspection
from report.run_folder import HOSTILE

from dpod_search.report.graph import build_graph_page


def find_titles(page):
    return [html.unescape(text) for text in re.findall(r"<title>([^<]*)</title>", page)[1:]]


def test_the_page_says_what_each_layer_is_and_where_it_stands():
    page = build_graph_page(make_inspection())
    said = {title.partition(" (")[0]: title for title in find_titles(page)}
    assert set(said) == {
        *("x", "stem", "relu", "block.one", "block.norm", "block.two", "add", "head", "output")
    }
    assert "8 × 8 × 8" in said["block.one"]
    assert "macs 600 (25.0\u00a0% of the net), params 30 (20.0\u00a0% of the net)" in said["stem"]
    assert "makes group 2 block.one: 8 channels" in said["block.one"]
    assert "reads group 1 stem" in said["block.one"]
    assert "members block.one, block.norm, block.two" in said["block.one"]
    assert "net.py:9" in said["add"]
    assert "frozen dimension head, 10 wide, because\n  output of the model" in said["head"]
    assert "freezes head" in said["output"]


def test_frozen_boxes_and_those_that_freeze_are_marked():
    page = build_graph_page(make_inspection())
    kinds = re.findall(r'<g class="(box[^"]*)" data-makes="([^"]*)"', page)
    assert kinds == [
        ("box", ""),
        ("box", "g0"),
        ("box", "g1"),
        ("box", "g0"),
        ("box", "g0"),
        ("box frozen", "f0"),
        ("box freezes", ""),
    ]


def test_a_frozen_layer_is_marked_though_its_dimension_has_another_name():
    found = make_inspection()
    [head] = found.frozen
    found = dataclasses.replace(found, frozen=(dataclasses.replace(head, members=("other",)),))
    page = build_graph_page(found)
    assert page.count('class="box frozen"') == 1
    assert "keeps its full width" in page


def test_a_frozen_module_of_unknown_width_has_none():
    found = make_inspection()
    [head] = found.frozen
    found = dataclasses.replace(found, frozen=(dataclasses.replace(head, full=None),))
    page = build_graph_page(found)
    assert '<td class="number"></td><td class="text">output of the model' in page
    assert "frozen dimension head, because" in page
    assert "None" not in page


def test_a_group_whose_weights_are_not_shared_in_order_says_so():
    found = make_inspection()
    assert "in order" not in build_graph_page(found)
    stem, block = found.groups
    stem = dataclasses.replace(stem, out_of_order=("chunk (<net>:4) cuts it",))
    page = build_graph_page(dataclasses.replace(found, groups=(stem, block)))
    assert page.count("weights not shared in order: chunk (&lt;net&gt;:4) cuts it") == 1


def test_macs_say_that_some_are_not_counted():
    found = make_inspection()
    assert "MACs 2,400 (without those not counted)" in build_graph_page(found)
    assert "not counted" not in build_graph_page(dataclasses.replace(found, uncounted=()))


def test_the_members_of_a_block_are_marked():
    found = make_inspection()
    stem, block = found.groups
    found = dataclasses.replace(
        found, groups=(stem, dataclasses.replace(block, kind="block", full=1, rungs=(0, 1)))
    )
    assert "group 2 block.one: block, its layers" in build_graph_page(found)


def test_the_same_model_gives_the_same_page():
    assert build_graph_page(make_inspection()) == build_graph_page(make_inspection())


@pytest.mark.e2e
@pytest.mark.parametrize("is_dark", [False, True])
def test_the_page_is_silent_and_needs_no_network(tmp_path, is_dark):
    path = tmp_path / "graph.html"
    path.write_text(build_graph_page(make_inspection()))
    (tmp_path / "browser").mkdir()
    opened = open_page(f"{path.as_uri()}#g1", tmp_path / "browser", is_dark=is_dark)
    assert opened.console == ()
    assert opened.requests == (f"{path.as_uri()}",) or opened.requests == ()
    # The link has chosen the second group: its box, its line and its words.
    assert re.search(r'<tr data-key="g1"[^>]* class="chosen"', opened.dom)
    chosen = re.findall(r'class="box makes" data-makes="([^"]*)"', opened.dom)
    assert chosen == ["g1"]
    assert re.search(r'<div id="said"[^>]*>block.one \(module\)', opened.dom)
    words = html.unescape(opened.dom.replace("<wbr>", ""))
    for name in ("stem", "block.one", "head", "einsum (net.py:7)"):
        assert name in words


@pytest.mark.e2e
def test_hostile_names_are_shown_and_not_run(tmp_path):
    path = tmp_path / "graph.html"
    path.write_text(build_graph_page(make_inspection(stem=HOSTILE, title=HOSTILE)))
    (tmp_path / "browser").mkdir()
    opened = open_page(f"{path.as_uri()}#g0", tmp_path / "browser")
    assert opened.console == ()
    assert "<title>owned" not in opened.dom
    assert "<b>" not in opened.dom
    assert f"<h1>{html.escape(HOSTILE, quote=False)}</h1>" in opened.dom
    groups = opened.dom.partition('<table id="groups"')[2].replace("<wbr>", "")
    assert html.escape(HOSTILE, quote=False) in groups
