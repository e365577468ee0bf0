"""The layers of a supernet as a latency table knows them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from dpod_search.latency.specs import ACTIVATIONS
from dpod_search.latency.specs import NORM
from dpod_search.latency.specs import LayerSpec
from dpod_search.latency.specs import read_spec
from dpod_search.latency.table import hash_nets
from dpod_search.rng import torch_generator
from dpod_search.supernet import LayerPlan
from dpod_search.supernet import Layout
from dpod_search.supernet import Operation
from dpod_search.supernet import Subnet
from dpod_search.supernet import Supernet
from dpod_search.supernet import active_size
from dpod_search.supernet import full_size
from dpod_search.supernet import groups_of
from dpod_search.supernet import kind_of
from dpod_search.widths import Widths
from dpod_search.widths import WidthSpace


_BY_CLASS: dict[type[object], str] = {kind: name for name, kind in ACTIVATIONS.items()}


@dataclass(frozen=True)
class PlacedLayer:
    """A layer in its place in a supernet.

    Args:
        name: Its path in the user's model.
        spec: What it is to a clock.
        output: Layout of its output channels.
        inputs: Layout of dimension 1 of its weight.
        blocks: Groups of the removable blocks that it is in, ascending.
    """

    name: str
    spec: LayerSpec
    output: Layout
    inputs: Layout
    blocks: tuple[int, ...]

    @property
    def groups(self) -> tuple[int, ...]:
        """The groups that its latency depends on, ascending."""
        found = {segment.group for layout in (self.output, self.inputs) for segment in layout}
        return tuple(sorted(group for group in found if group is not None))

    def find_widths(self, space: WidthSpace) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the widths that its inputs and its outputs can have, ascending.

        Where several groups make them up, those of all groups narrowed alike.
        """
        return _find_sizes(self.inputs, space), _find_sizes(self.output, space)


@torch.no_grad()
def list_placed_layers(supernet: Supernet) -> tuple[PlacedLayer, ...]:
    """List the layers of a supernet that can be made anew, each call of one by itself.

    Args:
        supernet: It is run once, on random pictures, as the full net.

    Returns:
        The layers in the order of the model; those of no kind a table knows are left out.
    """
    net = Subnet(supernet, supernet.space.full).extract().cpu().eval()
    modules = dict(net.named_modules())
    plans = [plan for plan in supernet.grouping.layers if kind_of(modules[plan.name]).rebuilder]
    shapes: dict[str, list[tuple[int, ...]]] = {plan.name: [] for plan in plans}
    for name, seen in shapes.items():
        modules[name].register_forward_pre_hook(
            lambda _layer, inputs, named, seen=seen: seen.append(
                tuple(inputs[0].shape if inputs else named["input"].shape)
            ),
            with_kwargs=True,
        )
    generator = torch_generator(0, "latency")
    net(torch.randn((1, *supernet.example_shape), generator=generator))
    chains = _Chains(supernet.grouping.operations, modules)
    return tuple(
        placed
        for plan in plans
        for shape in shapes[plan.name]
        for placed in _place(plan, modules[plan.name], shape, chains)
    )


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
        return () if place is None else tuple(self._walk(place))

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


def _find_sizes(layout: Layout, space: WidthSpace) -> tuple[int, ...]:
    groups = groups_of(layout)
    if not groups:
        return (active_size(layout, ()),)
    longest = max(len(space.rungs[group]) for group in groups)
    sizes = set()
    for place in np.linspace(0, 1, longest):
        widths = [rungs[round(float(place) * (len(rungs) - 1))] for rungs in space.rungs]
        sizes.add(active_size(layout, widths))
    return tuple(sorted(sizes))


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
