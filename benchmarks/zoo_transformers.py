"""Nets of transformers for the wide zoo, small ones from a configuration; nothing is downloaded."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch import nn
from zoo_nets import ZooNet
from zoo_nets import draw_pictures
from zoo_nets import draw_words


N_WORDS = 200
LENGTH = 16
SMALL = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
}
WORDS: dict[str, Any] = {**SMALL, "vocab_size": N_WORDS, "num_labels": 5, "pad_token_id": 0}
GIVEN: dict[str, Any] = {**WORDS, "use_cache": False}  # decoders
GROUPED = {**GIVEN, "num_key_value_heads": 2}
VISION: dict[str, Any] = {**SMALL, "image_size": 32, "patch_size": 8, "num_labels": 10}
SEQ2SEQ: dict[str, Any] = {
    "vocab_size": N_WORDS,
    "d_model": 64,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 128,
    "decoder_ffn_dim": 128,
    "use_cache": False,
}
T5: dict[str, Any] = {
    "vocab_size": N_WORDS,
    "d_model": 64,
    "d_kv": 16,
    "d_ff": 128,
    "num_layers": 2,
    "num_heads": 4,
    "use_cache": False,
}
STAGES = [16, 32, 64, 96]
SWIN: dict[str, Any] = {
    "image_size": 64,
    "patch_size": 4,
    "embed_dim": 16,
    "depths": [2, 2],
    "num_heads": [2, 4],
    "window_size": 4,
    "num_labels": 10,
}
SOUND: dict[str, Any] = {
    **SMALL,
    "conv_dim": (32, 32, 32),
    "conv_stride": (5, 2, 2),
    "conv_kernel": (10, 3, 2),
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "num_labels": 5,
}


def _ids(n: int) -> dict[str, Any]:
    return {"input_ids": draw_words(n, LENGTH, N_WORDS)}


def _masked(n: int) -> dict[str, Any]:
    ids = _ids(n)
    mask = torch.ones_like(ids["input_ids"])
    mask[-1, LENGTH - 4 :] = 0  # the last sample is padded
    return {**ids, "attention_mask": mask}


def _both(n: int) -> dict[str, Any]:
    return {**_ids(n), "decoder_input_ids": draw_words(n, LENGTH - 4, N_WORDS)}


def _pixels(size: int) -> Callable[[int], dict[str, Any]]:
    return lambda n: {"pixel_values": draw_pictures(n, 3, size, size)}


def _clip(n: int) -> dict[str, Any]:
    return {**_ids(n), "pixel_values": draw_pictures(n, 3, 32, 32)}


def _mels(n: int) -> dict[str, Any]:
    return {"input_features": draw_pictures(n, 16, 40)}


def _sound(n: int) -> dict[str, Any]:
    return {"input_values": draw_pictures(n, 800)}


_Make = Callable[[int], dict[str, Any]]
_TOWERS = {
    "text_config": {**WORDS, "max_position_embeddings": 32, "eos_token_id": 2},
    "vision_config": VISION,
}
# Name: class, class of its configuration, its settings, what it is called with.
NETS: dict[str, tuple[str, str, dict[str, Any], _Make]] = {
    "bert": ("BertForSequenceClassification", "BertConfig", WORDS, _masked),
    "bert_masked_lm": ("BertForMaskedLM", "BertConfig", WORDS, _masked),
    "distilbert": (
        "DistilBertForSequenceClassification",
        "DistilBertConfig",
        {"vocab_size": N_WORDS, "dim": 64, "n_layers": 2, "n_heads": 4, "hidden_dim": 128},
        _masked,
    ),
    "roberta": ("RobertaForSequenceClassification", "RobertaConfig", WORDS, _masked),
    "electra": (
        "ElectraForSequenceClassification",
        "ElectraConfig",
        {**WORDS, "embedding_size": 32},
        _masked,
    ),
    "deberta": ("DebertaForSequenceClassification", "DebertaConfig", WORDS, _masked),
    "deberta_v2": (
        "DebertaV2ForSequenceClassification",
        "DebertaV2Config",
        {**WORDS, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
        _masked,
    ),
    "albert": (
        "AlbertForSequenceClassification",
        "AlbertConfig",
        {**WORDS, "embedding_size": 32},
        _masked,
    ),
    "mpnet": ("MPNetForSequenceClassification", "MPNetConfig", WORDS, _masked),
    "convbert": (
        "ConvBertForSequenceClassification",
        "ConvBertConfig",
        {**WORDS, "embedding_size": 64},
        _masked,
    ),
    "squeezebert": (
        "SqueezeBertForSequenceClassification",
        "SqueezeBertConfig",
        {**WORDS, "embedding_size": 64},
        _masked,
    ),
    "fnet": ("FNetForSequenceClassification", "FNetConfig", WORDS, _ids),
    "modernbert": (
        "ModernBertForSequenceClassification",
        "ModernBertConfig",
        {**WORDS, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2},
        _masked,
    ),
    "esm": (
        "EsmForSequenceClassification",
        "EsmConfig",
        {**WORDS, "mask_token_id": 2, "position_embedding_type": "rotary"},
        _masked,
    ),
    "t5_encoder": ("T5ForTokenClassification", "T5Config", {**T5, "num_labels": 5}, _masked),
    "t5": ("T5ForConditionalGeneration", "T5Config", T5, _both),
    "bart": ("BartForConditionalGeneration", "BartConfig", SEQ2SEQ, _both),
    "marian": ("MarianMTModel", "MarianConfig", {**SEQ2SEQ, "pad_token_id": 0}, _both),
    "gpt2": (
        "GPT2LMHeadModel",
        "GPT2Config",
        {"vocab_size": N_WORDS, "n_embd": 64, "n_layer": 2, "n_head": 4, "use_cache": False},
        _masked,
    ),
    "gpt_neo": (
        "GPTNeoForCausalLM",
        "GPTNeoConfig",
        {
            "vocab_size": N_WORDS,
            "hidden_size": 64,
            "num_layers": 2,
            "num_heads": 4,
            "intermediate_size": 128,
            "attention_types": [[["global", "local"], 1]],
            "window_size": 8,
            "use_cache": False,
        },
        _masked,
    ),
    "gpt_neox": ("GPTNeoXForCausalLM", "GPTNeoXConfig", GIVEN, _masked),
    "opt": (
        "OPTForCausalLM",
        "OPTConfig",
        {
            "vocab_size": N_WORDS,
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "ffn_dim": 128,
            "word_embed_proj_dim": 64,
            "use_cache": False,
        },
        _masked,
    ),
    "llama": ("LlamaForCausalLM", "LlamaConfig", GROUPED, _masked),
    "mistral": ("MistralForCausalLM", "MistralConfig", GROUPED, _ids),
    "qwen2": ("Qwen2ForCausalLM", "Qwen2Config", GROUPED, _ids),
    "qwen3": ("Qwen3ForCausalLM", "Qwen3Config", {**GROUPED, "head_dim": 16}, _ids),
    "gemma": ("GemmaForCausalLM", "GemmaConfig", {**GROUPED, "head_dim": 16}, _ids),
    "phi": ("PhiForCausalLM", "PhiConfig", GIVEN, _ids),
    "falcon": ("FalconForCausalLM", "FalconConfig", {**GIVEN, "multi_query": True}, _ids),
    "bloom": (
        "BloomForCausalLM",
        "BloomConfig",
        {"vocab_size": N_WORDS, "hidden_size": 64, "n_layer": 2, "n_head": 4, "use_cache": False},
        _ids,
    ),
    "mamba": (
        "MambaForCausalLM",
        "MambaConfig",
        {
            "vocab_size": N_WORDS,
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "state_size": 8,
            "use_cache": False,
        },
        _ids,
    ),
    "vit": ("ViTForImageClassification", "ViTConfig", VISION, _pixels(32)),
    "deit": ("DeiTForImageClassification", "DeiTConfig", VISION, _pixels(32)),
    "beit": ("BeitForImageClassification", "BeitConfig", VISION, _pixels(32)),
    "dinov2": (
        "Dinov2ForImageClassification",
        "Dinov2Config",
        {**VISION, "mlp_ratio": 2},
        _pixels(32),
    ),
    "yolos": (
        "YolosForObjectDetection",
        "YolosConfig",
        {**VISION, "image_size": [32, 32], "num_detection_tokens": 8},
        _pixels(32),
    ),
    "swin": ("SwinForImageClassification", "SwinConfig", SWIN, _pixels(64)),
    "swinv2": ("Swinv2ForImageClassification", "Swinv2Config", SWIN, _pixels(64)),
    "segformer": (
        "SegformerForSemanticSegmentation",
        "SegformerConfig",
        {"hidden_sizes": [16, 32, 64, 96], "decoder_hidden_size": 32, "num_labels": 5},
        _pixels(64),
    ),
    "pvt_v2": (
        "PvtV2ForImageClassification",
        "PvtV2Config",
        {
            "image_size": 64,
            "hidden_sizes": [16, 32, 80, 128],
            "depths": [1, 1, 1, 1],
            "num_labels": 10,
        },
        _pixels(64),
    ),
    "convnext": (
        "ConvNextForImageClassification",
        "ConvNextConfig",
        {"hidden_sizes": STAGES, "depths": [1, 1, 2, 1], "num_labels": 10},
        _pixels(64),
    ),
    "convnextv2": (
        "ConvNextV2ForImageClassification",
        "ConvNextV2Config",
        {"hidden_sizes": STAGES, "depths": [1, 1, 2, 1], "num_labels": 10},
        _pixels(64),
    ),
    "resnet": (
        "ResNetForImageClassification",
        "ResNetConfig",
        {"embedding_size": 16, "hidden_sizes": STAGES, "depths": [1, 1, 1, 1], "num_labels": 10},
        _pixels(64),
    ),
    "mobilevit": (
        "MobileViTForImageClassification",
        "MobileViTConfig",
        {"image_size": 64, "hidden_sizes": [32, 48, 64], "num_labels": 10},
        _pixels(64),
    ),
    "levit": (
        "LevitForImageClassification",
        "LevitConfig",
        {
            "image_size": 64,
            "hidden_sizes": [32, 48, 64],
            "num_attention_heads": [2, 3, 4],
            "depths": [1, 1, 1],
            "key_dim": [8, 8, 8],
            "num_labels": 10,
        },
        _pixels(64),
    ),
    "detr": (
        "DetrForObjectDetection",
        "DetrConfig",
        {
            "use_timm_backbone": False,
            "use_pretrained_backbone": False,
            "backbone": None,
            "backbone_config": {
                "model_type": "resnet",
                "embedding_size": 16,
                "hidden_sizes": STAGES,
                "depths": [1, 1, 1, 1],
                "out_features": ["stage4"],
            },
            "d_model": 64,
            "encoder_layers": 2,
            "decoder_layers": 2,
            "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
            "encoder_ffn_dim": 128,
            "decoder_ffn_dim": 128,
            "num_queries": 10,
            "num_labels": 5,
        },
        _pixels(64),
    ),
    "clip": ("CLIPModel", "CLIPConfig", {**_TOWERS, "projection_dim": 32}, _clip),
    "siglip": ("SiglipModel", "SiglipConfig", _TOWERS, _clip),
    "whisper_encoder": (
        "WhisperForAudioClassification",
        "WhisperConfig",
        {
            **SEQ2SEQ,
            "num_mel_bins": 16,
            "max_source_positions": 20,
            "pad_token_id": 0,
            "classifier_proj_size": 32,
            "num_labels": 5,
        },
        _mels,
    ),
    "wav2vec2": ("Wav2Vec2ForSequenceClassification", "Wav2Vec2Config", SOUND, _sound),
    "hubert": ("HubertForSequenceClassification", "HubertConfig", SOUND, _sound),
    "audio_spectrogram": (
        "ASTForAudioClassification",
        "ASTConfig",
        {**SMALL, "patch_size": 8, "num_mel_bins": 32, "max_length": 48, "num_labels": 5},
        lambda n: {"input_values": draw_pictures(n, 48, 32)},
    ),
}


# These return hidden states beside their answer, which would fix widths: the answer alone is asked.
ANSWERS = {
    "t5": ("logits",),
    "bart": ("logits",),
    "marian": ("logits",),
    "yolos": ("logits", "pred_boxes"),
    "detr": ("logits", "pred_boxes"),
    "clip": ("logits_per_image",),
    "siglip": ("logits_per_image",),
}


class Answer(nn.Module):
    """A net of which only the answer is asked, as its loss does."""

    def __init__(self, net: nn.Module, names: tuple[str, ...]) -> None:
        """Hold the net, and the names of what it answers."""
        super().__init__()
        self.net = net
        self.names = names

    def forward(self, **inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the named results."""
        result = self.net(**inputs)
        return tuple(getattr(result, name) for name in self.names)


def list_nets() -> list[ZooNet]:
    """Return the nets."""
    return [
        ZooNet(
            f"transformers:{name}",
            functools.partial(_build, *made_of, ANSWERS.get(name)),
            make_example,
        )
        for name, (*made_of, make_example) in NETS.items()
    ]


def _build(
    kind: str, configuration: str, settings: dict[str, Any], answers: tuple[str, ...] | None
) -> nn.Module:
    import transformers

    config = getattr(transformers, configuration)(**settings)
    model: nn.Module = getattr(transformers, kind)(config)
    return Answer(model, answers) if answers else model
