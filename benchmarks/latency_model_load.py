"""Load on all cores: processes that multiply matrices and that stream memory.

``with load_machine("both"):`` starts two of them for each core, one of each kind, and ends them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


KINDS = {"matrices": ("matrices",), "memory": ("memory",), "both": ("matrices", "memory")}
N_SIDE = 512
N_STREAMED = 2**23  # doubles, 64 MiB: more than the caches hold


@contextmanager
def load_machine(kind: str) -> Iterator[None]:
    """Keep all cores busy inside the block.

    Args:
        kind: A key of ``KINDS``.
    """
    alone = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    busy: list[subprocess.Popen[str]] = []
    try:
        for each in KINDS[kind] * (os.cpu_count() or 1):
            command = [sys.executable, __file__, each]
            busy.append(
                subprocess.Popen(
                    command, env={**os.environ, **alone}, stdout=subprocess.PIPE, text=True
                )
            )
        for process in busy:
            assert process.stdout is not None
            process.stdout.readline()  # it says that it has begun
        yield
    finally:
        for process in busy:
            process.terminate()
            process.wait()


def keep_busy(kind: str) -> None:
    """Work until the process that started this one has gone."""
    work = make_work(kind)
    parent = os.getppid()
    work()
    print("busy", flush=True)
    while os.getppid() == parent:
        work()


def make_work(kind: str) -> Callable[[], object]:
    """Return some ten milliseconds of work of a kind."""
    if kind == "memory":
        source, target = np.ones(N_STREAMED), np.zeros(N_STREAMED)
        return lambda: np.copyto(target, source)
    matrix = np.random.default_rng(0).standard_normal((N_SIDE, N_SIDE)).astype(np.float32)
    product = np.empty_like(matrix)
    return lambda: np.matmul(matrix, matrix, out=product)


if __name__ == "__main__":
    keep_busy(sys.argv[1])
