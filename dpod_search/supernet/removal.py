"""Taking residual blocks out of a model: out of the list that holds them, or leaving an identity."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch import nn

from dpod_search.inputs import ModelCall
from dpod_search.supernet.layout import Layout
from dpod_search.supernet.plans import BlockPlan
from dpod_search.supernet.plans import Grouping
from dpod_search.supernet.plans import Operation
from dpod_search.supernet.tracing.copying import copy_module
from dpod_search.supernet.tracing.operations import Operations
from dpod_search.supernet.tracing.operations import place_of
from dpod_search.supernet.tracing.trace import TracedModel


class RemovedBlock(nn.Module):
    """Stands in the place of a removed block while a supernet runs without it."""

    def forward(self, x: Tensor, *_args: object, **_options: object) -> Tensor:
        """Return what the block is given first."""
        return x


def is_list(module: nn.Module) -> bool:
    """Say whether a module runs through its parts one after the other, however many they are."""
    return is_chain(module) or isinstance(module, nn.ModuleList)


def remove_blocks(net: nn.Module, blocks: Iterable[BlockPlan]) -> None:
    """Take blocks out of a net.

    Args:
        net: It is changed. Those that leave their list are no longer in it, and numbered lists
            are numbered anew; in any other place an identity is left.
        blocks: The blocks.
    """
    chosen = list(blocks)
    by_owner: dict[str, list[BlockPlan]] = {}
    for block in chosen:
        if not any(block.path.startswith(f"{other.path}.") for other in chosen):
            by_owner.setdefault(block.path.rpartition(".")[0], []).append(block)
    # Inner lists first, while the paths of all of them still hold.
    for owner in sorted(by_owner, key=lambda path: -len(path.split("."))):
        parts = net.get_submodule(owner)._modules
        is_numbered = all(name.isdecimal() for name in parts)
        left = {block.path.rpartition(".")[2]: block.leaves_list for block in by_owner[owner]}
        kept = [
            (name, nn.Identity() if name in left else part)
            for name, part in parts.items()
            if not left.get(name)
        ]
        parts.clear()
        parts.update(
            (str(i) if is_numbered else name, part) for i, (name, part) in enumerate(kept)
        )


def find_places(
    traced: TracedModel, example: ModelCall, blocks: Sequence[BlockPlan]
) -> tuple[BlockPlan, ...]:
    """Find out which blocks can leave the list that holds them, and which leave an identity.

    A list may be more than run through: its parts may be numbered in the code, or go in pairs
    with those of another. What runs without some of its parts must be what runs with nothing in
    their places, operation by operation and weight by weight.

    Args:
        traced: The model.
        example: What it is called with.
        blocks: The blocks.
    """
    modules = dict(traced.model.named_modules())
    called = {call.path for call in traced.calls}
    lists: dict[str, list[BlockPlan]] = {}
    for block in blocks:
        owner = block.path.rpartition(".")[0]
        if is_list(modules[owner]):
            lists.setdefault(owner, []).append(replace(block, leaves_list=True))
    leaving = {o for o in lists if is_chain(modules[o]) and o in called}
    tried = {
        owner: _list_trials(held, _choose_alone(traced, owner, held))
        for owner, held in lists.items()
        if owner not in leaving
    }
    if tried:
        removals = _Removals(traced.model, example, blocks)
        # A list inside a block would not be tried while that is gone.
        paths = [f"{block.path}." for block in blocks]
        joined = {o: t for o, t in tried.items() if not o.startswith(tuple(paths))}
        if removals.are_same(_join_trials(list(joined.values()))):
            leaving |= joined.keys()
        left = [owner for owner in tried if owner not in leaving]
        leaving |= {owner for owner in left if removals.are_same(tried[owner])}
    return tuple(
        replace(block, leaves_list=block.path.rpartition(".")[0] in leaving) for block in blocks
    )


def _list_trials(blocks: list[BlockPlan], alone: Sequence[BlockPlan]) -> list[list[BlockPlan]]:
    """Return what is taken out of a list together: all its blocks, and each of some alone."""
    return [blocks, *([block] for block in alone if len(blocks) > 1)]


def _join_trials(lists: Sequence[Sequence[list[BlockPlan]]]) -> Iterator[list[BlockPlan]]:
    """Yield trials of several lists at once, each of which is made in one of them at least.

    Lists that go in pairs may lose the same part each and still fit. So any two are, in as many of
    these as a list has trials, in different ones of theirs: their numbers differ in a digit, by
    which they are shifted against each other.
    """
    if len(lists) == 1:
        yield from lists[0]
        return
    n_trials = max(2, *map(len, lists))  # a list of one block is tried beside all that is whole
    base = min(3, n_trials)
    power = 1
    while power < len(lists):
        for turn in range(n_trials):
            yield [
                block
                for number, trials in enumerate(lists)
                for block in _take_turn(trials, turn + number // power % base, n_trials)
            ]
        power *= base


def _take_turn(trials: Sequence[list[BlockPlan]], turn: int, n_trials: int) -> list[BlockPlan]:
    turn %= n_trials
    return trials[turn] if turn < len(trials) else []


def _choose_alone(
    traced: TracedModel, owner: str, blocks: Sequence[BlockPlan]
) -> Sequence[BlockPlan]:
    """Return the blocks of a list whose removal alone is tried: all, or the first and the last.

    What a list's code does with a part, and around it, can depend on the place of the part and on
    how many there are. Where each part is called once, all that happens without one of them is
    that those behind it have a place less in a shorter list, and those before it the same place in
    a shorter list. Without the first block the former is tried of every part behind it, without
    the last block the latter of every part before it; so between them nothing is left to try. That
    parts are told apart, and so nothing is taken for the same that is not, is due to their weights:
    each has some, and shares them with nothing.
    """
    first, last = blocks[0], blocks[-1]
    names = traced.model.get_submodule(owner)._modules
    paths = [f"{owner}.{name}".removeprefix(".") for name in names]
    between = paths[paths.index(first.path) : paths.index(last.path) + 1]
    n_calls = Counter(call.path for call in traced.calls)
    n_calls.update(str(node.target) for node in traced.graph.nodes if node.op == "call_module")
    is_clear = all(n_calls[path] == 1 for path in between) and _have_own_weights(
        traced.model, between
    )
    return (first, last) if is_clear and len(blocks) > 1 else blocks


def _have_own_weights(model: nn.Module, paths: Sequence[str]) -> bool:
    """Say whether modules have weights, each others than the other and the rest of the model."""
    parts = [model.get_submodule(path) for path in paths]
    inside = {part for module in parts for part in module.modules()}
    rest = [module for module in model.modules() if module not in inside]
    places = [{place_of(p) for p in part.parameters()} for part in parts]
    places_of_rest = {place_of(p) for module in rest for p in module.parameters(recurse=False)}
    n_places = sum(map(len, (*places, places_of_rest)))
    return all(places) and len(places_of_rest.union(*places)) == n_places


def is_chain(module: nn.Module) -> bool:
    """Say whether a module only runs others in a row: they are the blocks, not it."""
    return isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward


class _Removals:
    """Tells whether a model without some blocks does what it does elsewhere with them.

    Args:
        model: The model; it runs once here, and once for every trial, in copies.
        example: What it is called with.
        blocks: All that may be taken out.
    """

    def __init__(self, model: nn.Module, example: ModelCall, blocks: Iterable[BlockPlan]) -> None:
        """Note the operations of the whole model, and which of them lie in which blocks."""
        self._model, self._example = model, example
        tensors = (*model.parameters(), *model.buffers())
        self._shared: dict[int, Any] = {id(tensor): tensor for tensor in tensors}
        self._places = {place_of(tensor) for tensor in tensors}
        self._whole = Operations(self._places)
        copied = self._copy()
        for block in blocks:
            self._whole.watch(copied.get_submodule(block.path), block.path)
        try:
            with torch.no_grad(), self._whole:
                example.run(copied)
        except Exception:  # noqa: BLE001  # the user's code may raise anything: nothing is the same
            self._whole.seen.clear()

    def are_same(self, trials: Iterable[Sequence[BlockPlan]]) -> bool:
        """Say whether the model does the same but for the blocks, whichever of these are gone."""
        return all(map(self._is_same_without, trials))

    def _is_same_without(self, blocks: Sequence[BlockPlan]) -> bool:
        gone = {block.path for block in blocks}
        pairs = zip(self._whole.seen, self._whole.around, strict=True)
        wanted = [operation for operation, around in pairs if gone.isdisjoint(around)]
        dropped = self._copy()
        remove_blocks(dropped, blocks)
        operations = Operations(self._places, wanted)
        try:
            with torch.no_grad(), operations:
                self._example.run(dropped)
        except Exception:  # noqa: BLE001  # the user's code may raise anything: then it is not the same
            return False
        return bool(wanted) and operations.seen == wanted

    def _copy(self) -> nn.Module:
        return copy_module(self._model, dict(self._shared))


def find_inside(grouping: Grouping) -> dict[str, tuple[str, ...]]:
    """Find the groups that go with each block.

    A group of channels or heads is inside a block if all that its width touches lies there: every
    layer, parameter, product and attribute of the user's that it sizes, and every operation whose
    result has it. A block is inside those that its path names.

    Args:
        grouping: What discovery found.

    Returns:
        By block, in the order of the groups, the groups inside it, if there are any.
    """
    around: dict[int, set[int]] = {}  # by group, the blocks that hold all it touches
    for groups, blocks in _list_touches(grouping):
        for group in groups:
            around[group] = around.get(group, set(blocks)).intersection(blocks)
    for block in grouping.blocks:
        around[block.group] = set(_blocks_around(grouping, block.path)) - {block.group}
    names = [group.name for group in grouping.groups]
    inside = {
        names[block.group]: tuple(
            name for group, name in enumerate(names) if block.group in around.get(group, ())
        )
        for block in grouping.blocks
    }
    return {block: inner for block, inner in inside.items() if inner}


def _list_touches(grouping: Grouping) -> Iterator[tuple[set[int], tuple[int, ...]]]:
    """Yield what widths touch: the groups that size a thing, and the blocks that it is in."""
    for layer in grouping.layers:
        yield _groups_of(layer.layouts), layer.blocks
    for parameter in grouping.parameters:
        yield _groups_of(parameter.axes), parameter.blocks
    for product in grouping.products:
        yield _groups_of(product.factors), product.blocks
    for operation in grouping.operations:
        yield _groups_of(_layouts_of(operation)), operation.blocks
    for attribute in grouping.attributes:
        yield _groups_of((attribute.size,)), _blocks_around(grouping, attribute.module)


def _layouts_of(operation: Operation) -> Iterator[Layout]:
    yield from operation.axes
    for moment in operation.scratch:
        yield from moment.if_equal or ()
        for _, layouts in moment.terms:
            yield from layouts


def _groups_of(layouts: Iterable[Layout]) -> set[int]:
    return {s.group for layout in layouts for s in layout if s.group is not None}


def _blocks_around(grouping: Grouping, path: str) -> tuple[int, ...]:
    """Return the blocks that a module is in, or is."""
    return tuple(b.group for b in grouping.blocks if f"{path}.".startswith(f"{b.path}."))
