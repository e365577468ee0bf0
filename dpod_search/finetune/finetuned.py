"""What finetuning delivers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from dpod_search.placement import Placement
from dpod_search.placement import placement_of
from dpod_search.quantities import label
from dpod_search.quantities import seconds
from dpod_search.quantities import spell
from dpod_search.showing import Sheet
from dpod_search.showing import Shown
from dpod_search.widths import Widths


@dataclass(frozen=True, eq=False, repr=False)
class FinetunedSubnet(Shown):
    """A plain module, trained on, with what is known of it.

    Args:
        module: The extracted subnet, in evaluation mode, statistics calibrated.
        widths: The widths it was extracted at.
        footprint: Its footprints by name.
        input_shape: Shape (C, ...) of one sample.
        metrics_before: The task's metrics by name, on the validation batches, inside the supernet;
            None without them.
        metrics: The same, as delivered.
        history: Step, lr and losses.
        seconds: Time training took, in all processes that worked on it up to their last
            checkpoints.
    """

    module: nn.Module
    widths: Widths
    footprint: Mapping[str, float]
    input_shape: tuple[int, ...]
    metrics_before: Mapping[str, float] | None = None
    metrics: Mapping[str, float] | None = None
    history: tuple[Mapping[str, float], ...] = ()
    seconds: float = 0.0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the module on a batch, so that custom objectives can look at it like a subnet."""
        return self.module(*args, **kwargs)

    def _describe(self) -> Sheet:
        before, after = self.metrics_before or {}, self.metrics or {}
        rows = [
            (label(name), *(spell(name, m[name]) if name in m else "–" for m in (before, after)))
            for name in dict.fromkeys([*before, *after])
        ]
        rows += [(label(name), "", spell(name, size)) for name, size in self.footprint.items()]
        facts = [("widths", str(self.widths)), ("module", type(self.module).__name__)]
        facts.append(("trained", seconds(self.seconds)))
        return Sheet("FinetunedSubnet", facts, ("", "before", "finetuned"), rows)

    @property
    def accuracy_before(self) -> float | None:
        """The metric of this name before; None if it was not measured."""
        return (self.metrics_before or {}).get("accuracy")

    @property
    def accuracy(self) -> float | None:
        """The metric of this name as delivered; None if it was not measured."""
        return (self.metrics or {}).get("accuracy")

    @property
    def figures(self) -> dict[str, float]:
        """Footprints and metrics by name, those before with ``_before``."""
        before = {f"{name}_before": v for name, v in (self.metrics_before or {}).items()}
        return {**self.footprint, **before, **(self.metrics or {})}

    @property
    def placement(self) -> Placement:
        """Where its pictures must be."""
        return placement_of(self.module)

    @property
    def device(self) -> torch.device:
        """Where the module is."""
        return self.placement.device

    def extract(self) -> nn.Module:
        """Return the module, which is plain already."""
        return self.module
