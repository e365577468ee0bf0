"""How many processor cores PyTorch may use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def limit_threads(n_threads: int | None) -> Iterator[None]:
    """Let PyTorch use so many threads inside the block; None leaves it as it is."""
    before = torch.get_num_threads()
    try:
        if n_threads is not None:
            torch.set_num_threads(n_threads)
        yield
    finally:
        torch.set_num_threads(before)
