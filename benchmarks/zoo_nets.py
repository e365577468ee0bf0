"""Nets of the wide zoo, each by its name ``package:name``; what is in it is in files by package."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch import nn

from dpod_search.errors import ConfigError
from dpod_search.torchvision_ops import ensure_torchvision


@dataclass(frozen=True)
class ZooNet:
    """One net, and what it is called with.

    Args:
        name: ``package:name``.
        build: Makes it, with weights that nobody trained.
        make_example: From a count of samples to an example input.
    """

    name: str
    build: Callable[[], nn.Module]
    make_example: Callable[[int], Any]


# A file for each package that makes nets: its ``list_nets`` imports nothing of the package.
FILES = {
    "own": "zoo_own",
    "transformers": "zoo_transformers",
    "torchvision": "zoo_torchvision",
    "segmentation_models_pytorch": "zoo_segmentation",
    "timm": "zoo_timm",
}


def list_nets() -> dict[str, ZooNet]:
    """Return all nets by name, of packages that are missing, too."""
    nets = [net for file in FILES.values() for net in importlib.import_module(file).list_nets()]
    by_name = {net.name: net for net in nets}
    assert len(by_name) == len(nets), "two nets of one name"
    return by_name


def find_missing() -> list[str]:
    """Return the packages whose nets cannot be made here."""
    missing = [name for name in FILES if name != "own" and importlib.util.find_spec(name) is None]
    try:
        ensure_torchvision()  # the others import it
    except ConfigError:
        missing += [name for name in FILES if name not in ("own", *missing)]
    return missing


def draw_pictures(n: int, *shape: int) -> Tensor:
    """Draw normal pictures of shape (n, *shape), always the same."""
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(0))


def draw_words(n: int, length: int, n_words: int) -> Tensor:
    """Draw word numbers of shape (n, length) below ``n_words``, never 0, 1 or 2."""
    return torch.randint(3, n_words, (n, length), generator=torch.Generator().manual_seed(0))
