"""Calibration: re-estimating BatchNorm statistics with the weights unmoved; InstanceNorm's too.

A subnet's activations are not the full net's, so the statistics it needs are its own. They are
pooled over all calibration pictures: the variance includes the spread *between* batches, which
an average of within-batch variances leaves out. Given one batch (the default as long as the
pictures fit) the statistics are exact and do not depend on how the data were cut.

References:
    Yu and Huang: Universally Slimmable Networks, 2019, section 4.2 (arXiv 1903.05134).
    Wu and Johnson: Rethinking "Batch" in BatchNorm, 2021, section 3 (arXiv 2105.07576).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import AbstractContextManager
from contextlib import ExitStack
from contextlib import contextmanager
from contextlib import nullcontext

import torch
from torch import Tensor
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from dpod_search.errors import CalibrationError
from dpod_search.errors import check_count
from dpod_search.evaluation.normed_layer import NormedLayer
from dpod_search.evaluation.normed_layer import RanOtherwiseError
from dpod_search.evaluation.normed_layer import standing_in
from dpod_search.evaluation.pooling import NormCall
from dpod_search.evaluation.pooling import PoolingStand
from dpod_search.evaluation.pooling import pool_calls
from dpod_search.evaluation.pooling import read_call
from dpod_search.inputs import Example
from dpod_search.inputs import ModelCall
from dpod_search.inputs import call_with_samples
from dpod_search.placement import evaluating
from dpod_search.placement import placement_of


def calibrate(model: nn.Module, images: Example | ModelCall, *, batch_size: int = 1024) -> None:
    """Replace the statistics of every BatchNorm by those of the given pictures.

    Works on plain modules and, inside ``supernet.active(widths)``, on a supernet, where only
    the active entries of the statistics mean anything afterwards.

    Args:
        model: Changed in place: its BatchNorm statistics, nothing else.
        images: Shape (n, C, ...), n >= 1; of a model of several inputs all of them, n samples
            each, as ``build_supernet`` takes an example.
        batch_size: Pictures run at once, or a few more so that no batch has only one. Below n,
            upstream layers are normalised per batch.

    Raises:
        CalibrationError: If there are no pictures, a BatchNorm sees only one value per
            channel, or the statistics are not finite. The old statistics stay then.
    """
    norms = _norms(model)
    saved = _save_statistics(norms)
    try:
        _calibrate(model, call_with_samples(images), batch_size, norms, ())
    except BaseException:
        _restore_statistics(saved)
        raise


@contextmanager
def calibrated(
    model: nn.Module,
    images: Example | ModelCall,
    *,
    batch_size: int = 1024,
    normed_layers: Sequence[NormedLayer] = (),
) -> Iterator[None]:
    """Calibrate a model inside the block, and give it its old statistics back after it.

    Args:
        model: As for :func:`calibrate`.
        images: As for :func:`calibrate`.
        batch_size: As for :func:`calibrate`.
        normed_layers: What :func:`~dpod_search.evaluation.watching.find_normed_layers` found in the model; they are faster.

    Raises:
        CalibrationError: As :func:`calibrate`.
    """
    norms = _norms(model)
    saved = _save_statistics(norms)
    try:
        _calibrate(model, call_with_samples(images), batch_size, norms, normed_layers)
        yield
    finally:
        _restore_statistics(saved)


def has_statistics(model: nn.Module) -> bool:
    """Say whether there is anything to calibrate."""
    return bool(_norms(model))


def in_evaluation_mode(model: nn.Module) -> AbstractContextManager[None]:
    """Do as :func:`evaluating`, faster where it is in this mode: setting modes is slow."""
    is_training = any(module.training for module in model.modules())
    return evaluating(model) if is_training else nullcontext()


def _calibrate(
    model: nn.Module,
    call: ModelCall,
    batch_size: int,
    norms: Sequence[_NormBase],
    normed_layers: Sequence[NormedLayer],
) -> None:
    if not norms:
        return
    if call.n_samples == 0:
        raise CalibrationError("calibration needs at least one picture, got none")
    with in_evaluation_mode(model):
        try:
            _run(model, call, batch_size, norms, normed_layers)
        except RanOtherwiseError:
            _run(model, call, batch_size, norms, ())


def _run(
    model: nn.Module,
    call: ModelCall,
    batch_size: int,
    norms: Sequence[_NormBase],
    normed_layers: Sequence[NormedLayer],
) -> None:
    with torch.no_grad():
        stands = [PoolingStand(pair) for pair in normed_layers]
    standing = {pair.norm for pair in normed_layers}
    calls: dict[_NormBase, list[NormCall]] = {norm: [] for norm in norms if norm not in standing}
    placement = placement_of(model)
    with torch.no_grad(), _collecting(norms, calls), standing_in(stands):
        for chunk in _cut(call, batch_size):
            try:
                chunk.map(placement.put).run(model)
            except ValueError as error:  # PyTorch's words for a single value per channel
                raise CalibrationError(f"{error}; use more calibration pictures") from error
            for stand in stands:
                stand.check_end()
    for norm, found in calls.items():
        if found:  # else the model did not run this norm
            _put_statistics(norm, *pool_calls(norm, found))
    for stand in stands:
        if stand.calls:
            stand.pair.put_statistics(*pool_calls(stand.pair.norm, stand.calls))


def _put_statistics(norm: _NormBase, mean: Tensor, variance: Tensor) -> None:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)


@contextmanager
def _collecting(
    norms: Sequence[_NormBase], calls: dict[_NormBase, list[NormCall]]
) -> Iterator[None]:
    """Run norms in training mode with momentum 1, and note what the calls of some find."""
    momenta = [norm.momentum for norm in norms]
    try:
        for norm in norms:
            norm.training, norm.momentum = True, 1.0
        with ExitStack() as hooks:
            for norm, found in calls.items():
                # After every call, because a norm may be called twice for one batch.
                hooks.callback(norm.register_forward_hook(_collector(found)).remove)
            yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.training, norm.momentum = False, momentum


def _collector(found: list[NormCall]) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
    def collect(norm: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(norm, _NormBase)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        found.append(read_call(norm, output.shape, norm.running_mean, norm.running_var))

    return collect


def _norms(model: nn.Module) -> list[_NormBase]:
    return [
        module
        for module in model.modules()
        if isinstance(module, _NormBase) and module.running_mean is not None
    ]


def _cut(call: ModelCall, batch_size: int) -> Iterator[ModelCall]:
    check_count("batch_size", batch_size, low=1, high=1_000_000)
    n = call.n_samples
    # Equal parts: a last batch of one picture could not be normalised where space is 1 x 1.
    n_batches = max(1, min(-(-n // batch_size), n // 2))
    bounds = [i * (n // n_batches) + min(i, n % n_batches) for i in range(n_batches + 1)]
    for start, stop in itertools.pairwise(bounds):
        yield call.take(slice(start, stop))


def _save_statistics(norms: Sequence[_NormBase]) -> list[tuple[Tensor, Tensor]]:
    return [(buffer, buffer.clone()) for norm in norms for buffer in norm.buffers()]


def _restore_statistics(saved: list[tuple[Tensor, Tensor]]) -> None:
    with torch.no_grad():
        for buffer, copy in saved:
            buffer.copy_(copy)
