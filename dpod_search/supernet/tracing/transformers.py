"""What PyTorch's transformers compute, without their branches to fused kernels.

Those look at settings, at values of masks, and at the mode; what is computed is the same. Masks
are added to the scores of attention, as numbers: what is True in a mask of truth values is left out.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn


def _encode_layer(
    layer: nn.TransformerEncoderLayer,
    src: Any,
    src_mask: Any = None,
    src_key_padding_mask: Any = None,
    is_causal: bool = False,
) -> Any:
    masks = (_as_numbers(src_mask), _as_numbers(src_key_padding_mask))
    attend = functools.partial(_attend, layer.self_attn, layer.dropout1, *masks)
    think = functools.partial(_think, layer, layer.dropout2)
    if layer.norm_first:
        normed = layer.norm1(src)
        tokens = src + attend(normed, normed)
        return tokens + think(layer.norm2(tokens))
    tokens = layer.norm1(src + attend(src, src))
    return layer.norm2(tokens + think(tokens))


def _decode_layer(  # noqa: PLR0917  # as the layer's own
    layer: nn.TransformerDecoderLayer,
    tgt: Any,
    memory: Any,
    tgt_mask: Any = None,
    memory_mask: Any = None,
    tgt_key_padding_mask: Any = None,
    memory_key_padding_mask: Any = None,
    tgt_is_causal: bool = False,
    memory_is_causal: bool = False,
) -> Any:
    attend = functools.partial(
        _attend, layer.self_attn, layer.dropout1, tgt_mask, tgt_key_padding_mask
    )
    look_up = functools.partial(
        _attend, layer.multihead_attn, layer.dropout2, memory_mask, memory_key_padding_mask
    )
    think = functools.partial(_think, layer, layer.dropout3)
    if layer.norm_first:
        normed = layer.norm1(tgt)
        tokens = tgt + attend(normed, normed)
        tokens = tokens + look_up(layer.norm2(tokens), memory)
        return tokens + think(layer.norm3(tokens))
    tokens = layer.norm1(tgt + attend(tgt, tgt))
    tokens = layer.norm2(tokens + look_up(tokens, memory))
    return layer.norm3(tokens + think(tokens))


def _attend(  # noqa: PLR0917  # bound in parts
    attention: Any, dropout: Any, mask: Any, padding: Any, tokens: Any, memory: Any
) -> Any:
    given = {"key_padding_mask": padding, "attn_mask": mask, "need_weights": False}
    return dropout(attention(tokens, memory, memory, **given)[0])


def _think(layer: Any, dropout: Any, tokens: Any) -> Any:
    return dropout(layer.linear2(layer.dropout(layer.activation(layer.linear1(tokens)))))


def _as_numbers(mask: Any) -> Any:
    """Turn a mask of truth values into one that is added to scores, as encoders do first."""
    if mask is None or mask.dtype != torch.bool:
        return mask
    return torch.zeros_like(mask, dtype=torch.get_default_dtype()).masked_fill(mask, -torch.inf)


def _encode(
    encoder: nn.TransformerEncoder,
    src: Any,
    mask: Any = None,
    src_key_padding_mask: Any = None,
    is_causal: bool | None = None,
) -> Any:
    if src_key_padding_mask is not None and encoder.use_nested_tensor:
        raise ValueError(
            "nn.TransformerEncoder sets what is padded to zero when it is not trained, and not "
            "when it is; make it with enable_nested_tensor=False"
        )
    for layer in encoder.layers:
        src = layer(src, src_mask=mask, src_key_padding_mask=src_key_padding_mask)
    return src if encoder.norm is None else encoder.norm(src)


def _decode(  # noqa: PLR0917  # as the decoder's own
    decoder: nn.TransformerDecoder,
    tgt: Any,
    memory: Any,
    tgt_mask: Any = None,
    memory_mask: Any = None,
    tgt_key_padding_mask: Any = None,
    memory_key_padding_mask: Any = None,
    tgt_is_causal: bool | None = None,
    memory_is_causal: bool = False,
) -> Any:
    for layer in decoder.layers:
        tgt = layer(
            tgt,
            memory,
            tgt_mask=tgt_mask,
            memory_mask=memory_mask,
            tgt_key_padding_mask=tgt_key_padding_mask,
            memory_key_padding_mask=memory_key_padding_mask,
        )
    return tgt if decoder.norm is None else decoder.norm(tgt)


def _translate(  # noqa: PLR0917  # as the model's own
    model: nn.Transformer,
    src: Any,
    tgt: Any,
    src_mask: Any = None,
    tgt_mask: Any = None,
    memory_mask: Any = None,
    src_key_padding_mask: Any = None,
    tgt_key_padding_mask: Any = None,
    memory_key_padding_mask: Any = None,
    src_is_causal: bool | None = None,
    tgt_is_causal: bool | None = None,
    memory_is_causal: bool = False,
) -> Any:
    for stream in (src, tgt):
        if stream.size(-1) != model.d_model:  # as it asks itself, of every width
            raise RuntimeError("the feature number of src and tgt must be equal to d_model")
    memory = model.encoder(src, mask=src_mask, src_key_padding_mask=src_key_padding_mask)
    return model.decoder(
        tgt,
        memory,
        tgt_mask=tgt_mask,
        memory_mask=memory_mask,
        tgt_key_padding_mask=tgt_key_padding_mask,
        memory_key_padding_mask=memory_key_padding_mask,
    )


# PyTorch's own modules that are looked into, and what they compute.
TRANSFORMERS: dict[type[nn.Module], Callable[..., Any]] = {
    nn.TransformerEncoderLayer: _encode_layer,
    nn.TransformerEncoder: _encode,
    nn.TransformerDecoderLayer: _decode_layer,
    nn.TransformerDecoder: _decode,
    nn.Transformer: _translate,
}
