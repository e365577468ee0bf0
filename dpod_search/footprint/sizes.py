"""Layer sizes at many widths at once: affine in the widths, so one matrix product each."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import nn

from dpod_search.supernet import LayerPlan
from dpod_search.supernet import Supernet
from dpod_search.supernet.layout import Layout


FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LayerSizes:
    """Sizes of the L layers of a net at n choices of widths.

    Float64 holds every count exactly, as long as it stays below 2**53.

    Args:
        outputs: Output channels, shape (n, L).
        weight_inputs: Size of dimension 1 of each weight, shape (n, L).
        n_positions: Output positions per sample, shape (L,).
        kernel_numel: Kernel elements, shape (L,); 0 for norms.
        n_vectors: Further parameters per output channel, shape (L,).
        n_statistics: Floating-point buffers per output channel, shape (L,).
        itemsize: Bytes per element, shape (L,).
        rest_params: Parameters outside these layers, less those that several layers share.
        rest_bytes: Bytes of parameters and floating-point buffers outside these layers, less
            those that several layers share.
    """

    outputs: FloatArray
    weight_inputs: FloatArray
    n_positions: FloatArray
    kernel_numel: FloatArray
    n_vectors: FloatArray
    n_statistics: FloatArray
    itemsize: FloatArray
    rest_params: int
    rest_bytes: int

    @property
    def weight_numel(self) -> FloatArray:
        """Elements of each convolution's or linear layer's weight, shape (n, L)."""
        product: FloatArray = self.outputs * self.weight_inputs * self.kernel_numel
        return product


class SizeModel:
    """Turns widths into layer sizes.

    Args:
        supernet: The net to measure.
    """

    def __init__(self, supernet: Supernet) -> None:
        """Read the layer plans once."""
        layers = supernet.grouping.layers
        n_groups = len(supernet.groups)
        self._outputs = _affine([plan.output for plan in layers], n_groups)
        self._inputs = _affine([plan.weight_input for plan in layers], n_groups)
        self._constants = {
            name: np.array([getattr(plan, name) for plan in layers], dtype=float)
            for name in ("n_positions", "kernel_numel", "n_vectors", "n_statistics", "itemsize")
        }
        self._rest_params, self._rest_bytes = _count_rest(supernet, layers)

    def at(self, widths: npt.ArrayLike) -> LayerSizes:
        """Return the layer sizes at widths of shape (n, n_groups)."""
        rows = np.asarray(widths, dtype=float)
        extended = np.hstack([rows, np.ones((len(rows), 1))])
        return LayerSizes(
            outputs=extended @ self._outputs.T,
            weight_inputs=extended @ self._inputs.T,
            **self._constants,
            rest_params=self._rest_params,
            rest_bytes=self._rest_bytes,
        )


def _affine(layouts: Sequence[Layout], n_groups: int) -> FloatArray:
    # Row: elements added per unit of each group's width; the last column is the constant.
    table = np.zeros((len(layouts), n_groups + 1))
    for row, layout in zip(table, layouts, strict=True):
        for segment in layout:
            if segment.group is None:
                row[-1] += segment.size
            else:
                row[segment.group] += segment.repeat
    return table


def _count_rest(supernet: Supernet, layers: Sequence[LayerPlan]) -> tuple[int, int]:
    modules = dict(supernet.net.named_modules())
    own = {plan.name for plan in layers if plan.kind == "parameter"}
    planned = {id(supernet.net.get_parameter(name)) for name in own} | {
        id(tensor)
        for plan in layers
        if plan.name not in own
        for tensor in (*modules[plan.name].parameters(), *modules[plan.name].buffers())
    }
    parameters = [p for p in supernet.net.parameters() if id(p) not in planned]
    buffers = [b for b in supernet.net.buffers() if id(b) not in planned and b.is_floating_point()]
    n_bytes = sum(t.numel() * t.element_size() for t in (*parameters, *buffers))
    again = list(_held_again(modules[plan.name] for plan in layers if plan.name not in own))
    n_bytes -= sum(p.numel() * p.element_size() for p in again)
    return sum(p.numel() for p in parameters) - sum(p.numel() for p in again), n_bytes


def _held_again(modules: Iterable[nn.Module]) -> Iterator[nn.Parameter]:
    # Every plan counts its weights, but tied ones (which never change their size) exist once.
    seen: set[int] = set()
    for module in modules:
        for parameter in module.parameters(recurse=False):
            if id(parameter) in seen:
                yield parameter
            seen.add(id(parameter))
