"""What elastic layers share: the active widths, and filling plain layers with active weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch import nn

from dpod_search.supernet.layout import active_size
from dpod_search.supernet.layout import take
from dpod_search.supernet.layout import take_matrix
from dpod_search.supernet.plans import LayerPlan


class WidthState:
    """The active widths of one supernet, shared by all its elastic layers.

    Args:
        widths: Active width of every group, in the order of the groups.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        """Start at the given widths."""
        self.widths: tuple[int, ...] = tuple(widths)
        # Set by Supernet.adding_gradients.
        self.adds_in_place = False


class ElasticLayer(nn.Module):
    """A layer that can run at several widths, in front of the plain class that it is.

    It shares the parameters of the layer it replaces and reads the active widths from the one
    :class:`WidthState` of its supernet.
    """

    plan: LayerPlan
    state: WidthState

    def extract(self) -> nn.Module:
        """Return a plain layer of the active size with copies of the active weights."""
        raise NotImplementedError

    def _vectors(self, *names: str) -> list[Tensor | None]:
        """Return the active parts of what has an element per output channel, as far as it is there."""
        tensors = [self._parameters.get(name, self._buffers.get(name)) for name in names]
        widths = self.state.widths
        return [None if t is None else take(t, 0, self.plan.output, widths) for t in tensors]

    def _active_size(self) -> int:
        return active_size(self.plan.output, self.state.widths)


def fill_plain(plain: nn.Module, elastic: nn.Module, **tensors: Tensor | None) -> nn.Module:
    """Give a plain layer copies of the active tensors of the elastic one it is cut from.

    Args:
        plain: A layer of the active size, without memory (device ``meta``).
        elastic: The layer it is cut from: its mode and its ``requires_grad`` are kept.
        **tensors: Active parameters and buffers by name; None for those it has not.

    Returns:
        The plain layer.
    """
    for name, tensor in tensors.items():
        if tensor is None:
            continue
        copied = tensor.detach().clone(memory_format=torch.contiguous_format)
        if name in plain._parameters:
            requires_grad = getattr(elastic, name).requires_grad
            plain._parameters[name] = nn.Parameter(copied, requires_grad=requires_grad)
        else:
            plain._buffers[name] = copied
    return plain.train(elastic.training)


def take_active(
    weight: Tensor, bias: Tensor | None, plan: LayerPlan, state: WidthState
) -> tuple[Tensor, Tensor | None]:
    """Keep the active part of a weight (outputs first, then inputs) and of its bias."""
    kept = take_matrix(
        weight,
        plan.output,
        plan.weight_input,
        state.widths,
        adds_in_place=state.adds_in_place,
    )
    return kept, None if bias is None else take(bias, 0, plan.output, state.widths)
