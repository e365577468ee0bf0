"""Named random generators: one seed, and a name for each use of randomness.

A generator is a pure function of ``(seed, *names)``. Nothing has to be saved to resume:
step 812 of a run draws the same numbers whether or not the process was killed at step 811.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch


def derive_seed(seed: int, *names: str | int) -> int:
    """Derive the seed of one named use of randomness.

    Args:
        seed: The seed of the study.
        *names: What the numbers are for, for instance ``"order", epoch``.

    Returns:
        An integer in [0, 2**63), equal in every process and on every platform.
    """
    text = "\x1f".join([str(int(seed)), *(f"{type(name).__name__}:{name}" for name in names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def numpy_generator(seed: int, *names: str | int) -> np.random.Generator:
    """Make NumPy's generator for one named use of randomness."""
    return np.random.default_rng(derive_seed(seed, *names))


def torch_generator(seed: int, *names: str | int) -> torch.Generator:
    """Make PyTorch's generator (on the CPU) for one named use of randomness."""
    generator = torch.Generator()
    generator.manual_seed(derive_seed(seed, *names))
    return generator
