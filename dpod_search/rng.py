"""Named random generators: one seed, and a name for each use of randomness.

A generator is a pure function of ``(seed, *names)``. Nothing has to be saved to resume:
step 812 of a run draws the same numbers whether or not the process was killed at step 811.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

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


@contextmanager
def seeded(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """Seed PyTorch's global generators inside the block, and put them back after it.

    For those that know no other: dropout, initial weights, torchvision's transforms.

    Args:
        seed: What :func:`derive_seed` gave.
        device: Where it is drawn besides the CPU; of accelerators only a GPU is seeded.
    """
    on_gpu = [device] if device is not None and device.type == "cuda" else []
    with torch.random.fork_rng(devices=on_gpu):
        # torch.manual_seed costs ten times as much, and reseeds what would not be put back.
        torch.default_generator.manual_seed(seed)
        for gpu in on_gpu:
            with torch.cuda.device(gpu):
                torch.cuda.manual_seed(seed)
        yield


@contextmanager
def drawing_nothing() -> Iterator[None]:
    """Put the global generators of Python, NumPy and PyTorch (on the CPU) back after the block.

    For code of others that may draw from them where nothing of ours is to change.
    """
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002  (others use it)
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002  (as above)
