"""How channels pass through an attention, and which of its calls are followed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import fx
from torch import nn

from dpod_search.supernet.dimensions.products import plan_product
from dpod_search.supernet.dimensions.walk import Axes
from dpod_search.supernet.dimensions.walk import Discovery
from dpod_search.supernet.dimensions.walk import freeze_inputs
from dpod_search.supernet.layers.attention_graph import MASKS
from dpod_search.supernet.layers.attention_graph import OF_HEADS
from dpod_search.supernet.layers.attention_graph import SEPARATE
from dpod_search.supernet.layout import Layout
from dpod_search.supernet.layout import fixed
from dpod_search.supernet.plans import LayerPlan
from dpod_search.supernet.plans import MatrixPlan
from dpod_search.supernet.plans import Scratch
from dpod_search.supernet.tracing.tracer import argument
from dpod_search.supernet.tracing.tracer import name_of


def attend_by_heads(discovery: Discovery, node: fx.Node) -> Axes:
    """``nn.MultiheadAttention`` to the tokens themselves or to others: new heads, new embedding."""
    module = discovery.module(node)
    assert isinstance(module, nn.MultiheadAttention)
    # One call that is not followed leaves the module as it is, for all of them.
    calls = [n for n in node.graph.nodes if n.op == "call_module" and n.target == node.target]
    why = next(filter(None, (_why_not_followed(discovery, n, module) for n in calls)), None)
    given = {_list_given(discovery, n) for n in calls}
    if why is None and len(given) > 1:
        why = "has masks or other tokens in one call and not in another"
    if why:
        discovery.uncounted.append(discovery.where(node))
        return freeze_inputs(discovery, node, why)
    (what,) = given
    streams = _read_streams(discovery, node, module)
    name = str(node.target)
    known = discovery.layers.get(name)
    if known is None:
        heads = discovery.dims.add(module.embed_dim, name)
        discovery.dims.coarsen(heads[0], module.num_heads)
        discovery.dims.mark_heads(heads)
        output = discovery.dims.add(module.embed_dim, f"{name}.out_proj")
    else:
        heads, output = known.output[:1], discovery.layers[f"{name}.out_proj"].output
    if OF_HEADS["attn_mask"] in what:
        why = f"{discovery.where(node)} has a mask for each head"
        discovery.dims.freeze(heads, why)
        discovery.freeze_axes(argument(node, 5, "attn_mask", None), why)
    _keep_plans(discovery, node, streams, heads, output, what)
    if not what:
        query = _list_tokens(node)[0]
        places = [discovery.layout(query, 0), discovery.layout(query, 1)]
        outer = [*places, streams[0]]
        itemsize = discovery.layers[name].itemsize
        discovery.scratch[node] = _hold(itemsize, [*places, heads], outer, module)
    discovery.parts[node] = [{2: output}, {}]
    return {}


def _read_streams(
    discovery: Discovery, node: fx.Node, module: nn.MultiheadAttention
) -> list[Layout]:
    """Return the layouts of what queries, keys and values are made of."""
    where, sources = discovery.where(node), _list_tokens(node)
    for source in dict.fromkeys(sources):
        discovery.freeze_axes(source, f"{where} attends along it", but=2)
    streams = [discovery.layout(source, 2) for source in sources]
    known = discovery.layers.get(str(node.target))
    if module._qkv_same_embed_dim:  # one weight multiplies all of them
        for stream in streams[1:]:
            discovery.dims.unify(streams[0], stream, where)
    elif known is not None:
        for matrix, stream in zip(known.matrices, streams, strict=True):
            discovery.dims.unify(matrix.columns, stream, f"{where}, called again,")
    return [discovery.dims.expand(stream) for stream in streams]


def _keep_plans(  # noqa: PLR0917  # all that is known of a call
    discovery: Discovery,
    node: fx.Node,
    streams: Sequence[Layout],
    heads: Layout,
    output: Layout,
    given: frozenset[str],
) -> None:
    """Record both weights of an attention: in front of the heads and behind them."""
    module, name = discovery.module(node), str(node.target)
    assert isinstance(module, nn.MultiheadAttention)
    query, key, _ = _list_tokens(node)
    is_packed = module.in_proj_weight is not None
    inputs = streams[0]
    n_queries, n_keys = _plan_products(
        discovery, node, (query, key), (inputs, heads), is_packed=is_packed
    )
    matrices = (
        ()
        if is_packed
        else tuple(
            MatrixPlan(weight, "", heads, stream, n)
            for weight, stream, n in zip(
                SEPARATE, streams, (n_queries, n_keys, n_keys), strict=True
            )
        )
    )
    has_bias = int(module.in_proj_bias is not None)
    first = LayerPlan(
        name=name,
        kind="attention",
        output=heads * 3,
        weight_input=inputs,
        n_positions=min(n_queries, n_keys),
        kernel_numel=int(is_packed),
        n_vectors=has_bias,
        n_statistics=0,
        itemsize=module.out_proj.weight.element_size(),
        given=given,
        matrices=matrices,
    )
    last = replace(
        first,
        name=f"{name}.out_proj",
        kind="linear",
        output=output,
        weight_input=heads,
        n_positions=n_queries,
        kernel_numel=1,
        matrices=(),
    )
    where = discovery.where(node)
    discovery.keep(first, inputs, where)
    discovery.keep(last, heads, where)


def _plan_products(
    discovery: Discovery,
    node: fx.Node,
    tokens: tuple[fx.Node, fx.Node],
    widths: tuple[Layout, Layout],
    *,
    is_packed: bool,
) -> tuple[int, int]:
    """Note what an attention multiplies besides what plans of its two weights count.

    Args:
        discovery: The walk.
        node: The attention.
        tokens: Queries and keys.
        widths: Layouts of the embedding and of all heads' channels.
        is_packed: One weight makes queries, keys and values.

    Returns:
        Queries and keys of a sample; windows or rows of it may be folded into the batch.
    """
    inputs, heads = widths
    module = discovery.module(node)
    assert isinstance(module, nn.MultiheadAttention)
    along = int(module.batch_first)
    n_samples = discovery.n_samples(node)
    rows = discovery.shapes[tokens[0]][1 - along]
    queries, keys = (discovery.shapes[source][along] for source in tokens)
    for _ in ("scores", "values"):
        plan_product(discovery, node, [fixed(rows), fixed(queries), fixed(keys), heads])
    n_queries, n_keys = rows * queries // n_samples, rows * keys // n_samples
    # Of queries, or of keys and values, there are more than the fewest, which the plan counts.
    more = max(n_queries - n_keys, 2 * (n_keys - n_queries))
    if more and is_packed:
        plan_product(discovery, node, [fixed(n_samples), fixed(more), inputs, heads])
    return n_queries, n_keys


def _hold(
    itemsize: int,
    inner: Sequence[Layout],
    outer: Sequence[Layout],
    module: nn.MultiheadAttention,
) -> list[Scratch]:
    """Return what an attention holds, one after the other.

    Args:
        itemsize: Bytes of an element.
        inner: Axes of all heads' channels.
        outer: Axes of the embedding.
        module: The attention.
    """
    size = float(itemsize)
    # For each head and token, the logarithm of its sum of exponents.
    sums = 4.0 / (module.embed_dim // module.num_heads)
    return [
        Scratch(((3 * size, tuple(inner)),), has_result=False),
        Scratch(((4 * size + sums, tuple(inner)),), has_result=False, has_inputs=False),
        Scratch(((size, tuple(inner)),), has_result=True, has_inputs=False),
        # PyTorch's own module, which is extracted where heads fill the embedding, copies
        # queries, keys and values once more.
        Scratch(((6 * size, tuple(inner)),), has_result=False, if_equal=(inner[-1], outer[-1])),
    ]


def _list_tokens(node: fx.Node) -> list[Any]:
    return [argument(node, i, name, None) for i, name in enumerate(("query", "key", "value"))]


def _list_given(discovery: Discovery, node: fx.Node) -> frozenset[str]:
    """Say what a call gives besides tokens, of a mask also whether it holds truth values."""
    query, key, value = _list_tokens(node)
    found = {"memory"} if key is not query or value is not query else set()
    for i, name in MASKS:
        mask = argument(node, i, name, None)
        if mask is not None:
            found.add(name)
            if mask in discovery.truths:
                found.add(f"{name} of truths")
            if name in OF_HEADS and len(discovery.shapes[mask]) == 3:
                found.add(OF_HEADS[name])
    if _takes_weights(discovery, node):
        found.add("weights")
    return frozenset(found)


def _takes_weights(discovery: Discovery, node: fx.Node) -> bool:
    """Say whether attention weights are made, and used or kept, maybe with the whole result."""
    if argument(node, 4, "need_weights", True) is False:
        return False
    taken = [u for u in node.users if name_of(u) == "getitem" and u.args[1] == 1]
    return discovery.is_held(node) or any(map(discovery.is_used, taken))


def _why_not_followed(
    discovery: Discovery, node: fx.Node, module: nn.MultiheadAttention
) -> str | None:
    """Say why a call of an attention leaves it as it is; None if it can be narrowed."""
    tensors = _list_tokens(node)
    taken = [user for user in node.users if discovery.is_used(user)]
    if not all(name_of(user) == "getitem" and user.args[1] in (0, 1) for user in taken):
        return "gives its attention weights away"
    is_averaged = argument(node, 6, "average_attn_weights", True)
    if _takes_weights(discovery, node) and not is_averaged:
        return "gives the attention weights of each head away"
    if any(tensor not in discovery.shapes for tensor in tensors):
        return "attends to what is no tensor of the model's"
    if module.bias_k is not None or module.add_zero_attn:
        return "has keys or values of its own"
    if any(len(discovery.shapes[tensor]) != 3 for tensor in tensors):
        return "is given tokens without a batch axis"
    masks = [(name, argument(node, i, name, None)) for i, name in MASKS]
    sizes = [(n, len(discovery.shapes.get(mask, ()))) for n, mask in masks if mask is not None]
    is_known = all(size == 2 or (size == 3 and name in OF_HEADS) for name, size in sizes)
    return None if is_known else "has a mask of other axes"
