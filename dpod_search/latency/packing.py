"""The subnets of a request as bytes: runnable without the model, its code or its weights.

For onnxruntime they are ONNX, else lists of PyTorch's operators. Both are compressed; a constant
stands for the weights of ONNX, which then compress to nothing.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import replace

import torch
from torch import nn

from dpod_search.errors import DataError
from dpod_search.errors import tell_first_line
from dpod_search.files import parse_json
from dpod_search.latency.backends.onnx import convert
from dpod_search.latency.backends.programs import read_program
from dpod_search.latency.backends.programs import write_program
from dpod_search.latency.bench import Bench
from dpod_search.latency.request import LatencyRequest
from dpod_search.latency.request import RequestedNet
from dpod_search.latency.request import extract_net
from dpod_search.latency.request import make_images
from dpod_search.latency.timing import Run
from dpod_search.placement import place_module
from dpod_search.progress import Progress
from dpod_search.progress import SilentProgress
from dpod_search.supernet import Supernet


_ONNX = "onnxruntime"
_WEIGHT = 0.01
_MAX_BYTES = 2**31 - 1  # of one net; ONNX has no larger ones either


def pack_nets(
    request: LatencyRequest, supernet: Supernet, *, progress: Progress | None = None
) -> LatencyRequest:
    """Return a request whose nets can be run without the model.

    Args:
        request: Made for this supernet.
        supernet: Its nets are cut out of it.
        progress: Who is told.

    Raises:
        ConfigError: If a net cannot be exported.
    """
    told = progress or SilentProgress()
    told.start("pack", len(request.nets))
    images = make_images(request.input_shape, request.settings.batch_size)
    packed = []
    for net in (request.reference, *request.nets):
        data = _pack(extract_net(supernet, net.widths), images, request.settings.backend)
        packed.append(RequestedNet(net.widths, zlib.compress(data, 9)))
        told.advance(int(net is not request.reference))
    told.finish()
    return replace(request, reference=packed[0], nets=tuple(packed[1:]))


def prepare_packed(request: LatencyRequest, net: RequestedNet, bench: Bench) -> Run:
    """Make a packed net ready to be timed.

    Raises:
        ConfigError: If the backend cannot run it.
        DataError: If it is not packed, or cannot be read.
    """
    if net.packed is None:
        raise DataError(
            "the latency request holds no nets; write it again with `dpod-search latency request`"
        )
    images = make_images(request.input_shape, request.settings.batch_size)
    run = _open(request, _decompress(net.packed), images, bench)
    try:
        run()
    except Exception as error:  # whatever operators raise when their arguments do not fit
        raise DataError(
            f"a net of the latency request cannot be run ({tell_first_line(error)})"
        ) from error
    return run


def _open(request: LatencyRequest, data: bytes, images: torch.Tensor, bench: Bench) -> Run:
    if request.settings.backend == _ONNX:
        return bench.prepare_onnx(data, images)
    try:
        value = parse_json(data)
    except ValueError as error:
        raise DataError(f"a net of the latency request cannot be read ({error})") from error
    module = read_program(value, bench.device)
    place_module(module, torch.device("cpu"), is_channels_last=request.runs_channels_last)
    return bench.prepare(module, images)


def _pack(module: nn.Module, images: torch.Tensor, backend: str) -> bytes:
    if backend != _ONNX:
        return json.dumps(write_program(module, images), separators=(",", ":")).encode()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(_WEIGHT)
    return convert(module, images)


def _decompress(packed: bytes) -> bytes:
    inflater = zlib.decompressobj()
    try:
        data = inflater.decompress(packed, _MAX_BYTES)
    except zlib.error as error:
        raise DataError(f"a net of the latency request cannot be read ({error})") from error
    if not inflater.eof:
        raise DataError("a net of the latency request is cut off, or larger than 2 GB")
    return data
