"""The table: which handler each operation has that is no layer with weights.

An operation that is not here freezes every dimension that touches it: never a guess.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from dpod_search.supernet.dimensions.basic import carry
from dpod_search.supernet.dimensions.basic import combine
from dpod_search.supernet.dimensions.basic import concatenate
from dpod_search.supernet.dimensions.basic import read_attribute
from dpod_search.supernet.dimensions.basic import read_shape
from dpod_search.supernet.dimensions.basic import stack
from dpod_search.supernet.dimensions.basic import turn
from dpod_search.supernet.dimensions.creating import CREATING_METHODS
from dpod_search.supernet.dimensions.creating import create
from dpod_search.supernet.dimensions.elementwise import BROADCASTING_FUNCTIONS
from dpod_search.supernet.dimensions.elementwise import BROADCASTING_METHODS
from dpod_search.supernet.dimensions.elementwise import ELEMENTWISE_FUNCTIONS
from dpod_search.supernet.dimensions.elementwise import ELEMENTWISE_METHODS
from dpod_search.supernet.dimensions.elementwise import ELEMENTWISE_MODULES
from dpod_search.supernet.dimensions.patterns import rearrange
from dpod_search.supernet.dimensions.products import add_product
from dpod_search.supernet.dimensions.products import attend
from dpod_search.supernet.dimensions.products import multiply_matrices
from dpod_search.supernet.dimensions.products import sum_products
from dpod_search.supernet.dimensions.reducing import REDUCING_FUNCTIONS
from dpod_search.supernet.dimensions.reducing import REDUCING_METHODS
from dpod_search.supernet.dimensions.reducing import compare
from dpod_search.supernet.dimensions.reducing import find_extremes
from dpod_search.supernet.dimensions.reducing import reduce_axes
from dpod_search.supernet.dimensions.reducing import reduce_twice
from dpod_search.supernet.dimensions.repeating import expand
from dpod_search.supernet.dimensions.repeating import repeat_elements
from dpod_search.supernet.dimensions.reshaping import flatten
from dpod_search.supernet.dimensions.reshaping import move_axes
from dpod_search.supernet.dimensions.reshaping import permute
from dpod_search.supernet.dimensions.reshaping import reshape
from dpod_search.supernet.dimensions.reshaping import resize
from dpod_search.supernet.dimensions.reshaping import transpose
from dpod_search.supernet.dimensions.reshaping import unflatten
from dpod_search.supernet.dimensions.selecting import choose_by_number
from dpod_search.supernet.dimensions.selecting import gather
from dpod_search.supernet.dimensions.selecting import order_along
from dpod_search.supernet.dimensions.selecting import write
from dpod_search.supernet.dimensions.spatial import SPATIAL_FUNCTIONS
from dpod_search.supernet.dimensions.spatial import SPATIAL_MODULES
from dpod_search.supernet.dimensions.spatial import fold
from dpod_search.supernet.dimensions.spatial import pad
from dpod_search.supernet.dimensions.spatial import slide
from dpod_search.supernet.dimensions.spatial import slide_along
from dpod_search.supernet.dimensions.spatial import unfold
from dpod_search.supernet.dimensions.splitting import gate_halves
from dpod_search.supernet.dimensions.splitting import shuffle_channels
from dpod_search.supernet.dimensions.splitting import shuffle_pixels
from dpod_search.supernet.dimensions.splitting import split
from dpod_search.supernet.dimensions.splitting import take_part
from dpod_search.supernet.dimensions.splitting import unbind
from dpod_search.supernet.dimensions.splitting import unshuffle_pixels
from dpod_search.supernet.dimensions.walk import Handler
from dpod_search.supernet.layers.elastic import KINDS
from dpod_search.supernet.layers.swin import attend_in_windows
from dpod_search.supernet.layers.swin import merge_patches
from dpod_search.supernet.layers.swin import spread_bias
from dpod_search.supernet.tracing.whole_calls import CONVOLUTIONS
from dpod_search.supernet.tracing.whole_calls import CREATORS


MODULE_HANDLERS: dict[type[nn.Module], Handler] = {
    nn.ChannelShuffle: shuffle_channels,
    nn.PixelShuffle: shuffle_pixels,
    nn.PixelUnshuffle: unshuffle_pixels,
    nn.GLU: gate_halves,
    **dict.fromkeys(ELEMENTWISE_MODULES, carry),
    **dict.fromkeys(SPATIAL_MODULES, slide),
    nn.Flatten: flatten,
    nn.Unflatten: unflatten,
    nn.Unfold: unfold,
    nn.Fold: fold,
    nn.CosineSimilarity: compare,
}
# Functions of other packages, by their full name so that none is imported for it.
NAMED_HANDLERS: dict[str, Handler] = {
    **{f"einops.einops.{name}": rearrange for name in ("rearrange", "reduce", "repeat")},
    "torchvision.ops.stochastic_depth.stochastic_depth": carry,
    "torchvision.models.swin_transformer._patch_merging_pad": merge_patches,
    "torchvision.models.swin_transformer._get_relative_position_bias": spread_bias,
    "torchvision.models.swin_transformer.shifted_window_attention": attend_in_windows,
}
# Likewise layers of other packages.
NAMED_MODULES: dict[str, Handler] = {
    f"einops.layers.torch.{name}": rearrange for name in ("Rearrange", "Reduce")
}
FUNCTION_HANDLERS: dict[Callable[..., Any], Handler] = {
    **dict.fromkeys(BROADCASTING_FUNCTIONS, combine),
    **dict.fromkeys(ELEMENTWISE_FUNCTIONS, carry),
    **dict.fromkeys(SPATIAL_FUNCTIONS, slide),
    **dict.fromkeys(REDUCING_FUNCTIONS, reduce_axes),
    **{call: handler for kind in KINDS.values() for call, handler in kind.calls.items()},
    **dict.fromkeys((torch.var_mean, torch.std_mean), reduce_twice),
    torch._weight_norm: combine,
    functional.pad: pad,
    functional.glu: gate_halves,
    torch.channel_shuffle: shuffle_channels,
    torch.pixel_shuffle: shuffle_pixels,
    torch.pixel_unshuffle: unshuffle_pixels,
    torch.flatten: flatten,
    torch.reshape: reshape,
    torch.permute: permute,
    **dict.fromkeys((torch.squeeze, torch.unsqueeze), resize),
    **dict.fromkeys((torch.t, torch.transpose, torch.swapaxes), transpose),
    **dict.fromkeys((torch.chunk, torch.split, torch.tensor_split), split),
    torch.unbind: unbind,
    operator.getitem: take_part,
    **dict.fromkeys((operator.matmul, torch.matmul, torch.bmm), multiply_matrices),
    **dict.fromkeys((torch.addmm, torch.baddbmm), add_product),
    torch.einsum: sum_products,
    functional.scaled_dot_product_attention: attend,
    **dict.fromkeys((torch.roll, torch.flip), turn),
    **dict.fromkeys((torch.max, torch.min), find_extremes),
    **dict.fromkeys(
        (torch.topk, torch.sort, torch.argsort, torch.cumsum, torch.cumprod), order_along
    ),
    **dict.fromkeys((torch.gather, torch.take_along_dim), gather),
    **dict.fromkeys((torch.movedim, torch.moveaxis), move_axes),
    torch.stack: stack,
    torch.unflatten: unflatten,
    torch.repeat_interleave: repeat_elements,
    torch.index_select: choose_by_number,
    torch.cosine_similarity: compare,
    functional.cosine_similarity: compare,
    functional.unfold: unfold,
    functional.fold: fold,
    operator.setitem: write,
    **dict.fromkeys((torch.cat, torch.concat, torch.concatenate), concatenate),
    **dict.fromkeys(CREATORS, create),
    **dict.fromkeys((torch.zeros_like, torch.ones_like, torch.rand_like, torch.randn_like), carry),
    getattr: read_attribute,
}  # fmt: skip  (a table)
METHOD_HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(BROADCASTING_METHODS, combine),
    **dict.fromkeys(ELEMENTWISE_METHODS, carry),
    **dict.fromkeys(REDUCING_METHODS, reduce_axes),
    **dict.fromkeys(CREATING_METHODS, create),
    "flatten": flatten,
    "view": reshape,
    "reshape": reshape,
    **dict.fromkeys(("view_as", "reshape_as"), reshape),
    "permute": permute,
    **dict.fromkeys(("squeeze", "unsqueeze"), resize),
    **dict.fromkeys(("t", "transpose", "swapaxes"), transpose),
    **dict.fromkeys(("chunk", "split", "tensor_split"), split),
    "unbind": unbind,
    **dict.fromkeys(("expand", "repeat"), expand),
    **dict.fromkeys(("matmul", "bmm"), multiply_matrices),
    **dict.fromkeys(("addmm", "baddbmm"), add_product),
    **dict.fromkeys(("roll", "flip"), turn),
    **dict.fromkeys(("max", "min"), find_extremes),
    **dict.fromkeys(("topk", "sort", "argsort", "cumsum", "cumprod"), order_along),
    **dict.fromkeys(("gather", "take_along_dim"), gather),
    **dict.fromkeys(("movedim", "moveaxis"), move_axes),
    "unflatten": unflatten,
    "repeat_interleave": repeat_elements,
    "index_select": choose_by_number,
    "unfold": slide_along,
    **dict.fromkeys(("size", "dim", "ndimension", "is_contiguous"), read_shape),
}

# These need no tensor as their result; all others do.
READERS: frozenset[Handler] = frozenset(
    {
        read_shape,
        read_attribute,
        split,
        unbind,
        take_part,
        find_extremes,
        reduce_twice,
        order_along,
        write,
    }
)
# These choose axes, and an axis that the model computes is not known here.
AXIS_HANDLERS: frozenset[Handler] = frozenset(
    {
        flatten,
        reduce_axes,
        reduce_twice,
        turn,
        gate_halves,
        concatenate,
        permute,
        transpose,
        move_axes,
    }
)

# Multiplications without a closed form, for the list of what is not counted.
MULTIPLICATIONS: frozenset[Callable[..., Any] | str] = frozenset(
    {
        *CONVOLUTIONS,
        functional.linear,
        functional.bilinear,
        functional.scaled_dot_product_attention,
        operator.matmul,
        torch.matmul,
        torch.mm,
        torch.bmm,
        torch.mv,
        torch.dot,
        torch.vdot,
        torch.inner,
        torch.addmm,
        torch.addmv,
        torch.addbmm,
        torch.baddbmm,
        torch.tensordot,
        torch.chain_matmul,
        torch.linalg.multi_dot,
        torch.einsum,
        operator.imatmul,
        functional.multi_head_attention_forward,
        torch.lstm,
        torch.gru,
        torch.rnn_tanh,
        torch.rnn_relu,
        torch.lstm_cell,
        torch.gru_cell,
        torch.rnn_tanh_cell,
        torch.rnn_relu_cell,
        "matmul",
        "mm",
        "bmm",
        "mv",
        "dot",
        "vdot",
        "inner",
        "addmm",
        "addmm_",
        "addmv",
        "addmv_",
        "addbmm",
        "addbmm_",
        "baddbmm",
        "baddbmm_",
    }
)  # fmt: skip  (a table)
