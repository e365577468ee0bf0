"""Extraction: cutting a subnet out of a supernet as a plain module of the user's own classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from dpod_search.inputs import note_example
from dpod_search.placement import Placement
from dpod_search.placement import placement_of
from dpod_search.showing import Sheet
from dpod_search.showing import Shown
from dpod_search.supernet.layers.elastic import kind_of
from dpod_search.supernet.layers.own_classes import KeepsClass
from dpod_search.supernet.layers.state import ElasticLayer
from dpod_search.supernet.removal import remove_blocks
from dpod_search.supernet.supernet import Supernet
from dpod_search.supernet.tracing.computed import compute_anew
from dpod_search.supernet.tracing.computed import holder_of
from dpod_search.supernet.tracing.copying import copy_module
from dpod_search.supernet.tracing.recording import copy_held
from dpod_search.widths import Widths


@dataclass(frozen=True, repr=False)
class Subnet(Shown):
    """One choice of widths inside a supernet; what a custom objective receives.

    Args:
        supernet: The weight-sharing parent.
        widths: The active width of every group.
    """

    supernet: Supernet
    widths: Widths

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the subnet on a batch; shapes and result as :meth:`Supernet.forward`."""
        with self.supernet.active(self.widths):
            return self.supernet(*args, **kwargs)

    def _describe(self) -> Sheet:
        pairs = zip(self.widths.items(), self.supernet.space.full.active, strict=True)
        rows = [(name, str(width), str(full)) for (name, width), full in pairs]
        facts = [("widths", str(self.widths)), ("of", str(self.supernet.space.full))]
        return Sheet("Subnet", facts, ("group", "width", "of"), rows, is_brief=True)

    @property
    def placement(self) -> Placement:
        """Where its pictures must be."""
        return placement_of(self.supernet)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape (C, ...) of one sample."""
        return self.supernet.example_shape

    @property
    def device(self) -> torch.device:
        """Where the supernet is."""
        return self.placement.device

    def extract(self) -> nn.Module:
        """Return the subnet as a plain module; see :func:`extract_subnet`."""
        return extract_subnet(self.supernet, self.widths)


def extract_subnet(supernet: Supernet, widths: Mapping[str, int]) -> nn.Module:
    """Cut a subnet out of a supernet as a plain module.

    Args:
        supernet: The weight-sharing parent.
        widths: An active width for every group.

    Returns:
        A copy of the user's model, of the user's own classes, with plain layers of the active
        sizes and without the removed blocks. Its BatchNorm statistics are those the supernet
        holds: calibrate first.

    Raises:
        ConfigError: If the widths are not of the supernet's space.
    """
    with supernet.active(widths), supernet.arranged():
        net = supernet.net
        layers = [m for m in net.modules() if isinstance(m, ElasticLayer)]
        # A copy takes what its memo already holds for a copy: plain layers for elastic ones.
        extracted = {id(layer): layer.extract() for layer in layers}
        memo = {**copy_held(net), **extracted, **_tie(net, layers, extracted)}
        sliced = dict(supernet.slice_parameters())
        for name, part in sliced.items():
            whole, cut = supernet.find_tensor(name), part.detach().clone()
            is_learnt = isinstance(whole, nn.Parameter)
            memo[id(whole)] = nn.Parameter(cut, whole.requires_grad) if is_learnt else cut
        for layer in layers:
            if isinstance(layer, KeepsClass):
                layer.fill_own(extracted[id(layer)], memo)
        plain = copy_module(net, memo)
        active = supernet.widths.active
    note_example(plain, supernet.example)
    _refresh_sizes(plain, sliced)
    remove_blocks(plain, (b for b in supernet.grouping.blocks if not active[b.group]))
    return plain


def count_holders(net: nn.Module) -> Counter[int]:
    """Return how many modules hold each parameter, by its id."""
    return Counter(id(p) for m in net.modules() for p in m.parameters(recurse=False))


def _tie(
    net: nn.Module, layers: Iterable[ElasticLayer], extracted: Mapping[int, nn.Module]
) -> dict[int, nn.Parameter]:
    """Let extracted layers share what their elastic twins share.

    Returns:
        By the id of a parameter that several modules hold, what was cut from it.
    """
    counts = count_holders(net)
    cut: dict[int, nn.Parameter] = {}
    for layer in layers:
        own = extracted[id(layer)]._parameters
        for name, parameter in layer._parameters.items():
            part = own.get(name)
            if parameter is not None and part is not None and counts[id(parameter)] > 1:
                own[name] = cut.setdefault(id(parameter), part)
    return cut


def _refresh_sizes(net: nn.Module, names: Iterable[str]) -> None:
    """Let layers whose weight the user's own code reads, and so was cut, say its sizes."""
    for name in names:
        owner = net.get_submodule(holder_of(name))
        compute_anew(owner)
        resize = kind_of(owner).resize
        if resize is not None:
            resize(owner)
