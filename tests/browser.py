"""Opening a page in headless Chromium: what was drawn, what went wrong, what was asked for.

Driven by the command line alone, so that the tests need no driver and no package.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--disable-dev-shm-usage",
    # The browser itself looks for updates, whatever the flags say: no name resolves but this host.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",
    "--enable-logging=stderr",
    "--v=0",
)
_CONSOLE = re.compile(r":CONSOLE[:(]\d+\)?\] (.*)")
_OWN_SCHEMES = ("data:", "blob:", "about:", "chrome:", "chrome-extension:", "devtools:")


@dataclass(frozen=True)
class OpenedPage:
    """A page after its scripts have run.

    Args:
        dom: The document as HTML.
        console: Every message of the console, Chromium's own errors about the page included.
        requests: Every URL that the page asked for, its own data: and blob: aside.
    """

    dom: str
    console: tuple[str, ...]
    requests: tuple[str, ...]


def find_chromium() -> str | None:
    """Return the path of a Chromium or Chrome, or None."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def open_page(
    url: str, scratch: Path, *, is_dark: bool = False, budget_ms: int = 10_000
) -> OpenedPage:
    """Open a page in a fresh profile, wait until its scripts are done, and read it.

    Args:
        url: ``file://...`` or ``http://...``.
        scratch: An empty folder for the profile and the log.
        is_dark: Whether the page is told that the reader prefers dark.
        budget_ms: How long the page's clock may run; idle time is skipped over.
    """
    chromium = find_chromium()
    if chromium is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is on the PATH")
    log = scratch / "requests.json"
    command = [
        chromium,
        *FLAGS,
        f"--user-data-dir={scratch / 'profile'}",
        f"--log-net-log={log}",
        f"--blink-settings=preferredColorScheme={0 if is_dark else 1}",
        f"--virtual-time-budget={budget_ms}",
        "--window-size=1200,900",
        "--dump-dom",
        url,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    console = tuple(match[1] for match in _CONSOLE.finditer(done.stderr))
    return OpenedPage(done.stdout, console, _read_requests(log))


def _read_requests(log: Path) -> tuple[str, ...]:
    text = log.read_text()
    try:
        document: dict[str, Any] = json.loads(text)
    except ValueError:
        # A browser that is ended early leaves the list of events open.
        document = json.loads(text.rstrip().rstrip(",") + "]}")
    start = document["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"]
    events = [event for event in document["events"] if event["type"] == start]
    started = [event["params"] for event in events if "params" in event]  # ends have none
    urls = [
        params["url"]
        for params in started
        # What the browser asks for on its own account comes from no origin.
        if "url" in params and params.get("initiator") != "not an origin"
    ]
    return tuple(dict.fromkeys(url for url in urls if not url.startswith(_OWN_SCHEMES)))
