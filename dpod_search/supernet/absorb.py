"""The way back from a subnet that was cut out: its weights into those of the supernet.

Extraction is asked itself where everything comes from: a copy of the supernet that holds in place
of every number its place is cut, and what comes out says for each number of the subnet where it
belongs. So whatever a kind of layer does when it is cut is undone without being told twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping

import torch
from torch import Tensor
from torch import nn

from dpod_search.errors import ConfigError
from dpod_search.supernet.extract import extract_subnet
from dpod_search.supernet.supernet import Supernet
from dpod_search.supernet.supernet import copy_supernet


# What weight_norm calls the direction of a weight, as a hook and as a parametrization.
_DIRECTIONS = ("_v", "original1")


@torch.no_grad()
def absorb_subnet(supernet: Supernet, widths: Mapping[str, int], module: nn.Module) -> None:
    """Write the weights and statistics of a subnet into a supernet, in place.

    What the subnet has no place for becomes zero, so that nothing but the subnet counts when units
    are put in another order: at its widths the supernet computes what the module does.

    Args:
        supernet: What it was cut from, or one of the same model.
        widths: The subnet's, an active width for every group.
        module: The subnet, as :func:`extract_subnet` made it and training changed it.

    Raises:
        ConfigError: If the widths are not of the supernet's space, or the module is of others.
    """
    places = dict(_tensors_of(extract_subnet(_number_places(supernet), widths)))
    parts = dict(_tensors_of(module))
    if {n: t.shape for n, t in places.items()} != {n: t.shape for n, t in parts.items()}:
        raise ConfigError("the module is no subnet of these widths; give what was cut out at them")
    # Of a direction, which is divided by its length, the length beside it becomes zero.
    kept = [(t, name.endswith(_DIRECTIONS)) for name, t in _tensors_of(supernet.net)]
    whole = [tensor for tensor, _ in kept]
    before = [(t if is_kept else torch.zeros_like(t)).flatten() for t, is_kept in kept]
    numbers = torch.cat([tensor.cpu().double() for tensor in before])
    for name, part in parts.items():
        numbers[places[name].long().flatten()] = part.to(numbers).flatten()
    runs = torch.split(numbers, [tensor.numel() for tensor in whole])
    for tensor, run in zip(whole, runs, strict=True):
        tensor.copy_(run.view(tensor.shape))


def _number_places(supernet: Supernet) -> Supernet:
    """Copy a supernet, with its place among all of them for every number.

    Names would not do: where a block is removed those behind it move up.
    """
    numbered: Supernet = copy_supernet(supernet).cpu().double()  # which counts to 2**53
    start = 0
    for _, tensor in _tensors_of(numbered.net):
        places = torch.arange(start, start + tensor.numel(), dtype=torch.float64)
        tensor.copy_(places.view(tensor.shape))
        start += tensor.numel()
    return numbered


def _tensors_of(net: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield what is trained or estimated: parameters and buffers of numbers that are no integers."""
    seen = (*net.named_parameters(), *net.named_buffers())
    yield from ((name, tensor) for name, tensor in seen if tensor.is_floating_point())
