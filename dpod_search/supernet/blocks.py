"""Residual blocks that a subnet can do without.

A block ``y = x + f(x)`` computes the identity once ``f`` is gone, so it can be taken out of the
model as a whole. Blocks are one of the granularities of MDP (Sun et al., 2025, arXiv 2504.02168).
"""

from __future__ import annotations

import operator

import torch
from torch import fx
from torch import nn

from dpod_search.supernet.dimensions.basic import carry
from dpod_search.supernet.dimensions.walk import Discovery
from dpod_search.supernet.lookup import Handlers
from dpod_search.supernet.removal import is_chain
from dpod_search.supernet.tracing.trace import TracedModel
from dpod_search.supernet.tracing.tracer import Call


_ADDITIONS = (operator.add, operator.iadd, torch.add)


def find_blocks(discovery: Discovery, traced: TracedModel) -> list[Call]:
    """Find the modules whose removal leaves the identity.

    Such a module is called once, with one tensor, and returns one that is the same tensor plus
    what its layers make of it, perhaps behind an activation as in a ResNet.

    Args:
        discovery: After its walk.
        traced: The graph.

    Returns:
        Their calls, in the order of the model.
    """
    n_calls: dict[str, int] = {}
    for call in traced.calls:
        n_calls[call.path] = n_calls.get(call.path, 0) + 1
    handlers = Handlers()
    found = [
        call
        for call in traced.calls
        if n_calls[call.path] == 1
        and not is_chain(discovery.modules[call.path])
        and not _is_first_of_encoder(call.path, discovery)
        and _is_residual(call, handlers, discovery)
        and _keeps_to_itself(call, discovery, traced.graph)
        and not _writes_outside(call, traced)
    ]
    order = {node: i for i, node in enumerate(traced.graph.nodes)}
    return sorted(found, key=lambda call: order[call.nodes[0]])


def _is_first_of_encoder(path: str, discovery: Discovery) -> bool:
    """Say whether PyTorch's encoder asks a module how all of them are built: it must stay."""
    owner, _, name = path.rpartition(".")
    encoder = discovery.modules.get(owner.rpartition(".")[0])
    return name == "0" and isinstance(encoder, nn.TransformerEncoder)


def _is_residual(call: Call, handlers: Handlers, discovery: Discovery) -> bool:
    """Say whether a module returns its input plus something."""
    inputs = [value for value in call.inputs if value is not None]
    source, result = (inputs[0] if len(inputs) == 1 else None), call.output
    if not isinstance(source, fx.Node) or not isinstance(result, fx.Node):
        return False
    shapes = discovery.shapes
    if source not in shapes or result is source or shapes.get(result) != shapes[source]:
        return False
    inside = set(call.nodes)
    n_additions = 0
    while result is not source:
        if result not in inside:
            return False
        operands = discovery.tensor_inputs(result)
        if _is_addition(result):
            n_additions += 1
            nexts = [node for node in operands if _leads_to(node, source, inside, discovery)]
        else:
            passes = handlers.find(result, discovery.modules) is carry
            nexts = operands if passes else []
        if len(nexts) != 1:
            return False
        result = nexts[0]
    return n_additions > 0


def _leads_to(node: fx.Node, source: fx.Node, inside: set[fx.Node], discovery: Discovery) -> bool:
    """Say whether a tensor is the block's input, or that plus something."""
    pending = [node]
    while pending:
        node = pending.pop()
        if node is source:
            return True
        if node not in inside or node not in discovery.shapes:
            continue
        if _is_addition(node) or _is_identity(node, discovery):
            pending += discovery.tensor_inputs(node)
    return False


def _is_identity(node: fx.Node, discovery: Discovery) -> bool:
    if node.op != "call_module":
        return False
    return isinstance(discovery.modules[str(node.target)], nn.Identity | nn.Dropout)


def _is_addition(node: fx.Node) -> bool:
    if node.op == "call_method":
        return node.target in ("add", "add_")
    return node.op == "call_function" and node.target in _ADDITIONS and not node.kwargs


def _writes_outside(call: Call, traced: TracedModel) -> bool:
    """Say whether a module assigns to parts of what it is given, which others read, too."""
    inside = set(call.nodes)
    for node in call.nodes:
        is_write = node.target is operator.setitem or node.target == "copy_"
        target = node.args[0] if is_write else None
        while isinstance(target, fx.Node) and target in traced.reuses and target in inside:
            target = traced.reuses[target]  # a view
        if isinstance(target, fx.Node) and target not in inside:
            return True
    return False


def _keeps_to_itself(call: Call, discovery: Discovery, graph: fx.Graph) -> bool:
    """Say whether all of a module happens within its one call, and it has layers."""
    inside = set(call.nodes)
    prefix = f"{call.path}."
    for node in graph.nodes:
        is_call = node.op in ("call_module", "get_attr")
        if is_call and node not in inside and str(node.target).startswith(prefix):
            return False
        if node in inside and node is not call.output and set(node.users) - inside:
            return False
    return any(name.startswith(prefix) for name in discovery.layers)
