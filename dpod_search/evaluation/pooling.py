"""Pooled statistics of a norm: of all that it was given, in however many calls."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.batchnorm import _NormBase

from dpod_search.errors import CalibrationError
from dpod_search.evaluation.normed_layer import NormedLayer
from dpod_search.evaluation.normed_layer import Stand


# PyTorch's loops over channels are slow when these are few (13 of them: 4 to 10 times), so the
# values of several places are laid end to end, up to this many.
_ROW_LENGTH = 256


@dataclass(frozen=True)
class NormCall:
    """The statistics of one call of a norm.

    Args:
        n: Its weight: values per channel; pictures, of an InstanceNorm.
        mean: Of these values.
        variance: Of these values, biased.
    """

    n: int
    mean: Tensor
    variance: Tensor


def read_call(norm: _NormBase, shape: torch.Size, mean: Tensor, variance: Tensor) -> NormCall:
    """Return the statistics of a call that the norm, its momentum 1, has just answered.

    Args:
        norm: A BatchNorm, or an InstanceNorm.
        shape: Of what it was given.
        mean: What the call left in the norm's buffers, which the next one writes over.
        variance: As ``mean``.
    """
    if not isinstance(norm, _BatchNorm):
        return NormCall(shape[0], mean.clone(), variance.clone())
    n = shape.numel() // shape[1]
    return NormCall(n, mean.clone(), variance * ((n - 1) / n))  # PyTorch's is the unbiased one


def pool_calls(norm: _NormBase, calls: list[NormCall]) -> tuple[Tensor, Tensor]:
    """Return mean and variance of all calls together.

    Those of an InstanceNorm are means over pictures of each picture's own mean and variance,
    without the spread between pictures: it is what its momentum averages too.

    Args:
        norm: A BatchNorm, or an InstanceNorm.
        calls: Its calls, one at least.

    Raises:
        CalibrationError: If they are not finite.
    """
    if len(calls) == 1:
        mean, variance = calls[0].mean, calls[0].variance
    else:
        means = torch.stack([call.mean for call in calls]).double()
        variances = torch.stack([call.variance for call in calls]).double()
        sizes = means.new_tensor([[call.n] for call in calls])
        shares = sizes / sizes.sum()
        mean = (shares * means).sum(0)
        if isinstance(norm, _BatchNorm):
            variances += (means - mean).square()
        variance = (shares * variances).sum(0)
    if not math.isfinite(float((mean + variance).sum(dtype=torch.float64))):
        raise CalibrationError(
            "normalisation statistics are not finite; the weights or the pictures hold NaN"
        )
    return mean, variance


class PoolingStand(Stand):
    """Normalises what the layer makes by its own statistics, and keeps these.

    Args:
        pair: The layer and its norm, which is in training mode with momentum 1.
    """

    def __init__(self, pair: NormedLayer) -> None:
        """Take the weights once for all calls."""
        super().__init__(pair)
        self.calls: list[NormCall] = []
        self._weight, self._bias = pair.active_weight()

    def make(self, x: Tensor) -> Tensor:
        """Compute what the layer returns."""
        return self.pair.run_layer(x, self._weight, self._bias)

    def finish(self, made: Tensor) -> Tensor:
        """Normalise."""
        rows = _lay_in_rows(made)
        if rows is None:
            norm = self.pair.norm
            normalised: Tensor = type(norm).forward(norm, made)
            left = self.pair.active_statistics()
            self.calls.append(read_call(norm, made.shape, *left))
            return normalised
        n_channels = made.shape[1]
        n_in_row = rows.shape[1] // n_channels
        mean, variance = _mean_and_variance(rows, n_channels)
        self.calls.append(NormCall(made.numel() // n_channels, mean, variance))
        scale, shift = (
            vector.expand(n_in_row, n_channels).reshape(-1)
            for vector in self.pair.scale_and_shift(mean, variance)
        )
        # In place: fresh memory of this size costs more than the multiplication.
        torch.addcmul(shift, rows, scale, out=rows)
        return made


def _lay_in_rows(made: Tensor) -> Tensor | None:
    """View what a layer made as rows of several places' channels, None where that is not fast."""
    if made.device.type != "cpu" or made.dtype not in (torch.float32, torch.float64):
        return None
    places = made.movedim(1, -1)
    n_channels = made.shape[1]
    n_rows = made.numel() // max(1, n_channels)
    if not places.is_contiguous() or n_rows < 2:
        return None  # of one value there is no variance: PyTorch has words for that
    n_in_row = 1
    while n_channels * n_in_row < _ROW_LENGTH and n_rows % 2 == 0:
        n_in_row, n_rows = 2 * n_in_row, n_rows // 2
    return places.view(n_rows, n_channels * n_in_row)


def _mean_and_variance(rows: Tensor, n_channels: int) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance of each channel, its values being all over the rows."""
    means, variances = torch.batch_norm_update_stats(rows, None, None, 0.0)
    if rows.shape[1] == n_channels:
        return means, variances
    means, variances = means.view(-1, n_channels), variances.view(-1, n_channels)
    # All columns have as many values: the spread between them is added to the mean within.
    mean, between = torch.batch_norm_update_stats(means, None, None, 0.0)
    return mean, between.add_(variances.mean(0))
