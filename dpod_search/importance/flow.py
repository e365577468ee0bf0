"""Where what a layer makes goes: into norms alone, into a layer that carries it on, or elsewhere."""

from __future__ import annotations

from dpod_search.supernet import LayerPlan
from dpod_search.supernet import Operation
from dpod_search.supernet import Supernet
from dpod_search.supernet import groups_of
from dpod_search.supernet import kind_of


_CONCATS = ("cat", "concat", "concatenate")


class Flow:
    """The graph of a supernet, asked from its layers downwards.

    Args:
        supernet: The supernet.
    """

    def __init__(self, supernet: Supernet) -> None:
        """Read the graph once."""
        grouping = supernet.grouping
        self._operations = grouping.operations
        self._layers = {plan.name: plan for plan in grouping.layers}
        self._modules = {name: supernet.net.get_submodule(name) for name in self._layers}
        self._users: list[list[int]] = [[] for _ in self._operations]
        self._calls: dict[str, list[int]] = {}
        for position, operation in enumerate(self._operations):
            for source in operation.inputs:
                self._users[source].append(position)
            if operation.kind == "module":
                self._calls.setdefault(operation.what, []).append(position)

    def norms_after(self, plan: LayerPlan) -> tuple[LayerPlan, ...]:
        """Return the norms that alone read what a layer makes; none if anything else reads it.

        Activations and concatenations between are passed. A norm outside the layer's blocks
        stands for other layers too.
        """
        ends = self._follow(plan.name, passes_norms=False)
        norms = [self._layer_at(position) for position in sorted(ends)]
        found = tuple(dict.fromkeys(norm for norm in norms if norm is not None))
        if None in norms or not all(
            self._is_scaling(norm) and norm.blocks == plan.blocks for norm in found
        ):
            return ()
        calls = {position for norm in found for position in self._calls[norm.name]}
        return found if calls == ends else ()

    def is_carried(self, plan: LayerPlan) -> bool:
        """Say whether depthwise or grouped layers alone read what a layer makes, as their own units."""
        ends = self._follow(plan.name, passes_norms=True)
        readers = [self._layer_at(position) for position in ends]
        return bool(readers) and all(
            reader is not None and self._carries(reader, plan) for reader in readers
        )

    def _carries(self, reader: LayerPlan, plan: LayerPlan) -> bool:
        is_grouped = getattr(self._modules[reader.name], "groups", 1) > 1
        makes_all = set(groups_of(plan.output)) <= set(groups_of(reader.output))
        return is_grouped and makes_all and reader.blocks == plan.blocks and reader != plan

    def _follow(self, name: str, *, passes_norms: bool) -> set[int]:
        """Return the operations at which the flow from a layer ends."""
        pending = [user for call in self._calls.get(name, []) for user in self._users[call]]
        seen: set[int] = set()
        ends: set[int] = set()
        while pending:
            position = pending.pop()
            if position in seen:
                continue
            seen.add(position)
            if self._passes(position, passes_norms=passes_norms):
                pending += self._users[position]
            else:
                ends.add(position)
        return ends

    def _passes(self, position: int, *, passes_norms: bool) -> bool:
        operation = self._operations[position]
        layer = self._layer_at(position)
        if layer is not None:
            # Activations have numbers for each channel too.
            return layer.kind == "norm" and (passes_norms or not self._is_norm(layer))
        if operation.kind == "output":
            return False
        return operation.what in _CONCATS or len(self._tensors_of(operation)) == 1

    def _tensors_of(self, operation: Operation) -> list[int]:
        # What has no axes, and is read by what has, is a size, or the parts of a tensor.
        return [i for i in operation.inputs if self._operations[i].axes] or [*operation.inputs]

    def _layer_at(self, position: int) -> LayerPlan | None:
        operation = self._operations[position]
        return self._layers.get(operation.what) if operation.kind == "module" else None

    def _is_norm(self, plan: LayerPlan) -> bool:
        return kind_of(self._modules[plan.name]).is_norm

    def _is_scaling(self, plan: LayerPlan) -> bool:
        weight = getattr(self._modules[plan.name], "weight", None)
        return self._is_norm(plan) and weight is not None
