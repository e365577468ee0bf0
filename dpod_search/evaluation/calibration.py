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

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.batchnorm import _NormBase

from dpod_search.errors import CalibrationError
from dpod_search.placement import placement_of
from dpod_search.supernet.modes import evaluating


def calibrate(model: nn.Module, images: Tensor, *, batch_size: int = 1024) -> None:
    """Replace the statistics of every BatchNorm by those of the given pictures.

    Works on plain modules and, inside ``supernet.active(widths)``, on a supernet, where only
    the active entries of the statistics mean anything afterwards.

    Args:
        model: Changed in place: its BatchNorm statistics, nothing else.
        images: Shape (n, C, ...), n >= 1.
        batch_size: Pictures run at once, or a few more so that no batch has only one. Below n,
            upstream layers are normalised per batch.

    Raises:
        CalibrationError: If there are no pictures, a BatchNorm sees only one value per
            channel, or the statistics are not finite. The old statistics stay then.
    """
    norms = _norms(model)
    if not norms:
        return
    if len(images) == 0:
        raise CalibrationError("calibration needs at least one picture, got none")
    pools = {norm: _Pool() for norm in norms}
    placement = placement_of(model)
    saved = _save_statistics(model)
    try:
        with torch.no_grad(), _collecting(model, pools):
            for chunk in _cut(images, batch_size):
                try:
                    model(placement.put(chunk))
                except ValueError as error:  # PyTorch's words for a single value per channel
                    raise CalibrationError(f"{error}; use more calibration pictures") from error
        for norm, pool in pools.items():
            pool.write(norm)
    except BaseException:
        _restore_statistics(saved)
        raise


@contextmanager
def calibrated(model: nn.Module, images: Tensor, *, batch_size: int = 1024) -> Iterator[None]:
    """Calibrate a model inside the block, and give it its old statistics back after it.

    Args:
        model: As for :func:`calibrate`.
        images: As for :func:`calibrate`.
        batch_size: As for :func:`calibrate`.

    Raises:
        CalibrationError: As :func:`calibrate`.
    """
    saved = _save_statistics(model)
    try:
        calibrate(model, images, batch_size=batch_size)
        yield
    finally:
        _restore_statistics(saved)


@dataclass
class _Pool:
    """Sums, over all calls of a norm, of what makes up a pooled mean and variance.

    Those of an InstanceNorm are means over pictures of each picture's own mean and variance,
    without the spread between pictures: it is what its momentum averages too.
    """

    n: int = 0
    total: Tensor | None = None
    total_squares: Tensor | None = None

    def add(self, norm: _NormBase, shape: torch.Size) -> None:
        # With momentum 1, PyTorch leaves the batch's mean and unbiased variance in the buffers.
        assert norm.running_mean is not None
        assert norm.running_var is not None
        mean, squares = norm.running_mean.double(), norm.running_var.double()
        n = shape[0]
        if isinstance(norm, _BatchNorm):
            n = shape.numel() // shape[1]
            squares = squares * ((n - 1) / n) + mean.square()
        self.n += n
        self.total = mean * n if self.total is None else self.total + mean * n
        previous = 0.0 if self.total_squares is None else self.total_squares
        self.total_squares = squares * n + previous

    def write(self, norm: _NormBase) -> None:
        if self.total is None or self.total_squares is None:
            return  # the model did not run this layer
        assert norm.running_mean is not None
        assert norm.running_var is not None
        mean, variance = self.total / self.n, self.total_squares / self.n
        if isinstance(norm, _BatchNorm):
            variance = (variance - mean.square()).clamp_(min=0)
        if not (torch.isfinite(mean).all() and torch.isfinite(variance).all()):
            raise CalibrationError(
                "normalisation statistics are not finite; the weights or the pictures hold NaN"
            )
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)


def _norms(model: nn.Module) -> list[_NormBase]:
    return [
        module
        for module in model.modules()
        if isinstance(module, _NormBase) and module.running_mean is not None
    ]


@contextmanager
def _collecting(model: nn.Module, pools: dict[_NormBase, _Pool]) -> Iterator[None]:
    """Run the norms with statistics, and only them, in training mode with momentum 1."""
    momenta = [(norm, norm.momentum) for norm in pools]
    hooks = []
    with evaluating(model):
        try:
            for norm, pool in pools.items():
                norm.training, norm.momentum = True, 1.0
                # After every call, because a norm may be called twice for one batch.
                hooks.append(norm.register_forward_hook(_collector(pool)))
            yield
        finally:
            for hook in hooks:
                hook.remove()
            for norm, momentum in momenta:
                norm.momentum = momentum


def _collector(pool: _Pool) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
    def collect(norm: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(norm, _NormBase)
        pool.add(norm, output.shape)

    return collect


def _cut(images: Tensor, batch_size: int) -> tuple[Tensor, ...]:
    # Equal parts: a last batch of one picture could not be normalised where space is 1 x 1.
    n_batches = min(-(-len(images) // batch_size), len(images) // 2)
    return images.tensor_split(max(1, n_batches))


def _save_statistics(model: nn.Module) -> list[tuple[Tensor, Tensor]]:
    return [(buffer, buffer.clone()) for norm in _norms(model) for buffer in norm.buffers()]


def _restore_statistics(saved: list[tuple[Tensor, Tensor]]) -> None:
    with torch.no_grad():
        for buffer, copy in saved:
            buffer.copy_(copy)
