"""A notebook is run by a kernel of its own: what its cells show."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest


pytestmark = pytest.mark.e2e

# In a process of its own: a kernel's clients warn of what is none of ours.
RUN = """
import json, sys
import nbformat
from nbclient import NotebookClient

cells = [nbformat.v4.new_code_cell(source) for source in json.loads(sys.stdin.read())]
notebook = nbformat.v4.new_notebook(cells=cells)
NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
print(json.dumps([[o.get("data", {}) for o in cell.outputs] for cell in notebook.cells]))
"""
MAKE = """
import torch
from torch import nn
import dpod_search as dpod

net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 6), nn.Flatten())
supernet = dpod.build_supernet(net, torch.zeros(2, 3, 8, 8))
batches = [(torch.randn(16, 3, 8, 8), torch.arange(16) % 4)]
"""
CELLS = [
    MAKE,
    "result = dpod.train_supernet(supernet, batches, policy='independent', epochs=3)",
    "front = dpod.search(supernet, [dpod.Accuracy(batches), dpod.Macs()], n_trials=8)",
    "quiet = dpod.train_supernet(supernet, batches, policy='independent', epochs=1, progress=None)",
    "supernet",
    "front",
]


# The kernel imports PyTorch and Optuna, which takes most of its ten seconds.
def test_a_line_renews_itself_and_values_show_themselves() -> None:
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        input=json.dumps(CELLS),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    _, trained, searched, quiet, supernet, front = json.loads(done.stdout.splitlines()[-1])
    ((line,),) = [[data["text/plain"] for data in trained if data]]
    assert line.startswith("train: 3 of 3")
    assert [d["text/plain"][:14] for d in searched if d] == ["search: 8 of 8"]
    assert not any(quiet)
    assert "Supernet" in supernet[0]["text/html"]
    assert "Front" in front[0]["text/html"]
    assert front[1]["application/vnd.plotly.v1+json"]["data"]
