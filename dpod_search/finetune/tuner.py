"""Finetuning by a function of the user's own, in place of our loop.

What it is given is a copy, and of what it returns the weights are taken: whatever else it does to
the module, such as hooks, wrappers or another device, does not reach what is delivered.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch import nn

from dpod_search.data.loader import Batch
from dpod_search.data.loader import Batches
from dpod_search.errors import ConfigError
from dpod_search.errors import TrainingError
from dpod_search.errors import show
from dpod_search.imports import import_object
from dpod_search.inputs import Samples
from dpod_search.own_code import own_code
from dpod_search.placement import device_of
from dpod_search.rng import derive_seed
from dpod_search.rng import seeded
from dpod_search.supernet.tracing.copying import copy_module
from dpod_search.supernet.tracing.recording import copy_held
from dpod_search.tasks import Task
from dpod_search.training.batches import PositionedLoader


@dataclass(frozen=True, eq=False)
class TunerContext:
    """What a tuner is told, besides the module.

    Args:
        train_loader: Batches of samples (N, *example_shape) and the task's targets. Of a
            ``SeededLoader``, and of others with a ``set_position``, each iteration is the next epoch.
        validation_loader: Batches that the module's metrics will be measured on, if there are any.
        calibration_images: What its BatchNorm statistics are estimated on afterwards.
        task: What the supernet was trained for: losses, targets and metrics.
        seed: Seed of the study. PyTorch's global generators are seeded by it already.
        n_epochs: Passes over the loader that are its share of the compute, whole or not, > 0.
        macs_share: Its macs over those of the full net, in (0, 1].
        teacher: The full net as a plain module in evaluation mode, on the same device, without
            gradients; None if the settings give it no say.
    """

    train_loader: Batches
    validation_loader: Batches | None
    calibration_images: Samples
    task: Task
    seed: int
    n_epochs: float
    macs_share: float
    teacher: nn.Module | None


# Trains the module that it is given, in training mode and calibrated, and returns it.
Tuner = Callable[[nn.Module, TunerContext], nn.Module]


def resolve_tuner(spec: Tuner | str) -> Tuner:
    """Return a tuner, imported if it is given as ``package.module:name``.

    Raises:
        ConfigError: If it cannot be imported, or does not take a module and a context.
    """
    tuner: Any = import_object(spec) if isinstance(spec, str) else spec
    name = _name(tuner) if callable(tuner) else show(tuner)
    try:
        inspect.signature(tuner).bind(None, None)
    except TypeError as error:
        raise ConfigError(
            f"the tuner {name} must be callable with a module and a context ({error})"
        ) from error
    except ValueError:  # some builtins have no signature
        pass
    found: Tuner = tuner
    return found


def tune(tuner: Tuner, module: nn.Module, context: TunerContext) -> None:
    """Have a module trained in place by a tuner.

    Args:
        tuner: Gets a copy of the module.
        module: Calibrated, on its device; left with the weights and buffers that come back.
        context: What the tuner is told, its loader as it is.

    Raises:
        TrainingError: If the tuner raises, or returns weights that are not finite.
        ConfigError: If it returns no module, or one whose weights have other names or shapes.
    """
    name = _name(tuner)
    given = copy_module(module, copy_held(module)).train()
    if isinstance(context.train_loader, PositionedLoader):
        context = replace(context, train_loader=_EpochByEpoch(context.train_loader))
    seed = derive_seed(context.seed, "tuner")
    with seeded(seed, device_of(module)), own_code(f"the tuner {name}", TrainingError):
        tuned: object = tuner(given, context)
    if not isinstance(tuned, nn.Module):
        raise ConfigError(
            f"the tuner {name} must return the module it was given, trained; got "
            f"{type(tuned).__name__}"
        )
    state, wanted = tuned.state_dict(), module.state_dict()
    difference = _find_difference(state, wanted)
    if difference:
        raise ConfigError(
            f"the tuner {name} must return a module of the structure it was given, without a "
            f"wrapper: {difference}"
        )
    _check_finite(state, name)
    module.load_state_dict(state)


class _EpochByEpoch:
    """A loader that gives the next epoch each time, as others that shuffle do by themselves.

    Args:
        loader: One that stays at its position otherwise.
    """

    def __init__(self, loader: PositionedLoader) -> None:
        self._loader = loader
        self._epoch = 0

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Batch]:
        self._loader.set_position(self._epoch, 0)
        self._epoch += 1
        yield from self._loader


def _name(tuner: Callable[..., object]) -> str:
    return str(getattr(tuner, "__name__", type(tuner).__name__))


def _find_difference(state: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Say how a state differs from one of the right structure; nothing if it does not."""
    for name in wanted:
        if name not in state:
            return f"it has no {show(name)}"
    for name, value in state.items():
        if name not in wanted:
            return f"it has {show(name)} besides"
        got, due = (tuple(getattr(v, "shape", ())) for v in (value, wanted[name]))
        if got != due:
            return f"{show(name)} has shape {got} in place of {due}"
    return ""


def _check_finite(state: Mapping[str, Any], name: str) -> None:
    for key, value in state.items():
        is_number = isinstance(value, Tensor) and value.is_floating_point()
        if is_number and not torch.isfinite(value).all():
            raise TrainingError(
                f"the tuner {name} returned {show(key)} with values that are not finite; lower "
                "its learning rate, or check the pictures for NaN"
            )
