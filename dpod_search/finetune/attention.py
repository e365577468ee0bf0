"""Where a net looks, compared with where the full net looks: features of other widths as teachers.

A subnet's feature maps have fewer channels than the full net's, but as many positions: summed over
the channels, the squares of both can be compared.

References:
    Zagoruyko and Komodakis: Paying More Attention to Attention, ICLR 2017 (arXiv 1612.03928).
    Which layers are compared is our own choice: the last one of each resolution.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import ExitStack
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch import nn
from torch.nn import functional

from dpod_search.inputs import Samples
from dpod_search.inputs import call_on


def find_stages(module: nn.Module, samples: Samples) -> tuple[str, ...]:
    """Find the last layer of each resolution that feature maps have.

    A block is a layer too, and ends after those inside it: what it adds or rectifies outside of
    its own layers is looked at. A layer that runs at several resolutions is passed over.

    Args:
        module: In evaluation mode.
        samples: An example: pictures (N, C, H, W), or all inputs.

    Returns:
        Names of layers, in the order they run; none for a net without feature maps.
    """
    order: list[str] = []
    shapes: dict[str, set[tuple[int, ...]]] = {}

    def note(name: str, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim == 4 and output[0, 0].numel() > 1:
            shapes.setdefault(name, set()).add(tuple(output.shape[2:]))
            order.append(name)

    names = [name for name, _ in module.named_modules() if name]
    with torch.no_grad(), _telling(module, names, note):
        call_on(module, samples)
    last: dict[tuple[int, ...], str] = {}
    for name in order:
        if len(shapes[name]) == 1:
            (shape,) = shapes[name]
            last.pop(shape, None)
            last[shape] = name
    return tuple(last.values())


@contextmanager
def watching(module: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Keep what layers give out inside the block, by name, in the dictionary that is yielded."""
    seen: dict[str, Tensor] = {}
    with _telling(module, names, seen.__setitem__):
        yield seen


@contextmanager
def _telling(
    module: nn.Module, names: Iterable[str], tell: Callable[[str, Any], None]
) -> Iterator[None]:
    """Call a function inside the block with what layers give out, and with their names."""
    with ExitStack() as hooks:
        for name in names:
            handle = module.get_submodule(name).register_forward_hook(
                lambda _m, _i, output, name=name: tell(name, output)
            )
            hooks.callback(handle.remove)
        yield


def compare_attention(features: Tensor, full_features: Tensor) -> Tensor:
    """Compute how differently two nets look at the same pictures.

    Args:
        features: Of the subnet, shape (N, C, H, W).
        full_features: Of the full net, same shape but for C; no gradient flows into them.

    Returns:
        The mean over pictures of the squared distance of their normalised maps, in [0, 2].
    """
    got, wanted = _attend(features), _attend(full_features.detach())
    return (got - wanted).square().sum(1).mean()


def _attend(features: Tensor) -> Tensor:
    return functional.normalize(features.float().square().mean(1).flatten(1), dim=1)
