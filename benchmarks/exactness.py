"""Narrow runs of one net's supernet against extracted nets, and closed forms against counting."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from dpod_search.footprint import FootprintModel
from dpod_search.footprint import build_footprint
from dpod_search.inputs import ModelCall
from dpod_search.inputs import read_example
from dpod_search.rng import numpy_generator
from dpod_search.rng import torch_generator
from dpod_search.supernet import Supernet
from dpod_search.supernet import extract_subnet
from dpod_search.supernet.tracing.recording import tensors_of
from dpod_search.widths import Widths


# The counters are the tests' own: nothing of them is shared with what they check.
sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
from footprint.counters import count_macs
from footprint.counters import count_params
from footprint.peak import measure_eager_peak
from footprint.peak import measure_graph_peaks


def stir(model: nn.Module, call: ModelCall, name: str) -> None:
    """Make an untrained net's output depend on all of it, in place.

    Heads of zeros, equal scales and signals that die out on their way would hide mistakes: every
    weight moves a little, and BatchNorm takes its statistics from the pictures.
    """
    generator = torch_generator(0, "stir", name)
    norms = [part for part in model.modules() if isinstance(part, _BatchNorm)]
    model.eval()
    with torch.no_grad():
        for parameter in model.parameters():
            scale = float(parameter.square().mean().sqrt())
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(noise, alpha=0.1 * scale if scale > 1e-3 else 0.02)
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.train().momentum = 1.0
        call.run(model)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.eval().momentum = momentum


def measure_response(model: nn.Module, call: ModelCall) -> float:
    """Return how much the outputs of two samples differ, relative to the largest output."""
    with torch.no_grad():
        outputs = [out for out in tensors_of(call.run(model)) if out.is_floating_point()]
    pairs = [out for out in outputs if out.dim() and len(out) == call.n_samples]
    return max((_relative(out[0], out[1]) for out in pairs), default=0.0)


def measure_exactness(
    supernet: Supernet, images: Tensor, name: str, *, n_widths: int, n_exports: int
) -> dict[str, Any]:
    """Compare at seeded random widths, the first of which are exported too.

    Args:
        supernet: In evaluation mode.
        images: Shape (N, C, H, W).
        name: Seeds the widths.
        n_widths: How many choices of widths.
        n_exports: How many of them go through ``torch.export``.
    """
    rng = numpy_generator(0, "discovery", name)
    chosen = [supernet.space.sample(rng) for _ in range(n_widths)]
    footprint = build_footprint(supernet)
    call = read_example(images)
    rows = []
    for i, widths in enumerate(chosen):
        extracted = extract_subnet(supernet, widths).eval()
        row = compare_runs(supernet, extracted, widths, call)
        # A copy: a slice would keep the memory of all the pictures.
        row |= compare_counts(footprint, extracted, widths, images[:1].clone())
        if i < n_exports:
            row |= try_export(extracted, call)
        rows.append(row)
    return join_rows(rows)


def compare_runs(
    supernet: Supernet, extracted: nn.Module, widths: Widths, call: ModelCall
) -> dict[str, Any]:
    """Compare outputs and gradients of a narrow run and of the net cut out at its widths."""
    got, got_inputs = _run_backward(supernet, call, supernet.active(widths))
    wanted, wanted_inputs = _run_backward(extracted, call)
    differences = [_compare(got_inputs, wanted_inputs)]
    with _gradients_as_weights(supernet):
        slices = extract_subnet(supernet, widths)
        n_inside = _count_nonzero(p for p in slices.parameters())
        n_all = _count_nonzero(p for p in supernet.parameters())
    gradients = {key: _gradient(p) for key, p in extracted.named_parameters()}
    # Some gradients vanish but for rounding, a key bias's for instance.
    floor = 1e-3 * max((float(g.abs().max()) for g in gradients.values()), default=0.0)
    differences += [
        _relative(p.detach(), gradients[key], floor) for key, p in slices.named_parameters()
    ]
    for module in (supernet, extracted):
        module.zero_grad(set_to_none=True)
    return {
        "output_difference": _compare(got, wanted),
        "gradient_difference": max(differences),
        "n_gradients_outside": n_all - n_inside,
    }


def compare_counts(
    footprint: FootprintModel, extracted: nn.Module, widths: Widths, image: Tensor
) -> dict[str, Any]:
    """Compare the closed forms at some widths with counting the net that is cut out there."""
    closed = footprint.measure(widths)
    operations, nodes = measure_graph_peaks(extracted, image)
    eager = measure_eager_peak(extracted, image)
    row: dict[str, Any] = {
        "params_error": closed["params"] - count_params(extracted),
        "macs_error": closed["macs"] / count_macs(extracted, image) - 1,
        "eager_over_operations": eager.n_bytes / operations.n_bytes,
        "operations_over_nodes": operations.n_bytes / nodes.n_bytes,
    }
    if "peak_bytes" in closed:
        row["peak_error_of_nodes"] = closed["peak_bytes"] / nodes.n_bytes - 1
        row["peak_error_of_operations"] = closed["peak_bytes"] / operations.n_bytes - 1
    return row


def try_export(extracted: nn.Module, call: ModelCall) -> dict[str, Any]:
    """Export a net that was cut out, and compare the program's output with the net's."""
    start = time.perf_counter()
    try:
        program = torch.export.export(extracted, call.args, dict(call.kwargs))
        with torch.no_grad():
            got, wanted = tensors_of(call.run(program.module())), tensors_of(call.run(extracted))
    except Exception as error:  # noqa: BLE001  (whatever export raises is a finding)
        return {"export_error": f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"}
    seconds = time.perf_counter() - start
    return {"export_difference": _compare(got, wanted), "export_seconds": seconds}


def join_rows(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Keep of every number the one farthest from 0, and the first of every error."""
    joined: dict[str, Any] = {"n_widths": len(rows)}
    for row in rows:
        for key, value in row.items():
            if isinstance(value, str):
                joined.setdefault(key, value)
            elif key not in joined or not abs(value) <= abs(joined[key]):
                joined[key] = value
    joined["n_exported"] = sum("export_difference" in row for row in rows)
    return joined


