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


# A helper of a fork server's is no child of the process that asked for it.
SERVED = """
import multiprocessing, os, runpy, sys, threading
def help(parent):
    runpy.run_path(sys.argv[1])["end_with"](parent)
    print("ready", flush=True)
    threading.Event().wait(float(sys.argv[2]))
    print("done", flush=True)
if __name__ == "__main__":
    multiprocessing.set_start_method("forkserver")
    helper = multiprocessing.Process(target=help, args=(os.getpid(),))
    helper.start()
    helper.join()
"""


@pytest.mark.skipif(os.name != "posix", reason="as above")
@pytest.mark.parametrize("is_killed", [False, True])
def test_a_helper_of_a_fork_server_ends_with_who_asked_for_it(tmp_path, is_killed):
    script = tmp_path / "served.py"
    script.write_text(SERVED)
    seconds = "1e6" if is_killed else "2"  # more than watching takes to look twice
    with subprocess.Popen(
        [sys.executable, str(script), orphans.__file__, seconds], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout.readline() == "ready\n"
        if is_killed:
            parent.kill()
        assert parent.stdout.read() == ("" if is_killed else "done\n")


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
