"""The dashboard of a small run as a person meets it, in headless Chromium."""

from __future__ import annotations

import html
import json
import re
import signal
import socket
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from browser import OpenedPage
from browser import open_page
from e2e.commands import Started
from e2e.commands import run_command
from pipeline.tiny import OVERRIDES

from dpod_search.files import read_json
from dpod_search.report import FIGURES
from dpod_search.report import Drawing
from dpod_search.report import read_run


pytestmark = pytest.mark.e2e

# A bound on a footprint, which prunes, and one on what is measured, which some trials violate.
SETS = (*OVERRIDES, 'search.constraints={macs="<= 90%", accuracy=">= 30%"}', "search.n_trials=24")


@dataclass(frozen=True)
class Shown:
    """A dashboard that answers.

    Args:
        run: The run folder.
        address: The study's page.
    """

    run: Path
    address: str

    def ask(self, path: str) -> Any:
        """Ask its API."""
        origin = self.address.partition("/dashboard")[0]
        with urllib.request.urlopen(origin + path, timeout=60) as answer:
            return json.load(answer)

    def open(self, page: str, scratch: Path) -> OpenedPage:
        """Open one of its pages, and check that it was silent and kept to itself."""
        opened = open_page(self.address + page, scratch, budget_ms=20_000)
        origin = self.address.partition("/dashboard")[0] + "/"
        assert [url for url in opened.requests if not url.startswith(origin)] == []
        assert opened.console == ()
        return opened


def start(*arguments: str, cwd: Path) -> Started:
    return Started("dashboard", "--study", "digits", "--port", "0", *arguments, cwd=cwd)


def wait_for_address(dashboard: Started) -> str:
    while not (found := re.search(r"http://\S+", dashboard.read())):
        assert not dashboard.has_ended, dashboard.read()
        time.sleep(0.05)
    return found[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dashboard")
    done = run_command("run", "--study", "digits", "--quiet", sets=SETS, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def shown(folder: Path) -> Iterator[Shown]:
    dashboard = start(cwd=folder)
    try:
        yield Shown(folder / "runs" / "digits", wait_for_address(dashboard))
    finally:
        dashboard.kill()


@pytest.fixture(scope="module")
def study_page(shown: Shown, tmp_path_factory: pytest.TempPathFactory) -> OpenedPage:
    return shown.open("", tmp_path_factory.mktemp("study"))


def test_the_study_page_shows_the_front_our_figures_and_the_report(
    shown: Shown, study_page: OpenedPage
) -> None:
    page = study_page
    assert "Pareto Front" in page.dom
    run = read_run(shown.run)
    titles = [kind.title for kind in FIGURES if isinstance(kind.draw(run), Drawing)]
    assert len(titles) >= 5
    for title in titles:
        assert f">{html.escape(title, quote=False)}</text>" in page.dom, title
    # The dashboard's Pareto plot, and ours with its stairs: both have their points drawn.
    assert page.dom.count('class="point"') > 2 * len(run.search.front)
    assert "searched front" in page.dom
    assert "report.html" in page.dom


def test_the_note_of_the_study_is_a_page_with_links(shown: Shown, tmp_path: Path) -> None:
    page = shown.open("/note", tmp_path)
    assert "<table>" in page.dom
    for number in read_json(shown.run / "search.json")["front"]:
        assert re.search(rf'href="[^"]*/trials\?numbers={number}"[^>]*>{number}</a>', page.dom)


def test_a_member_of_the_front_shows_its_note_and_files(shown: Shown, tmp_path: Path) -> None:
    members = read_json(shown.run / "front.json")["members"]
    member = next(item for item in members if item["trial"] is not None)
    number = member["trial"]
    page = shown.open(f"/trials?numbers={number}", tmp_path)
    assert re.search(rf"<h1[^>]*>Trial {number}: ", page.dom)
    for name, width in member["widths"].items():
        assert re.search(rf"<code[^>]*>{re.escape(name)}</code>.*?<td[^>]*>{width}\W", page.dom)
    assert f"{100 * member['test_accuracy']:.2f}" in page.dom
    assert "model.safetensors" in page.dom
    # The picture of the widths: in the note, and among the files.
    pictures = re.findall(r'<img[^>]*src="(/artifacts/[^"]*)"', page.dom)
    assert len(pictures) >= 1
    assert any(url.endswith(pictures[0]) for url in page.requests)


def test_trials_beyond_a_constraint_are_told_apart(shown: Shown, study_page: OpenedPage) -> None:
    study_id = shown.address.rpartition("/")[2]
    trials = shown.ask(f"/api/studies/{study_id}")["trials"]
    beyond = [t for t in trials if t["state"] == "Complete" and max(t["constraints"]) > 0]
    within = [t for t in trials if t["state"] == "Complete" and max(t["constraints"]) <= 0]
    assert beyond
    assert within
    assert "Infeasible" in study_page.dom


def test_ctrl_c_ends_it_quietly(folder: Path) -> None:
    dashboard = start(cwd=folder)
    wait_for_address(dashboard)
    dashboard.send_signal(signal.SIGINT)
    done = dashboard.end(timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_port_in_use_is_one_line(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = run_command("dashboard", "--study", "digits", "--port", port, cwd=folder)
    assert done.returncode == 2
    message = f"port {port} of 127.0.0.1 is in use; give another --port or --host"
    assert done.stderr == f"dpod-search: {message}\n"


def test_other_machines_need_a_word(folder: Path) -> None:
    done = run_command("dashboard", "--study", "digits", "--host", "0.0.0.0", cwd=folder)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "--allow-remote" in done.stderr
    dashboard = start("--host", "0.0.0.0", "--allow-remote", cwd=folder)
    wait_for_address(dashboard)
    dashboard.send_signal(signal.SIGINT)
    done = dashboard.end(timeout=60)
    assert done.returncode == 0
    assert done.stderr.startswith("dpod-search: warning: the dashboard has no login")
