"""A layer and the BatchNorm behind it, run as one.

Calibration and accuracy run a subnet's pictures through both; as one they cost less. In
calibration, statistics and scaling go over the output in place. After it, the norm is folded
into the layer's weight. The tensors of the model are not touched.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from dpod_search.supernet import kind_of
from dpod_search.supernet.layers.state import ElasticLayer
from dpod_search.supernet.layout import put
from dpod_search.supernet.layout import take


class RanOtherwiseError(RuntimeError):
    """A model called a layer and its norm otherwise than when it was watched."""


@dataclass(frozen=True, eq=False)
class NormedLayer:
    """A convolution or a linear layer, and the BatchNorm that alone reads what it makes.

    Args:
        layer: Plain or elastic.
        norm: Plain or elastic, with statistics.
    """

    layer: nn.Module
    norm: _BatchNorm

    def active_weight(self) -> tuple[Tensor, Tensor | None]:
        """Return the active part of the layer's weight, outputs first, and of its bias."""
        weight, bias = (self.layer._parameters[name] for name in ("weight", "bias"))
        assert weight is not None
        if not isinstance(self.layer, ElasticLayer):
            return weight, bias
        plan, widths = self.layer.plan, self.layer.state.widths
        part = take(take(weight, 0, plan.output, widths), 1, plan.weight_input, widths)
        return part, None if bias is None else take(bias, 0, plan.output, widths)

    def active_statistics(self) -> tuple[Tensor, Tensor]:
        """Return the active parts of the norm's mean and variance."""
        norm = self.norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        return self._active(norm.running_mean), self._active(norm.running_var)

    def put_statistics(self, mean: Tensor, variance: Tensor) -> None:
        """Write the active parts of the norm's mean and variance."""
        norm = self.norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        for whole, part in ((norm.running_mean, mean), (norm.running_var, variance)):
            if isinstance(norm, ElasticLayer):
                put(whole, part, norm.plan.output, norm.state.widths)
            else:
                whole.copy_(part)

    def scale_and_shift(self, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the norm multiplies by, and what it adds, given its statistics."""
        weight, bias = (self.norm._parameters[name] for name in ("weight", "bias"))
        scale = torch.rsqrt(variance + self.norm.eps)
        if weight is not None:
            scale = scale * self._active(weight)
        if bias is None:
            return scale, -mean * scale
        return scale, torch.addcmul(self._active(bias), mean, scale, value=-1)

    def run_layer(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Run the layer with a weight of the active size."""
        run = kind_of(self.layer).run
        assert run is not None
        return run(self.layer, x, weight, bias)

    def _active(self, vector: Tensor) -> Tensor:
        norm = self.norm
        if not isinstance(norm, ElasticLayer):
            return vector
        return take(vector, 0, norm.plan.output, norm.state.widths)


class Stand:
    """Stands in for a layer and its norm, and sees to it that they are called in turn.

    Args:
        pair: The two.
    """

    def __init__(self, pair: NormedLayer) -> None:
        """Wait for the layer's first call."""
        self.pair = pair
        self._made: Tensor | None = None

    def run_layer(self, input: Tensor) -> Tensor:
        """Run in place of the layer."""
        if self._made is not None:
            raise RanOtherwiseError
        self._made = self.make(input)
        return self._made

    def run_norm(self, input: Tensor) -> Tensor:
        """Run in place of the norm."""
        if input is not self._made:
            raise RanOtherwiseError
        self._made = None
        return self.finish(input)

    def check_end(self) -> None:
        """Check, when the model has run, that the norm was called for the layer's output."""
        if self._made is not None:
            raise RanOtherwiseError

    def make(self, x: Tensor) -> Tensor:
        """Compute what the layer returns."""
        raise NotImplementedError

    def finish(self, made: Tensor) -> Tensor:
        """Compute what the norm returns; may change what it is given."""
        raise NotImplementedError


class FoldedStand(Stand):
    """Runs the layer with the norm, as it is now, folded into its weight."""

    def __init__(self, pair: NormedLayer) -> None:
        """Fold."""
        super().__init__(pair)
        weight, bias = pair.active_weight()
        scale, shift = pair.scale_and_shift(*pair.active_statistics())
        self._weight = weight * scale.view(-1, *[1] * (weight.ndim - 1))
        self._bias = shift if bias is None else torch.addcmul(shift, bias, scale)

    def make(self, x: Tensor) -> Tensor:
        """Compute what layer and norm return."""
        return self.pair.run_layer(x, self._weight, self._bias)

    def finish(self, made: Tensor) -> Tensor:
        """Pass it on."""
        return made


@contextmanager
def standing_in(stands: Iterable[Stand]) -> Iterator[None]:
    """Let stands run in place of their layers and norms inside the block."""
    forwards: dict[nn.Module, Callable[[Tensor], Tensor]] = {
        module: forward
        for stand in stands
        for module, forward in (
            (stand.pair.layer, stand.run_layer),
            (stand.pair.norm, stand.run_norm),
        )
    }
    try:
        # An attribute of the module goes before the method of its class, and hides nothing else:
        # whoever reads its weight finds it.
        for module, forward in forwards.items():
            vars(module)["forward"] = forward
        yield
    finally:
        for module in forwards:
            vars(module).pop("forward", None)
