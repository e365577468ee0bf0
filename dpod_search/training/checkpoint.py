"""Checkpoints of a training run: weights, momenta, averages and the step, in one file that appears whole.

Random generators need no saving: every draw is a function of the seed and the step (``rng``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from typing import Protocol

import torch
from torch import Tensor
from torch import nn

from dpod_search.errors import CheckpointError
from dpod_search.weights import fill_module
from dpod_search.weights import read_tensors
from dpod_search.weights import write_tensors


class SideWeights(Protocol):
    """Weights that a training keeps besides those it trains."""

    def state(self) -> Mapping[str, Tensor]:
        """Return them by name."""

    def restore(self, weights: dict[str, Tensor]) -> None:
        """Go on from what :meth:`state` returned.

        Raises:
            ValueError: If names or shapes are others.
        """


@dataclass(frozen=True)
class CheckpointFile:
    """Where a training run keeps its state.

    Args:
        path: A ``.safetensors`` file.
        key: What the run is: a checkpoint of another run is refused.
        every_seconds: Time between two checkpoints.
    """

    path: Path
    key: str
    every_seconds: float = 10.0

    def save(
        self,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        state: dict[str, Any],
        parts: Mapping[str, SideWeights] | None = None,
    ) -> None:
        """Write the state of a run.

        Args:
            module: The net in training.
            optimizer: Its optimizer.
            state: JSON values: the step, the history, what the policy knows.
            parts: Other weights that are kept beside those in training, by name.

        Raises:
            CheckpointError: If the file cannot be written; the earlier checkpoint stays.
        """
        tensors = {f"model.{name}": tensor for name, tensor in module.state_dict().items()}
        slots = optimizer.state_dict()["state"]
        for index, slot in slots.items():
            for name, value in slot.items():
                if isinstance(value, Tensor):
                    tensors[f"optimizer.{index}.{name}"] = value
        for side, weights in (parts or {}).items():
            tensors |= {f"{side}.{name}": tensor for name, tensor in weights.state().items()}
        write_tensors(self.path, tensors, {"key": self.key, **state})

    def load(
        self,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        parts: Mapping[str, SideWeights] | None = None,
    ) -> dict[str, Any] | None:
        """Bring a net, its optimizer and other weights back to where the checkpoint was written.

        Returns:
            The JSON values that were saved, or None if there is no checkpoint.

        Raises:
            CheckpointError: If the file is damaged or belongs to another run.
        """
        if not self.path.exists():
            return None
        tensors, state = read_tensors(self.path)
        if not isinstance(state, dict) or state.get("key") != self.key:
            raise CheckpointError(
                f"{self.path} is the checkpoint of another training run; "
                "delete it to train anew, or choose another --out"
            )
        fill_module(module, _read_part(tensors, "model."), self.path)
        for side, weights in (parts or {}).items():
            try:
                weights.restore(_read_part(tensors, f"{side}."))
            except ValueError as error:
                raise self._damaged(str(error)) from error
        optimizer.load_state_dict(
            {**optimizer.state_dict(), "state": self._read_slots(tensors, optimizer)}
        )
        return state

    def remove(self) -> None:
        """Delete the checkpoint, once the results it led to are in place."""
        self.path.unlink(missing_ok=True)

    def _read_slots(
        self, tensors: dict[str, Tensor], optimizer: torch.optim.Optimizer
    ) -> dict[int, dict[str, Tensor]]:
        """Return what the optimizer kept of each parameter, by the parameter's number."""
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        slots: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            if not name.startswith("optimizer."):
                continue
            _, index, slot = name.split(".", 2)
            number = int(index) if index.isdecimal() else len(parameters)
            # AdamW counts the steps of each parameter in a tensor without a dimension.
            if number >= len(parameters) or tensor.shape not in {(), parameters[number].shape}:
                raise self._damaged(f"{name} is of no parameter of the model")
            if tensor.ndim:  # in the memory format of the parameter, as it was
                tensor = torch.empty_like(parameters[number]).copy_(tensor)
            slots.setdefault(number, {})[slot] = tensor
        return slots

    def _damaged(self, reason: str) -> CheckpointError:
        return CheckpointError(
            f"{self.path} is damaged ({reason}); delete it and run the same command again"
        )


def _read_part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
