"""Weights that more than one place reads: the layers that own them keep their full width.

A layer's weight is cut by that layer's own layouts. Whoever else reads it would see all of it in
the supernet and a part of it in the extracted subnet.
"""

from __future__ import annotations

from torch import fx

from dpod_search.supernet.dimensions.walk import Discovery


def freeze_tied_weights(discovery: Discovery, graph: fx.Graph) -> None:
    """Freeze every layer whose weight another module holds, or the model's own code reads."""
    holders: dict[int, list[str]] = {}
    for name, module in discovery.modules.items():
        for parameter in module.parameters(recurse=False):
            holders.setdefault(id(parameter), []).append(name)
    for name in discovery.layers:
        if name not in discovery.modules:
            continue
        for parameter in discovery.modules[name].parameters(recurse=False):
            others = [other for other in holders[id(parameter)] if other != name]
            if others:
                other = others[0] or "the model itself"
                discovery.freeze_layer(name, f"the weight of {name} is shared with {other}")
    for node in graph.nodes:
        owner = str(node.target).rpartition(".")[0]
        if node.op != "get_attr" or owner not in discovery.layers:
            continue
        if not discovery.nodes_inside(owner).issuperset(node.users):
            reason = f"{discovery.where(node)} is read outside its layer"
            discovery.freeze_layer(owner, reason)
