"""What a latency table is asked for: layers, grids of widths, and some whole subnets.

A request is a file, so that a small device can measure without the model, its code or its data:
the layers are described, and the subnets packed, see ``packing.py``.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from dpod_search.errors import ConfigError
from dpod_search.errors import DataError
from dpod_search.errors import DpodSearchError
from dpod_search.errors import check_count
from dpod_search.files import read_json
from dpod_search.files import write_json
from dpod_search.inputs import spell_dtype
from dpod_search.latency.layers import hash_model
from dpod_search.latency.layers import list_placed_layers
from dpod_search.latency.layers import sample_subnets
from dpod_search.latency.settings import MIN_FIT
from dpod_search.latency.settings import LatencySettings
from dpod_search.latency.specs import LayerSpec
from dpod_search.latency.table import LatencyTable
from dpod_search.latency.table import LayerGrid
from dpod_search.latency.table import parse_axes
from dpod_search.latency.table import parse_widths
from dpod_search.placement import place_module
from dpod_search.rng import numpy_generator
from dpod_search.rng import torch_generator
from dpod_search.supernet import Subnet
from dpod_search.supernet import Supernet


FORMAT = "dpod-search latency request"
VERSION = 1
_MAX_NUMBERS = 10_000_000_000  # of all inputs of a forward pass
_REFERENCE_RATIO = 0.25


@dataclass(frozen=True)
class RequestedLayer:
    """A layer, and the widths that it is measured at.

    Args:
        spec: The layer.
        inputs: Input widths, ascending.
        outputs: Output widths, ascending.
    """

    spec: LayerSpec
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def is_held_by(self, grid: LayerGrid | None) -> bool:
        """Say whether a grid reaches as far, and is as fine."""
        return (
            grid is not None
            and grid.covers(self.inputs, self.outputs)
            and len(grid.inputs) >= len(self.inputs)
            and len(grid.outputs) >= len(self.outputs)
        )


@dataclass(frozen=True, eq=False)
class RequestedNet:
    """A whole subnet to measure.

    Args:
        widths: Its active width in every group.
        packed: It, as the backend takes it; None where the supernet is at hand.
    """

    widths: tuple[int, ...]
    packed: bytes | None = None


@dataclass(frozen=True, eq=False)
class LatencyRequest:
    """What is to be measured.

    Args:
        settings: With what, and for how long.
        input_shape: Shape (C, ...) of one sample of the nets.
        layers: The layers.
        space: Fingerprint of the width space of the nets.
        nets: The nets.
        runs_channels_last: The nets run on channels-last tensors.
        reference: A narrow net that the others are timed in turn with.
    """

    settings: LatencySettings
    input_shape: tuple[int, ...]
    layers: tuple[RequestedLayer, ...]
    space: str
    nets: tuple[RequestedNet, ...]
    runs_channels_last: bool
    reference: RequestedNet

    def is_held_by(self, table: LatencyTable) -> bool:
        """Say whether a table has all that is asked for."""
        known = {net.widths for net in table.nets}
        return (
            table.space == self.space
            and all(net.widths in known for net in self.nets)
            and all(layer.is_held_by(table.layers.get(layer.spec)) for layer in self.layers)
        )

    @property
    def n_cells(self) -> int:
        """Layers to measure, each of their widths counted."""
        return sum(len(layer.inputs) * len(layer.outputs) for layer in self.layers)


def make_request(
    supernet: Supernet, settings: LatencySettings | None = None, *, seed: int = 0
) -> LatencyRequest:
    """Say what a table for a supernet has to hold.

    Args:
        supernet: Whose layers and subnets.
        settings: How fine the grids are and how many subnets there are.
        seed: Of the subnets that are drawn.

    Raises:
        ConfigError: If the space has too few subnets to fit a model to, or the model takes other than
            float32 samples.
    """
    check_timeable(supernet)
    chosen = settings or LatencySettings()
    widths: dict[LayerSpec, tuple[set[int], set[int]]] = {}
    for layer in list_placed_layers(supernet):
        inputs, outputs = layer.find_widths(supernet.space)
        own = widths.setdefault(layer.spec, (set(), set()))
        own[0].update(inputs)
        own[1].update(outputs)
    layers = tuple(
        RequestedLayer(spec, _thin(inputs, chosen.n_grid), _thin(outputs, chosen.n_grid))
        for spec, (inputs, outputs) in widths.items()
    )
    n_nets = chosen.n_fit + chosen.n_held_out
    nets = sample_subnets(supernet.space, n_nets, numpy_generator(seed, "latency"))
    n_due = MIN_FIT + chosen.n_held_out
    if len(nets) < n_due:
        raise ConfigError(
            f"the latency model is fitted to at least {n_due} subnets, and the supernet has "
            f"{len(nets)}; take the objective latency_ms, which is measured, or more ratios"
        )
    # The two ends are fitted to, so that nothing lies beyond; the others come in any order.
    order = numpy_generator(seed, "latency order").permutation(len(nets) - 2) + 2
    ordered = [*nets[:2], *(nets[i] for i in order)]
    return LatencyRequest(
        chosen,
        supernet.example_shape,
        layers,
        hash_model(supernet),
        tuple(RequestedNet(net.active) for net in ordered),
        supernet.grouping.runs_channels_last,
        find_reference(supernet),
    )


def find_reference(supernet: Supernet) -> RequestedNet:
    """Return the net that nets of a supernet are timed in turn with.

    It has the operations of all of them and is quick, so that little time goes to it.
    """
    return RequestedNet(supernet.space.uniform(_REFERENCE_RATIO).active)


def extract_net(supernet: Supernet, widths: Sequence[int]) -> nn.Module:
    """Cut a net of a request out of its supernet, on the CPU."""
    chosen = supernet.space.make(dict(zip(supernet.space.names, widths, strict=True)))
    module = Subnet(supernet, chosen).extract().eval()
    is_channels_last = supernet.grouping.runs_channels_last
    return place_module(module, torch.device("cpu"), is_channels_last=is_channels_last)


def check_timeable(supernet: Supernet) -> None:
    """Raise unless a supernet's nets can be run on drawn samples: one input of float32.

    Raises:
        ConfigError: If they cannot.
    """
    tensors = supernet.example.tensors
    if len(tensors) > 1 or tensors[0].dtype != torch.float32:
        kinds = ", ".join(spell_dtype(tensor.dtype) for tensor in tensors)
        raise ConfigError(
            f"latency is measured on one input of float32, and this model takes {kinds}; leave "
            "latency out, or measure it by an objective of your own (in Python LatencyMs(images=...))"
        )


def make_images(shape: tuple[int, ...], batch_size: int) -> torch.Tensor:
    """Return random pictures.

    Raises:
        ConfigError: If ``batch_size`` is out of range, or they are too many of this shape.
    """
    check_count("batch_size", batch_size, low=1, high=1_000_000)
    limit = _MAX_NUMBERS // math.prod(shape)
    if batch_size > limit:
        raise ConfigError(
            f"batch_size must be <= {limit:,} with inputs of {' x '.join(map(str, shape))}, got "
            f"{batch_size:,}"
        )
    return torch.randn((batch_size, *shape), generator=torch_generator(0, "latency"))


def write_request(request: LatencyRequest, path: Path) -> None:
    """Write a request as a file of JSON."""
    settings = request.settings
    write_json(
        path,
        {
            "format": FORMAT,
            "version": VERSION,
            "backend": settings.backend,
            "batch_size": settings.batch_size,
            "n_threads": settings.n_threads,
            "seconds": settings.seconds,
            "input_shape": list(request.input_shape),
            "runs_channels_last": request.runs_channels_last,
            "space": request.space,
            "layers": [
                {"spec": x.spec.to_json(), "inputs": list(x.inputs), "outputs": list(x.outputs)}
                for x in request.layers
            ],
            "reference": _describe_net(request.reference),
            "nets": [_describe_net(net) for net in request.nets],
        },
    )


def _describe_net(net: RequestedNet) -> dict[str, Any]:
    packed = base64.b64encode(net.packed or b"").decode()
    return {"widths": list(net.widths), "packed": packed}


def read_request(path: Path) -> LatencyRequest:
    """Read a request.

    Raises:
        DataError: If it is none, or cut off.
    """
    if not path.is_file():
        raise DataError(f"there is no latency request {path}; check the path")
    try:
        value = read_json(path)
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            raise DataError(f"its format is not {FORMAT!r}")
        if value["version"] != VERSION:
            raise DataError(f"its version is {value['version']!r}, and only {VERSION} can be read")
        return _parse(value)
    except (DpodSearchError, KeyError, TypeError, ValueError, binascii.Error) as error:
        told = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        raise DataError(
            f"{path} is no latency request, or cut off ({told}); write it again with "
            "`dpod-search latency request`"
        ) from error


def _parse(value: dict[str, Any]) -> LatencyRequest:
    names = ("backend", "batch_size", "n_threads", "seconds")
    settings = LatencySettings(**{name: value[name] for name in names})
    shape, space, is_last = (value[n] for n in ("input_shape", "space", "runs_channels_last"))
    if not isinstance(space, str) or not isinstance(is_last, bool):
        raise DataError("its space is no text, or runs_channels_last neither true nor false")
    if not isinstance(shape, list) or any(type(n) is not int or n < 1 for n in shape):
        raise DataError(f"input_shape must be whole numbers >= 1, got {shape}")
    layers = tuple(map(_parse_layer, value["layers"]))
    nets = tuple(map(_parse_net, value["nets"]))
    reference = _parse_net(value["reference"])
    return LatencyRequest(settings, tuple(shape), layers, space, nets, is_last, reference)


def _parse_layer(value: Any) -> RequestedLayer:
    spec = LayerSpec.from_json(value["spec"])
    inputs, outputs = parse_axes(value, spec)
    return RequestedLayer(spec, inputs, outputs)


def _parse_net(value: Any) -> RequestedNet:
    packed = base64.b64decode(value["packed"], validate=True)
    return RequestedNet(parse_widths(value["widths"]), packed or None)


def _thin(widths: set[int], n: int) -> tuple[int, ...]:
    """Keep at most n widths, the ends among them."""
    ordered = sorted(widths)
    if len(ordered) <= n:
        return tuple(ordered)
    places = np.unique(np.rint(np.linspace(0, len(ordered) - 1, n)).astype(int))
    return tuple(ordered[i] for i in places)
