"""Sizes at many widths at once: each is affine in the widths, so one matrix product for all."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torch import nn

from dpod_search.footprint.activations import ActivationModel
from dpod_search.footprint.monomials import FloatArray
from dpod_search.footprint.monomials import Gate
from dpod_search.footprint.monomials import Gates
from dpod_search.footprint.monomials import Monomials
from dpod_search.footprint.monomials import Term
from dpod_search.footprint.monomials import all_of
from dpod_search.footprint.monomials import extend
from dpod_search.footprint.monomials import make_affine
from dpod_search.supernet import Grouping
from dpod_search.supernet import Supernet
from dpod_search.supernet.layout import Layout


@dataclass(frozen=True)
class LayerSizes:
    """Sizes of the L layers of a net at n choices of widths.

    Float64 holds every count exactly, as long as it stays below 2**53.

    Args:
        outputs: Output channels, 0 in a removed block, shape (n, L).
        weight_inputs: Size of dimension 1 of each weight, shape (n, L).
        n_positions: Output positions per sample, shape (L,).
        kernel_numel: Kernel elements, shape (L,); 0 for norms.
        n_vectors: Further parameters per output channel, shape (L,).
        n_statistics: Floating-point buffers per output channel, shape (L,).
        itemsize: Bytes per element, shape (L,).
        parameters: Elements of each parameter outside these layers, shape (n, P); those that
            several layers share are taken off once.
        parameter_itemsize: Bytes per element of these, shape (P,).
        buffer_bytes: Bytes of each floating-point buffer outside these layers, shape (n, B).
        products: Macs per sample of each product of two tensors, shape (n, Q).
        peak_activation_bytes: Most bytes of activations held at once per sample, shape (n,).
    """

    outputs: FloatArray
    weight_inputs: FloatArray
    n_positions: FloatArray
    kernel_numel: FloatArray
    n_vectors: FloatArray
    n_statistics: FloatArray
    itemsize: FloatArray
    parameters: FloatArray
    parameter_itemsize: FloatArray
    buffer_bytes: FloatArray
    products: FloatArray
    peak_activation_bytes: FloatArray

    @property
    def weight_numel(self) -> FloatArray:
        """Elements of each convolution's or linear layer's weight, shape (n, L)."""
        product: FloatArray = self.outputs * self.weight_inputs * self.kernel_numel
        return product


class SizeModel:
    """Turns widths into sizes.

    Args:
        supernet: The net to measure.
    """

    def __init__(self, supernet: Supernet) -> None:
        """Read the plans once."""
        grouping = supernet.grouping
        layers = grouping.layers
        n_groups = len(supernet.groups)
        self._outputs = make_affine([plan.output for plan in layers], n_groups)
        self._inputs = make_affine([plan.weight_input for plan in layers], n_groups)
        self._gates = Gates([all_of(plan.blocks) for plan in layers], n_groups)
        self._activations = ActivationModel(grouping)
        rest = RestTerms(supernet)
        self._parameters = Monomials(rest.parameters, n_groups)
        self._itemsize = np.array(rest.itemsizes, dtype=float)
        self._buffers = Monomials(rest.buffers, n_groups)
        self._products = Monomials(
            [(p.constant / p.batch_size, p.factors, all_of(p.blocks)) for p in grouping.products],
            n_groups,
        )
        self._constants = {
            name: np.array([getattr(plan, name) for plan in layers], dtype=float)
            for name in ("n_positions", "kernel_numel", "n_vectors", "n_statistics", "itemsize")
        }

    def at(self, widths: npt.ArrayLike) -> LayerSizes:
        """Return the sizes at widths of shape (n, n_groups)."""
        extended = extend(widths)
        return LayerSizes(
            outputs=self._gates.close(extended @ self._outputs.T, extended),
            weight_inputs=extended @ self._inputs.T,
            **self._constants,
            parameters=self._parameters.at(extended),
            parameter_itemsize=self._itemsize,
            buffer_bytes=self._buffers.at(extended),
            products=self._products.at(extended),
            peak_activation_bytes=self._activations.peak_bytes(extended),
        )


class RestTerms:
    """The parameters and floating-point buffers outside planned layers, as terms.

    Those that several layers share are taken off once for every layer too many.

    Args:
        supernet: The net to measure.
    """

    def __init__(self, supernet: Supernet) -> None:
        """Read the supernet's plans once."""
        grouping = supernet.grouping
        layers = [supernet.net.get_submodule(plan.name) for plan in grouping.layers]
        planned = {
            id(tensor)
            for layer in layers  # what is in one, an activation with weights, has its own plan
            for tensor in (*layer.parameters(recurse=False), *layer.buffers(recurse=False))
        }
        own = {plan.name: plan for plan in grouping.parameters}
        self.parameters: list[Term] = []
        self.itemsizes: list[int] = []
        self.buffers: list[Term] = []
        for name, parameter in supernet.net.named_parameters():
            if name in own:
                self._add(1, own[name].axes, own[name].blocks, parameter)
            elif id(parameter) not in planned:
                self._add(parameter.numel(), (), _blocks_around(grouping, name), parameter)
        for parameter, gate in _held_again(grouping, layers):
            self.parameters.append((-parameter.numel(), (), gate))
            self.itemsizes.append(parameter.element_size())
        for name, buffer in supernet.net.named_buffers():
            if id(buffer) not in planned and buffer.is_floating_point():
                n_bytes = buffer.numel() * buffer.element_size()
                self.buffers.append((n_bytes, (), all_of(_blocks_around(grouping, name))))

    def _add(
        self,
        constant: int,
        axes: tuple[Layout, ...],
        blocks: tuple[int, ...],
        tensor: Tensor,
    ) -> None:
        self.parameters.append((constant, axes, all_of(blocks)))
        self.itemsizes.append(tensor.element_size())


def _blocks_around(grouping: Grouping, name: str) -> tuple[int, ...]:
    return tuple(block.group for block in grouping.blocks if name.startswith(f"{block.path}."))


def _held_again(
    grouping: Grouping, layers: Sequence[nn.Module]
) -> Iterator[tuple[nn.Parameter, Gate]]:
    """Yield tied weights once for every plan too many, and where that plan is one too many."""
    holders: dict[int, list[tuple[int, ...]]] = {}
    for plan, layer in zip(grouping.layers, layers, strict=True):
        for parameter in layer.parameters(recurse=False):
            earlier = holders.setdefault(id(parameter), [])
            if earlier:
                # One of the earlier holders is there: a clause for each choice of their blocks.
                clauses = map(tuple, itertools.product(*earlier))
                yield parameter, (*all_of(plan.blocks), *clauses)
            earlier.append(plan.blocks)
