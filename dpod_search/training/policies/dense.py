"""The full net alone, as any training without a supernet: what one-shot pruning begins with.

A one-shot method narrows a net that is trained already, and finetunes what is left. Its training
is that of the plain net: each step costs what a step of the full net does, no subnet runs and
none is scored.
"""

from __future__ import annotations

from dataclasses import dataclass

from dpod_search.training.policies.base import Plan
from dpod_search.training.policies.base import PolicyContext
from dpod_search.training.policies.drawing import Memoryless
from dpod_search.widths import Widths


@dataclass(frozen=True)
class DenseOptions:
    """Training the full net alone has no options."""


class DensePolicy(Memoryless):
    """The full net at every step.

    Args:
        context: The space.
        options: None to choose.
    """

    def __init__(self, context: PolicyContext, options: DenseOptions | None = None) -> None:
        """Keep the full net's widths."""
        del options  # there is nothing in them
        self._full = context.space.full

    def plan(self, step: int) -> Plan:
        """Return the full net alone."""
        del step  # all are alike
        return Plan(full=True, partial=())

    def path(self) -> tuple[Widths, ...]:
        """Return the full net: the only subnet that is trained."""
        return (self._full,)
