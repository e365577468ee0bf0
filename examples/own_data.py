"""Pictures of your own, as a function: ``python examples/own_data.py``.

A study names it by its import path, seen from the folder the command runs in: with this file there,
``dpod-search run --study digits --set data.name=own_data:load --out runs/stripes``. The page:
docs/your-own-data.md.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.data import Dataset

import dpod_search as dpod


class Stripes(Dataset[tuple[Tensor, int]]):
    """Grey pictures of 8 x 8 with stripes that lie, stand or are not there."""

    def __init__(self, n: int, seed: int) -> None:
        draw = torch.Generator().manual_seed(seed)
        self.labels = torch.randint(3, (n,), generator=draw)
        self.images = torch.randn(n, 1, 8, 8, generator=draw)
        stripes = torch.tensor([1.0, -1.0]).repeat(4)
        self.images[self.labels == 0] += stripes.view(8, 1)
        self.images[self.labels == 1] += stripes.view(1, 8)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index], int(self.labels[index])


def load(n: int = 1200) -> tuple[Stripes, Stripes, int]:
    """Return the training set, the test set (or None), and the number of classes."""
    return Stripes(n, seed=0), Stripes(n // 4, seed=1), 3


def main() -> None:
    settings = dpod.DataSettings("own_data:load", arguments={"n": 400})
    splits = dpod.load_data(settings, seed=0)
    # Calibration and validation are taken from what is trained on; the test set stays apart.
    for name in ("train", "calibration", "validation", "test"):
        print(f"{name:12} {len(getattr(splits, name)):4} pictures")
    print("classes", splits.n_classes)


if __name__ == "__main__":
    main()
