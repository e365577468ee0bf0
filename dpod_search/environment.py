"""What the environment tells a process, known before PyTorch is imported."""

from __future__ import annotations

import os


STORAGE_VARIABLE = "DPOD_STORAGE"  # how processes are told of a storage
RANK_VARIABLES = ("RANK", "WORLD_SIZE")  # by which a launcher tells a process who it is


def read_rank() -> tuple[int, int]:
    """Return the number of this process, from 0, and how many a launcher such as torchrun started.

    They are 0 and 1 where no launcher has said anything.
    """
    try:
        rank, n_ranks = (int(os.environ[name]) for name in RANK_VARIABLES)
    except (KeyError, ValueError):
        return 0, 1
    return rank, n_ranks
