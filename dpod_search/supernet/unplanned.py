"""What has parameters that no plan covers: nothing of a model goes unsaid.

A layer is told by the dimensions that it makes or carries. What has parameters and is no layer
here, an LSTM on packed sequences, a layer of spectral normalisation, makes none. It is
told as a frozen dimension of its own, with the reason, and its macs as not counted.
"""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass

from torch import fx
from torch import nn
from torch.nn.utils import parametrize

from dpod_search.supernet.dimensions.walk import Discovery
from dpod_search.supernet.layers.elastic import KINDS
from dpod_search.supernet.layers.elastic import layer_type
from dpod_search.supernet.layout import is_elastic
from dpod_search.supernet.plans import FrozenDimension


# These have parameters and, by the convention of all counts here, no macs; nor have norms.
_WITHOUT_MACS = (nn.EmbeddingBag, nn.SyncBatchNorm)
# What PyTorch's modules call the width of what they make.
_WIDTHS = ("out_channels", "out_features", "embedding_dim", "hidden_size", "d_model", "embed_dim")


@dataclass(frozen=True)
class Unplanned:
    """Parameters that no plan covers.

    Args:
        name: Path of the module that is called as a whole, of the one that holds them, or of the
            parameter if the model itself does.
        parameters: Their paths.
        calls: The calls of that module.
    """

    name: str
    parameters: tuple[str, ...]
    calls: tuple[fx.Node, ...]


def find_unplanned(
    discovery: Discovery, graph: fx.Graph, told: Collection[str]
) -> tuple[Unplanned, ...]:
    """Find what has parameters that neither a layer's plan nor a dimension covers.

    Args:
        discovery: After its walk.
        graph: What it walked.
        told: Paths of the layers and parameters that groups and frozen dimensions name.

    Returns:
        In the order of the model.
    """
    calls: dict[str, list[fx.Node]] = {}
    for node in graph.nodes:
        if node.op == "call_module" and str(node.target) not in discovery.layers:
            calls.setdefault(str(node.target), []).append(node)
    found: dict[str, list[str]] = {}
    for path, module in discovery.modules.items():
        if path in discovery.layers:
            continue
        for parameter in module.parameters(recurse=False):
            name = discovery.path_of_parameter(parameter)
            if not _is_told(discovery, name, told):
                found.setdefault(_holder(path, calls) or name, []).append(name)
    return tuple(
        Unplanned(name, tuple(parameters), tuple(calls.get(name, ())))
        for name, parameters in found.items()
    )


def freeze_unplanned(
    discovery: Discovery, graph: fx.Graph, found: Sequence[Unplanned]
) -> list[FrozenDimension]:
    """Describe what no plan covers, each with the reasons."""
    return [
        FrozenDimension(
            item.name,
            _width_of(discovery.modules.get(item.name)),
            tuple(dict.fromkeys(_list_reasons(discovery, graph, item))),
            (item.name, *(name for name in item.parameters if name != item.name)),
        )
        for item in found
    ]


def list_uncounted(discovery: Discovery, found: Sequence[Unplanned]) -> list[str]:
    """Return the calls whose macs nobody has counted, besides those that the walk has noted."""
    return [
        discovery.where(node)
        for item in found
        for node in item.calls
        if any(_may_multiply(discovery, part, item) for part in discovery.module(node).modules())
    ]


def _may_multiply(discovery: Discovery, module: nn.Module, item: Unplanned) -> bool:
    own = (p for p in module.parameters(recurse=False) if p.numel() > 1)
    left = any(discovery.path_of_parameter(p) in item.parameters for p in own)
    kind = KINDS.get(layer_type(module))
    if kind is None:
        return left and type(module) not in _WITHOUT_MACS
    return left and kind.makes_units and kind.multiplies


def _is_told(discovery: Discovery, name: str, told: Collection[str]) -> bool:
    plan = discovery.parameters.get(name)
    # One without a width of its own, a number or a vector along a fixed axis, has none to tell.
    return plan is not None and (name in told or not any(map(is_elastic, plan.axes)))


def _holder(path: str, calls: Collection[str]) -> str:
    """Return the module around a path that is called as a whole, or the path itself."""
    names = path.split(".")
    prefixes = (".".join(names[:n]) for n in range(1, len(names) + 1))
    # What computes a weight lies below the module whose weight it is.
    return next((p for p in prefixes if p in calls), path.partition(".parametrizations.")[0])


def _width_of(module: nn.Module | None) -> int | None:
    found = (getattr(module, name, None) for name in _WIDTHS)
    return next((width for width in found if isinstance(width, int)), None)


def _list_reasons(discovery: Discovery, graph: fx.Graph, item: Unplanned) -> Iterator[str]:
    module = discovery.modules.get(item.name)
    computed = [] if module is None else list(_list_computed(module))
    names = frozenset(item.parameters)
    reads = [node for node in graph.nodes if node.op == "get_attr" and node.target in names]
    if computed:
        yield from computed
    elif item.name in discovery.refusals:
        yield discovery.refusals[item.name]
    elif item.calls:
        own = ", ".join(name.removeprefix(f"{item.name}.") for name in item.parameters)
        yield f"{discovery.where(item.calls[0])} has a handler that does not cut {own}"
    elif not reads:
        yield "nothing in the trace of the model uses it"
    for node in () if computed else reads:
        yield from _list_reasons_of_read(discovery, node)


def _list_reasons_of_read(discovery: Discovery, node: fx.Node) -> Iterator[str]:
    name = str(node.target)
    plan = discovery.parameters.get(name)
    if plan is None and "." not in name:
        yield f"the model is one layer, a {type(discovery.modules['']).__name__}"
        return
    if plan is None:
        for user in node.users:
            yield f"{discovery.where(user)} reads {name} outside its layer"
        return
    dims = [
        discovery.dims.dim_of(s) for layout in plan.axes for s in discovery.dims.expand(layout)
    ]
    reasons = [reason for dim in dims if dim is not None for reason in dim.reasons]
    yield from reasons or ("no layer makes what it is as wide as",)


def _list_computed(module: nn.Module) -> Iterator[str]:
    """Say which tensors of a module are computed before it runs, and by what."""
    steps_of = getattr(module, "parametrizations", None)
    if parametrize.is_parametrized(module) and isinstance(steps_of, nn.ModuleDict):
        for tensor, steps in steps_of.items():
            names = ", ".join(type(step).__name__.lstrip("_") for step in steps.children())
            of_all = ", which keeps buffers of the whole weight" if list(steps.buffers()) else ""
            yield f"its {tensor} is computed by a parametrization ({names}){of_all}"
    for hook in module._forward_pre_hooks.values():
        if type(hook).__module__.startswith("torch.nn.utils."):
            tensor = getattr(hook, "name", getattr(hook, "_tensor_name", "weight"))
            yield f"its {tensor} is computed by a hook ({type(hook).__name__})"
