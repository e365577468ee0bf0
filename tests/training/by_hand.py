"""A loop of one's own over a schedule, with nothing but PyTorch: alone, as ranks, or scaled."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch import nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel
from training.rank_once import OtherRates
from training.rank_once import Part
from training.rank_once import Wayward
from training.rank_once import hash_weights

import dpod_search as dpod
from dpod_search.supernet import Supernet
from dpod_search.tasks import Classification
from dpod_search.tasks import Task
from dpod_search.training import Ranks
from dpod_search.training import SubnetSchedule
from dpod_search.training import Turn


EPOCHS = 4
SETTINGS = dpod.TrainingSettings(epochs=EPOCHS, lr=0.05, max_grad_norm=0.0, policy="dpod")
TASK: Task = Classification()


def make_supernet(seed: int = 0) -> Supernet:
    """Make a supernet of two convolutions with BatchNorm and a head."""
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 3),
    )
    return dpod.build_supernet(net, torch.randn(2, 1, 6, 6), ratios=[0.25, 0.5, 1.0])


def make_batches(n_batches: int = 6) -> list[tuple[Tensor, Tensor]]:
    """Draw batches of eight pictures whose brightness is their class."""
    draw = torch.Generator().manual_seed(1)
    images = torch.randn(n_batches * 8, 1, 6, 6, generator=draw)
    labels = images.mean((1, 2, 3)).mul(20).clamp(-1, 1).round().long() + 1
    return list(zip(images.split(8), labels.split(8), strict=True))


BATCHES = make_batches()


def make_schedule(supernet: Supernet, **options: Any) -> SubnetSchedule:
    """Make the schedule of a training on the batches."""
    return dpod.make_schedule(supernet, BATCHES, settings=SETTINGS, seed=3, **options)


def compute_loss(
    turn: Turn, outputs: Tensor, labels: Tensor, full_outputs: Tensor | None
) -> Tensor:
    """Return the loss as our loop has it, with the default settings."""
    if turn.is_full:
        return functional.cross_entropy(outputs, labels)
    assert full_outputs is not None
    return TASK.distill(outputs, full_outputs)


def train_by_hand(
    supernet: Supernet,
    schedule: SubnetSchedule,
    *,
    optimizer: torch.optim.Optimizer | None = None,
    last: int | None = None,
    net: Callable[..., Tensor] | None = None,
    batches: list[tuple[Tensor, Tensor]] = BATCHES,
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
    scaler: torch.amp.GradScaler | None = None,
) -> None:
    """Train up to a step.

    Args:
        supernet: In place.
        schedule: Which subnets.
        optimizer: How; that of the settings, if it is not given.
        last: The step to stop before.
        net: What is called in the place of the supernet.
        batches: An epoch.
        autocast: What the forward passes stand in.
        scaler: Of the losses.
    """
    optimizer = optimizer or SETTINGS.make_optimizer(supernet)
    scaler = scaler or torch.amp.GradScaler("cpu", enabled=False)
    while schedule.step < (schedule.n_steps if last is None else last):
        images, labels = batches[schedule.step % len(batches)]
        optimizer.param_groups[0]["lr"] = SETTINGS.rate_at(schedule.step, schedule.n_steps)
        optimizer.zero_grad()
        supernet.train()
        full_outputs = None
        for turn in schedule.next_step(len(images)):
            with turn:
                with autocast():
                    outputs = (net or supernet)(schedule.put(images)).float()
                loss = compute_loss(turn, outputs, labels, full_outputs)
                scaler.scale(turn.rate * loss).backward()
            if turn.is_full:
                full_outputs = outputs.detach()
        scaler.step(optimizer)
        scaler.update()


def train_as_ranks(part: Part, ranks: Ranks) -> None:
    """Train with the halves of each batch, by hand and by the package; leave both weights."""
    batches = [(x[ranks.rank :: 2], y[ranks.rank :: 2]) for x, y in BATCHES]
    options: dict[str, Any] = {"settings": SETTINGS, "seed": 3}
    found: dict[str, Any] = {}
    # Other weights on other ranks: the first one's must win.
    supernet = make_supernet(ranks.rank)
    schedule = dpod.make_schedule(supernet, batches, **options)
    net = DistributedDataParallel(supernet, find_unused_parameters=True)
    train_by_hand(supernet, schedule, net=net, batches=batches)
    schedule.finish()
    found["by hand"] = hash_weights(supernet), schedule.macs, list(map(dict, schedule.path()))
    supernet = make_supernet(ranks.rank)
    result = dpod.train_supernet(supernet, batches, **options)
    found["ours"] = hash_weights(supernet), result.macs, list(map(dict, result.path))
    (part.folder / f"result{ranks.rank}.json").write_text(json.dumps(found))


def disagree(part: Part, ranks: Ranks) -> None:
    """Begin to train by hand, with another plan on another rank."""
    supernet = make_supernet()
    policy = {"policy": Wayward, "rates": OtherRates}.get(part.fault)
    schedule = make_schedule(supernet, policy=policy)
    if part.fault == "state" and not ranks.is_first:
        schedule.load_state_dict({**schedule.state_dict(), "step": 1})
    train_by_hand(supernet, schedule)


def assert_same(supernet: nn.Module, other: nn.Module) -> None:
    """Check that two nets have the same weights and buffers, bit for bit."""
    wanted = other.state_dict()
    for name, tensor in supernet.state_dict().items():
        assert torch.equal(tensor, wanted[name]), name
