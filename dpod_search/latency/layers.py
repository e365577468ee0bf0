"""The layers of a supernet as a latency table knows them."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from dpod_search.latency.computed import list_steps
from dpod_search.latency.placed import PlacedLayer
from dpod_search.latency.specs import ACTIVATIONS
from dpod_search.latency.specs import NORM
from dpod_search.latency.specs import LayerSpec
from dpod_search.latency.specs import keep_followers
from dpod_search.latency.specs import read_spec
from dpod_search.latency.table import hash_nets
from dpod_search.latency.weight_calls import WeightCall
from dpod_search.latency.weight_calls import list_weight_calls
from dpod_search.latency.weight_calls import record_calls
from dpod_search.rng import torch_generator
from dpod_search.supernet import LayerPlan
from dpod_search.supernet import Operation
from dpod_search.supernet import Subnet
from dpod_search.supernet import Supernet
from dpod_search.supernet import full_size
from dpod_search.supernet import kind_of
from dpod_search.widths import Widths
from dpod_search.widths import WidthSpace


_BY_CLASS: dict[type[object], str] = {kind: name for name, kind in ACTIVATIONS.items()}


def list_placed_layers(supernet: Supernet) -> tuple[PlacedLayer, ...]:
    """List the layers of a supernet that can be made anew, each call of one by itself.

    Args:
        supernet: It is run once, on random pictures, as the full net.

    Returns:
        The layers in the order of the model, and behind them calls of functions with weights of no
        layer's; those of no kind a table knows are left out.
    """
    net = Subnet(supernet, supernet.space.full).extract().cpu().eval()
    modules = dict(net.named_modules())
    grouping = supernet.grouping
    plans = [plan for plan in grouping.layers if kind_of(modules[plan.name]).rebuilder]
    shapes: dict[str, list[tuple[int, ...]]] = {plan.name: [] for plan in plans}
    for name, seen in shapes.items():
        modules[name].register_forward_pre_hook(
            lambda _layer, inputs, named, seen=seen: seen.append(
                tuple(inputs[0].shape if inputs else named["input"].shape)
            ),
            with_kwargs=True,
        )
    generator = torch_generator(0, "latency")
    images = torch.randn((1, *supernet.example_shape), generator=generator)
    planned = frozenset(plan.name for plan in grouping.layers)
    whole = planned | {o.what for o in grouping.operations if o.kind == "module"}
    recorder = record_calls(net, [modules[name] for name in whole if name in modules], images)
    chains = _Chains(grouping.operations, modules)
    placed = [
        part
        for plan in plans
        for shape in shapes[plan.name]
        for part in _place(plan, modules[plan.name], shape, chains)
    ]
    calls = list_weight_calls(grouping.operations, planned, recorder)
    return (*placed, *_place_calls(calls, grouping.operations, chains))


def hash_model(supernet: Supernet) -> str:
    """Return the fingerprint of a supernet's nets, by which tables and requests know them."""
    specs = [layer.spec for layer in list_placed_layers(supernet)]
    return hash_nets(supernet.space, supernet.example_shape, specs)


def _place(
    plan: LayerPlan, layer: nn.Module, shape: tuple[int, ...], chains: _Chains
) -> Iterator[PlacedLayer]:
    spec = read_spec(layer, shape, chains.find_followers(plan.name))
    if spec is None:
        return
    blocks = tuple(sorted(plan.blocks))
    for part in spec.rebuilder.take_apart(spec, plan):
        full = (full_size(part.inputs), full_size(part.output))
        own = replace(spec, n_layers=part.n_layers, full=full)
        yield PlacedLayer(plan.name, own, part.output, part.inputs, blocks)


def _place_calls(
    calls: Sequence[WeightCall], operations: Sequence[Operation], chains: _Chains
) -> Iterator[PlacedLayer]:
    for call in calls:
        steps = list_steps(operations, call.weight)
        if steps is None:
            continue
        operation, geometry = operations[call.place], call.geometry
        followers = keep_followers(geometry, chains.find_followers_of(call.place))
        full = (full_size(call.inputs), full_size(call.output))
        spec = LayerSpec(**vars(geometry), followers=followers, full=full, weight=steps)
        blocks = tuple(sorted(operation.blocks))
        yield PlacedLayer(operation.name, spec, call.output, call.inputs, blocks)


class _Chains:
    """What follows a layer with nothing else reading its result."""

    def __init__(self, operations: tuple[Operation, ...], modules: dict[str, nn.Module]) -> None:
        self._operations = operations
        self._modules = modules
        self._readers: dict[int, list[int]] = {}
        for reader, operation in enumerate(operations):
            for source in operation.inputs:
                self._readers.setdefault(source, []).append(reader)
        self._places = {
            operation.what: i
            for i, operation in enumerate(operations)
            if operation.kind == "module"
        }

    def find_followers(self, name: str) -> tuple[str, ...]:
        """Return the norm and the activations that follow a layer."""
        place = self._places.get(name)
        return () if place is None else self.find_followers_of(place)

    def find_followers_of(self, place: int) -> tuple[str, ...]:
        """Return them for the operation at a position."""
        return tuple(self._walk(place))

    def _walk(self, place: int) -> Iterator[str]:
        has_norm = False
        while len(readers := self._readers.get(place, [])) == 1:
            place = readers[0]
            what = self._name(self._operations[place])
            if what is None or (what == NORM and has_norm):
                return
            has_norm = has_norm or what == NORM
            yield what

    def _name(self, operation: Operation) -> str | None:
        if operation.kind == "module":
            module = self._modules.get(operation.what)
            is_norm = module is not None and kind_of(module).folds
            return NORM if is_norm else _BY_CLASS.get(type(module))
        name = operation.what.rstrip("_")
        return name if operation.kind in ("function", "method") and name in ACTIVATIONS else None


def sample_subnets(space: WidthSpace, n: int, rng: np.random.Generator) -> list[Widths]:
    """Draw different subnets that spread over all costs, to be measured.

    Args:
        space: Where from.
        n: How many, if the space has so many.
        rng: What draws.

    Returns:
        The full net and the smallest one, then subnets about uniform ones from the narrowest to
        the widest, some without some of their blocks.
    """
    found = dict.fromkeys([space.full, space.canonical(space.smallest)])
    for attempt in range(50 * n):
        if len(found) >= n:
            break
        found.setdefault(space.canonical(space.from_rungs(_draw(space, attempt, n, rng))))
    return list(found)


def _draw(space: WidthSpace, attempt: int, n: int, rng: np.random.Generator) -> list[int]:
    centre = (attempt % n + rng.uniform()) / n
    p_block = rng.uniform(0.5, 1)
    rungs = []
    for widths in space.rungs:
        last = len(widths) - 1
        if widths[0] == 0:
            rungs.append(int(rng.uniform() < p_block))
            continue
        rung = round(centre * last + rng.normal(0, 0.2 * last))
        rungs.append(min(last, max(0, rung)))
    return rungs
