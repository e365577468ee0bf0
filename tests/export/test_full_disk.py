"""A disk that is full while a model is exported: one line, and the earlier file stays."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest


# In a process of its own: the limit holds for all of it, and without this package's care a
# format ends the process it is written in.
EXPORT_TOO_MUCH = """
import resource, signal, sys
from pathlib import Path
from types import SimpleNamespace
import torch
from torch import nn
from dpod_search.errors import ExportError
from dpod_search.export import FORMATS, export

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(200, 200)
        # Code is small: it comes over the limit by its length.
        self.more = nn.Sequential(*(nn.Linear(200, 200, bias=False) for _ in range(40)))

    def forward(self, x):
        return self.more(self.body(x))

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
model = SimpleNamespace(module=Net().eval(), input_shape=(200,))
for ending in (kind.ending for kind in FORMATS.values()):
    path = Path(sys.argv[1]) / ending / f"model{ending}"
    path.parent.mkdir()
    path.write_text("the earlier one")
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
    try:
        export(model, path)
    except ExportError as error:
        print(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert path.read_text() == "the earlier one"
    assert len(list(path.parent.iterdir())) == 1
"""


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="no file size limits here")
def test_a_full_disk_is_one_line_whatever_the_format(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", EXPORT_TOO_MUCH, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    endings = sorted(path.name for path in tmp_path.iterdir())
    assert len(lines) == len(endings)
    for ending in endings:
        assert any(f"model{ending}" in line and "File too large" in line for line in lines)
