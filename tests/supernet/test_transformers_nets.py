"""Nets of transformers, small ones from a configuration; transformers may be missing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dpod_search.errors import ConfigError
from dpod_search.footprint import build_footprint
from dpod_search.supernet import build_supernet
from dpod_search.supernet import extract_subnet
from dpod_search.supernet.tracing.recording import tensors_of
from dpod_search.torchvision_ops import ensure_torchvision


try:
    ensure_torchvision()  # transformers imports it where it is there
except ConfigError:
    pytest.skip("torchvision is missing", allow_module_level=True)
transformers = pytest.importorskip("transformers")

SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}
WORDS = {**SMALL, "vocab_size": 100}
IDS = torch.randint(0, 90, (2, 12), generator=torch.Generator().manual_seed(0))
PICTURES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
NETS: dict[str, tuple[Callable[[Any], Any], dict[str, Tensor]]] = {
    "bert": (
        lambda t: t.BertForSequenceClassification(t.BertConfig(**WORDS)),
        {"input_ids": IDS, "attention_mask": torch.ones_like(IDS)},
    ),
    "gpt2": (
        lambda t: t.GPT2LMHeadModel(
            t.GPT2Config(vocab_size=100, n_embd=32, n_layer=2, n_head=4, use_cache=False)
        ),
        {"input_ids": IDS},
    ),
    "llama": (
        lambda t: t.LlamaForCausalLM(
            t.LlamaConfig(**WORDS, num_key_value_heads=2, use_cache=False)
        ),
        {"input_ids": IDS},
    ),
    "vit": (
        lambda t: t.ViTForImageClassification(
            t.ViTConfig(**SMALL, image_size=32, patch_size=8, num_labels=10)
        ),
        {"pixel_values": PICTURES},
    ),
}


@pytest.mark.parametrize("name", NETS)
def test_only_the_output_keeps_its_width(name: str) -> None:
    make, inputs = NETS[name]
    torch.manual_seed(0)
    model = make(transformers).eval()
    supernet = build_supernet(model, inputs).eval()
    footprint, space = build_footprint(supernet), supernet.space

    full, least = (footprint.measure(w)["params"] for w in (space.full, space.smallest))
    assert full == sum(p.numel() for p in model.parameters())
    assert least < 0.15 * full
    for widths in (space.smallest, space.sample(np.random.default_rng(0))):
        subnet = extract_subnet(supernet, widths).eval()
        assert footprint.measure(widths)["params"] == sum(p.numel() for p in subnet.parameters())
        with supernet.active(widths), torch.no_grad():
            narrow, cut = supernet(**inputs), subnet(**inputs)
        assert type(narrow) is type(cut)
        torch.testing.assert_close(tensors_of(narrow), tensors_of(cut), rtol=1e-3, atol=1e-4)
