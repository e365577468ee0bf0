"""Search by an objective of your own: ``python examples/custom_objective.py``.

``--epochs`` and ``--trials`` make it shorter or longer. The page: docs/custom-objectives.md.
"""

from __future__ import annotations

import argparse

import torch

import dpod_search as dpod


class Robustness:
    """Accuracy on pictures with noise."""

    name = "robustness"
    direction = "maximize"

    def __init__(self, loader: dpod.SeededLoader, noise: float) -> None:
        draw = torch.Generator().manual_seed(0)
        self.batches = [
            (images + noise * torch.randn(images.shape, generator=draw), labels)
            for images, labels in loader
        ]

    def __call__(self, subnet: dpod.Subnet) -> float:
        right = sum((subnet(x).argmax(1) == y).sum().item() for x, y in self.batches)
        return right / sum(len(y) for _, y in self.batches)


def narrowest(widths: dpod.Widths) -> float:
    """Fewest channels of any group: known without running the subnet."""
    return min(width for width in widths.values() if width)  # 0 is a block that was removed


narrowest.direction = "maximize"
narrowest.needs = "widths"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--trials", type=int, default=40)
    options = parser.parse_args()
    torch.set_num_threads(1)

    splits = dpod.load_data(dpod.DataSettings("digits"), seed=0)
    train = dpod.SeededLoader(splits.train, batch_size=64, seed=0, shuffle=True, drop_last=True)
    validation = dpod.SeededLoader(splits.validation, batch_size=256, seed=0)
    settings = dpod.ModelSettings("resnet8", arguments={"width": 8})
    model = dpod.build_model(settings, input_shape=(1, 8, 8), n_classes=10, seed=0)
    supernet = dpod.build_supernet(model, torch.zeros(1, 1, 8, 8))
    trained = dpod.train_supernet(supernet, train, epochs=options.epochs)

    front = dpod.search(
        supernet,
        objectives=[Robustness(validation, noise=0.5), dpod.Macs(), narrowest],
        n_trials=options.trials,
        seeds=trained.path,
    )
    for member in front:
        print(f"{member.macs:9,.0f} macs  {dict(member.values)}")


if __name__ == "__main__":
    main()
