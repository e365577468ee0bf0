"""The table: which handler each operation has.

An operation that is not here freezes every dimension that touches it: never a guess.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from dpod_search.supernet.handlers import Handler
from dpod_search.supernet.handlers import average
from dpod_search.supernet.handlers import carry
from dpod_search.supernet.handlers import combine
from dpod_search.supernet.handlers import concatenate
from dpod_search.supernet.handlers import convolve
from dpod_search.supernet.handlers import flatten
from dpod_search.supernet.handlers import multiply_matrix
from dpod_search.supernet.handlers import normalize_batch
from dpod_search.supernet.handlers import normalize_groups
from dpod_search.supernet.handlers import normalize_layer
from dpod_search.supernet.handlers import pool
from dpod_search.supernet.handlers import read_attribute
from dpod_search.supernet.handlers import read_shape
from dpod_search.supernet.reshaping import permute
from dpod_search.supernet.reshaping import reshape
from dpod_search.supernet.reshaping import resize
from dpod_search.supernet.reshaping import split
from dpod_search.supernet.reshaping import take_part
from dpod_search.supernet.reshaping import transpose


_ACTIVATIONS = (
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.ELU,
    nn.SELU,
    nn.CELU,
    nn.GELU,
    nn.SiLU,
    nn.Mish,
    nn.Sigmoid,
    nn.Tanh,
    nn.Hardswish,
    nn.Hardsigmoid,
    nn.Hardtanh,
    nn.Softplus,
    nn.Softsign,
    nn.LogSigmoid,
    nn.Identity,
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
)  # fmt: skip  (a table)
_POOLS = (
    nn.MaxPool1d,
    nn.MaxPool2d,
    nn.MaxPool3d,
    nn.AvgPool1d,
    nn.AvgPool2d,
    nn.AvgPool3d,
    nn.AdaptiveAvgPool1d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveAvgPool3d,
    nn.AdaptiveMaxPool1d,
    nn.AdaptiveMaxPool2d,
    nn.AdaptiveMaxPool3d,
)  # fmt: skip  (a table)

MODULE_HANDLERS: dict[type[nn.Module], Handler] = {
    **dict.fromkeys((nn.Conv1d, nn.Conv2d, nn.Conv3d), convolve),
    nn.Linear: multiply_matrix,
    **dict.fromkeys((nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d), normalize_batch),
    **dict.fromkeys(_ACTIVATIONS, carry),
    **dict.fromkeys(_POOLS, pool),
    nn.Flatten: flatten,
    nn.LayerNorm: normalize_layer,
    nn.GroupNorm: normalize_groups,
}
# Modules and functions of other packages, by their full name so that none is imported for it.
NAMED_HANDLERS: dict[str, Handler] = {
    "torchvision.models.convnext.LayerNorm2d": normalize_layer,
    "torchvision.ops.stochastic_depth.stochastic_depth": carry,
}
FUNCTION_HANDLERS: dict[Callable[..., Any], Handler] = {
    **dict.fromkeys(
        (
            operator.add,
            operator.iadd,
            operator.sub,
            operator.isub,
            operator.mul,
            operator.imul,
            operator.truediv,
            operator.itruediv,
            torch.add,
            torch.sub,
            torch.mul,
            torch.div,
        ),
        combine,
    ),
    **dict.fromkeys(
        (
            torch.relu,
            torch.sigmoid,
            torch.tanh,
            functional.relu,
            functional.relu6,
            functional.leaky_relu,
            functional.elu,
            functional.gelu,
            functional.silu,
            functional.mish,
            functional.sigmoid,
            functional.tanh,
            functional.hardswish,
            functional.hardsigmoid,
            functional.hardtanh,
            functional.softplus,
            functional.dropout,
            functional.dropout2d,
            operator.neg,
        ),
        carry,
    ),
    **dict.fromkeys(
        (
            functional.max_pool2d,
            functional.avg_pool2d,
            functional.adaptive_avg_pool2d,
            functional.adaptive_max_pool2d,
            functional.max_pool1d,
            functional.avg_pool1d,
            functional.adaptive_avg_pool1d,
            torch.max_pool2d,
        ),
        pool,
    ),
    torch.flatten: flatten,
    torch.reshape: reshape,
    torch.permute: permute,
    **dict.fromkeys((torch.squeeze, torch.unsqueeze), resize),
    **dict.fromkeys((torch.transpose, torch.swapaxes), transpose),
    **dict.fromkeys((torch.chunk, torch.split), split),
    operator.getitem: take_part,
    torch.mean: average,
    **dict.fromkeys((torch.cat, torch.concat, torch.concatenate), concatenate),
    getattr: read_attribute,
}  # fmt: skip  (a table)
METHOD_HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(
        ("add", "add_", "sub", "sub_", "mul", "mul_", "div", "div_"),
        combine,
    ),
    **dict.fromkeys(
        ("relu", "relu_", "sigmoid", "tanh", "contiguous", "clone", "detach", "to", "float"),
        carry,
    ),
    "flatten": flatten,
    "view": reshape,
    "reshape": reshape,
    "permute": permute,
    **dict.fromkeys(("squeeze", "unsqueeze"), resize),
    "expand_as": combine,
    **dict.fromkeys(("transpose", "swapaxes"), transpose),
    **dict.fromkeys(("chunk", "split"), split),
    "mean": average,
    **dict.fromkeys(("size", "dim", "ndimension", "is_contiguous"), read_shape),
}

# These need no tensor as their result; all others do.
READERS: frozenset[Handler] = frozenset({read_shape, read_attribute, split, take_part})
# These choose axes, and an axis that the model computes is not known here.
AXIS_HANDLERS: frozenset[Handler] = frozenset({flatten, average, concatenate, permute, transpose})

# Multiplications without a closed form, for the list of what is not counted.
MULTIPLICATIONS: frozenset[Callable[..., Any] | str] = frozenset(
    {
        functional.conv1d,
        functional.conv2d,
        functional.conv3d,
        functional.conv_transpose1d,
        functional.conv_transpose2d,
        functional.conv_transpose3d,
        functional.linear,
        functional.bilinear,
        functional.scaled_dot_product_attention,
        operator.matmul,
        torch.matmul,
        torch.mm,
        torch.bmm,
        torch.addmm,
        torch.einsum,
        "matmul",
        "mm",
        "bmm",
    }
)  # fmt: skip  (a table)
