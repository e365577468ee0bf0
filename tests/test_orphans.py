from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from dpod_search import orphans


# By its path, since importing the package takes seconds.
HELPER = f"""
import os, runpy, threading
runpy.run_path({orphans.__file__!r})["end_with"]({{parent}})
print("ready", flush=True)
threading.Event().wait()
"""
PARENT = """
import os, subprocess, sys
subprocess.Popen([sys.executable, "-c", sys.argv[1].format(parent=os.getpid())])
sys.stdin.read()
"""


@pytest.mark.skipif(os.name != "posix", reason="Windows does not tell that a parent is gone")
def test_a_helper_ends_with_its_parent_even_if_that_is_killed():
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, HELPER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout.readline() == "ready\n"
        parent.kill()
        # The helper has inherited the other end of it, which closes when it ends.
        assert parent.stdout.read() == ""


@pytest.mark.skipif(os.name != "posix", reason="as above")
def test_a_helper_whose_parent_is_gone_already_ends_at_once():
    done = subprocess.run(
        [sys.executable, "-c", HELPER.format(parent=os.getppid())],
        check=False,
        timeout=60,
        stdout=subprocess.DEVNULL,
    )
    assert done.returncode == 1


def test_work_that_is_done_at_home_watches_nobody():
    before = threading.active_count()
    orphans.end_with(os.getpid())
    assert threading.active_count() == before
