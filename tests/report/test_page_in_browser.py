"""The page as a reader meets it, in headless Chromium."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest
from browser import open_page
from report.run_folder import RunFolder

from dpod_search.report import FIGURES
from dpod_search.report import write_report


pytestmark = pytest.mark.e2e


def find_section(dom: str, name: str) -> str:
    return dom.partition(f'<section id="{name}"')[2].partition("</section>")[0]


def count_marks(dom: str, figure: str) -> int:
    """Count what a figure has drawn: points, lines and pictures of heat maps."""
    section = find_section(dom, f"figure-{figure}")
    assert "main-svg" in section
    return len(re.findall(r'class="(?:points?|js-line|trace[^"]*)"|<image', section))


@pytest.mark.parametrize("is_dark", [False, True])
def test_figures_are_drawn_in_silence_and_without_a_network(
    run: RunFolder, tmp_path: Path, is_dark: bool
) -> None:
    run.replace_objectives({"accuracy": "maximize", "macs": "minimize", "latency_ms": "minimize"})
    run.model_latency()
    run.documents["front.json"]["members"][1]["knee"] = True
    run.choose("macs<=50%", run.front[2])
    report = write_report(run.write())
    page = open_page(report.as_uri(), tmp_path, is_dark=is_dark)
    assert int(re.findall(r'data-first-drawn-ms="(\d+)"', page.dom)[0]) >= 0
    for kind in FIGURES:
        assert count_marks(page.dom, kind.name) > 0, kind.name
    assert page.console == ()
    assert page.requests == ()


def test_a_run_without_a_search_is_drawn_in_silence(run: RunFolder, tmp_path: Path) -> None:
    run.model_latency()
    run.skip_search()
    page = open_page(write_report(run.write()).as_uri(), tmp_path)
    for name in ("finetuned", "front", "widths", "footprint", "latency", "training"):
        assert count_marks(page.dom, name) > 0, name
    assert not find_section(page.dom, "figure-surrogate")
    assert page.console == ()


def test_hostile_names_are_shown_and_not_run(run: RunFolder, tmp_path: Path, hostile: str) -> None:
    run.documents["search.json"]["study"] = hostile
    run.rename_group("stem", hostile)
    for row in run.rows:
        row["reason"] = hostile
    page = open_page(write_report(run.write()).as_uri(), tmp_path)
    assert "<title>owned" not in page.dom
    assert f"<h1>{html.escape(hostile, quote=False)}</h1>" in page.dom
    # On the axis of the heat map the name stands as it was given.
    ticks = find_section(page.dom, "figure-widths")
    assert html.escape(hostile, quote=False) in re.sub(r' data-unformatted="[^"]*"', "", ticks)
    assert page.console == ()
    assert page.requests == ()
