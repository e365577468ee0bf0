"""A training loop of your own around the schedule: ``python examples/own_loop.py``.

``--epochs`` makes it shorter or longer. docs/own-loop.md has more: mixed precision, Fabric,
Accelerate, several processes, and how a loop is resumed.
"""

from __future__ import annotations

import argparse

import torch
from torch.nn import functional

import dpod_search as dpod


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args()
    torch.set_num_threads(1)

    splits = dpod.load_data(dpod.DataSettings("digits"), seed=0)
    loader = dpod.SeededLoader(splits.train, batch_size=64, seed=0, shuffle=True, drop_last=True)
    validation = dpod.SeededLoader(splits.validation, batch_size=256, seed=0)
    settings = dpod.ModelSettings("resnet8", arguments={"width": 8})
    model = dpod.build_model(settings, input_shape=(1, 8, 8), n_classes=10, seed=0)
    supernet = dpod.build_supernet(model, torch.zeros(1, 1, 8, 8))

    training = dpod.TrainingSettings(epochs=options.epochs)
    schedule = dpod.make_schedule(supernet, loader, settings=training, seed=0)
    optimizer = torch.optim.SGD(supernet.parameters(), lr=0.05, momentum=0.9)
    task = dpod.Classification()
    for epoch in range(options.epochs):
        supernet.train()
        for images, labels in loader:
            optimizer.zero_grad()
            for turn in schedule.next_step(len(images)):
                with turn:  # the supernet is this turn's subnet
                    outputs = supernet(images)
                    if turn.is_full:
                        loss = functional.cross_entropy(outputs, labels)
                        full_outputs = outputs.detach()
                    else:  # the others learn from the full net's answers
                        loss = task.distill(outputs, full_outputs)
                    (turn.rate * loss).backward()
            optimizer.step()
        print(f"epoch {epoch}: the last loss {loss.item():.3f}")
    schedule.finish()

    front = dpod.search(
        supernet, [dpod.Accuracy(validation), dpod.Macs()], n_trials=30, seeds=schedule.path()
    )
    for member in front.select(5):
        print(f"{member.macs:9,.0f} macs  accuracy {member.values['accuracy']:.1%}")


if __name__ == "__main__":
    main()
