"""Processes that start in a moment: forked from one that has imported what takes seconds."""

from __future__ import annotations

import multiprocessing


FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(
    [
        "dpod_search.cli",
        "dpod_search.pipeline",
        "sklearn.datasets",
        "torch._dynamo",
        "torch.export",
    ]
)