def _run_backward(
    model: nn.Module, call: ModelCall, context: Any = None
) -> tuple[list[Tensor], list[Tensor]]:
    """Return what a net answers, and the gradients of the inputs that have any."""
    call = call.map(lambda t: t.clone().requires_grad_(t.is_floating_point()))
    model.zero_grad(set_to_none=True)
    model.train().eval()  # some nets keep what they computed in evaluation mode until they train
    with context or nullcontext():
        outputs = tensors_of(call.run(model))
    generator = torch_generator(0, "direction")
    total = sum(
        (output * torch.randn(output.shape, generator=generator)).sum()
        for output in outputs
        if output.requires_grad
    )
    assert isinstance(total, Tensor), "the net's output has no gradients"
    total.backward()
    inputs = [_gradient(tensor) for tensor in call.tensors if tensor.requires_grad]
    return [output.detach() for output in outputs], inputs


@contextmanager
def _gradients_as_weights(supernet: Supernet) -> Iterator[None]:
    """Put gradients in the weights' place, so that extraction cuts them as it cuts weights."""
    before = [(p, p.data) for p in supernet.parameters()]
    try:
        for p, _ in before:
            p.data = _gradient(p)
        yield
    finally:
        for p, data in before:
            p.data = data


def _gradient(parameter: Tensor) -> Tensor:
    return torch.zeros_like(parameter.data) if parameter.grad is None else parameter.grad


def _count_nonzero(tensors: Iterator[Tensor]) -> int:
    return sum(int(t.count_nonzero()) for t in tensors)


def _relative(got: Tensor, wanted: Tensor, floor: float = 0.0) -> float:
    """Return the largest difference relative to the largest element that is wanted."""
    if got.shape != wanted.shape:
        return float("inf")
    scale = max(float(wanted.abs().max()), floor)
    if not wanted.is_floating_point():
        got, wanted = got.double(), wanted.double()
    difference = float((got - wanted).abs().max())
    return difference / scale if scale else (0.0 if difference == 0 else float("inf"))


def _compare(got: list[Tensor], wanted: list[Tensor]) -> float:
    """Return the largest difference of several tensors, each relative to its own largest."""
    if len(got) != len(wanted):
        return float("inf")
    largest = [float(w.abs().max()) for w in wanted if w.is_floating_point() and w.numel()]
    floor = 1e-3 * max(largest, default=0.0)
    pairs = zip(got, wanted, strict=True)
    return max((_relative(g, w, floor) for g, w in pairs if w.numel()), default=0.0)
