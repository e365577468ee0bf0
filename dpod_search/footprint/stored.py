"""What a device stores of a net: how many numbers of which kind, as terms."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from dpod_search.footprint.monomials import Gate
from dpod_search.footprint.monomials import Term
from dpod_search.footprint.monomials import all_of
from dpod_search.supernet import Grouping
from dpod_search.supernet import LayerPlan
from dpod_search.supernet import Supernet
from dpod_search.supernet import kind_of


@dataclass(frozen=True)
class Stored:
    """Numbers of one kind that a device stores.

    Args:
        term: How many.
        itemsize: Bytes of each.
        is_learnt: They are parameters; else floating-point buffers, such as BatchNorm statistics.
    """

    term: Term
    itemsize: int
    is_learnt: bool = True


def list_stored(supernet: Supernet) -> Iterator[Stored]:
    """Yield all parameters and floating-point buffers of a net, in planned layers and outside.

    Those that several layers share are taken off once for every layer too many.
    """
    grouping = supernet.grouping
    layers = [supernet.net.get_submodule(plan.name) for plan in grouping.layers]
    planned = {
        id(tensor)
        for layer in layers  # what is in one, an activation with weights, has its own plan
        for tensor in (*layer.parameters(recurse=False), *layer.buffers(recurse=False))
    }
    own = {plan.name: plan for plan in grouping.parameters}
    for name, parameter in supernet.net.named_parameters():
        if name in own and id(parameter) not in planned:  # else the layer it is tied to has it
            term = Term(1, own[name].axes, all_of(own[name].blocks))
            yield Stored(term, parameter.element_size())
        elif name not in own and id(parameter) not in planned:
            term = Term(parameter.numel(), (), _blocks_around(grouping, name))
            yield Stored(term, parameter.element_size())
    yield from _held_again(grouping, layers)
    for name, buffer in supernet.net.named_buffers():
        if id(buffer) not in planned and buffer.is_floating_point():
            term = Term(buffer.numel(), (), _blocks_around(grouping, name))
            yield Stored(term, buffer.element_size(), is_learnt=False)
    for plan in grouping.layers:
        yield Stored(weigh(plan), plan.itemsize)
        yield Stored(_stretch(plan, plan.n_vectors), plan.itemsize)
        yield Stored(_stretch(plan, plan.n_statistics), plan.itemsize, is_learnt=False)


def weigh(plan: LayerPlan) -> Term:
    """Return the elements of a layer's weight."""
    return Term(plan.kernel_numel, (plan.output, plan.weight_input), all_of(plan.blocks))


def _stretch(plan: LayerPlan, n_vectors: int) -> Term:
    """Return the elements of some vectors with an element for each output channel."""
    return Term(n_vectors, (plan.output,), all_of(plan.blocks))


def _blocks_around(grouping: Grouping, name: str) -> Gate:
    return all_of([b.group for b in grouping.blocks if name.startswith(f"{b.path}.")])


def _held_again(grouping: Grouping, layers: Sequence[nn.Module]) -> Iterator[Stored]:
    """Take tied weights off once for every plan too many, where that plan is one too many."""
    holders: dict[int, list[tuple[int, ...]]] = {}
    for plan, layer in zip(grouping.layers, layers, strict=True):
        for name, parameter in layer.named_parameters(recurse=False):
            earlier = holders.setdefault(id(parameter), [])
            if earlier:
                # One of the earlier holders is there: a clause for each choice of their blocks.
                clauses = map(tuple, itertools.product(*earlier))
                gate = (*all_of(plan.blocks), *clauses)
                # Others than matrices are shared at full width alone.
                is_weight = name == kind_of(layer).weight and parameter.dim() == 2
                term = weigh(plan) if is_weight else Term(parameter.numel(), ())
                yield Stored(term.scale(-1)._replace(gate=gate), parameter.element_size())
            earlier.append(plan.blocks)
