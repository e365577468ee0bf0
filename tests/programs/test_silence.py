from __future__ import annotations

import ctypes
import os
import subprocess
import sys

import pytest

from dpod_search.programs.silence import silent_stdout


pytestmark = pytest.mark.skipif(os.name == "nt", reason="C's puts is looked for in the process")


def test_what_c_prints_inside_does_not_come_out(capfd):
    c = ctypes.CDLL(None)
    c.puts(b"before")
    with silent_stdout():
        c.puts(b"inside")
        os.write(1, b"inside too\n")
    c.puts(b"after")
    c.fflush(None)

    assert capfd.readouterr().out == "before\nafter\n"


def test_it_comes_back_after_an_error(capfd):
    with pytest.raises(RuntimeError), silent_stdout():
        raise RuntimeError
    os.write(1, b"after\n")

    assert capfd.readouterr().out == "after\n"


def test_a_process_without_standard_output_does_not_mind():
    code = (
        "import os\n"
        "from dpod_search.programs.silence import silent_stdout\n"
        "os.close(1)\n"
        "with silent_stdout():\n"
        "    pass\n"
        "os._exit(7)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 7
