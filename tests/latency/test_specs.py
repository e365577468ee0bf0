from __future__ import annotations

import pytest
import torch
from torch import nn

from dpod_search.errors import DataError
from dpod_search.latency.specs import ACTIVATIONS
from dpod_search.latency.specs import NORM
from dpod_search.latency.specs import LayerSpec
from dpod_search.latency.specs import read_spec


LAYERS = {
    "conv": (nn.Conv2d(6, 8, 3, padding=1, bias=False), (2, 6, 7, 9)),
    "conv, strided": (nn.Conv2d(6, 8, (3, 5), stride=(2, 1), padding=(1, 2)), (2, 6, 7, 9)),
    "conv, dilated": (nn.Conv2d(6, 8, 3, padding=2, dilation=2), (2, 6, 7, 9)),
    "depthwise": (nn.Conv2d(8, 8, 3, padding=1, groups=8), (2, 8, 7, 9)),
    "depthwise, two each": (nn.Conv2d(8, 16, 3, groups=8), (2, 8, 7, 9)),
    "grouped": (nn.Conv2d(8, 12, 3, groups=4), (2, 8, 7, 9)),
    "transposed": (
        nn.ConvTranspose2d(6, 8, 3, stride=2, padding=1, output_padding=1),
        (2, 6, 7, 9),
    ),
    "conv of one axis": (nn.Conv1d(6, 8, 3), (2, 6, 7)),
    "conv of three": (nn.Conv3d(6, 8, 3), (2, 6, 5, 5, 5)),
    "linear": (nn.Linear(6, 8), (2, 6)),
    "linear, no bias": (nn.Linear(6, 8, bias=False), (2, 6)),
    "linear over tokens": (nn.Linear(6, 8), (2, 5, 6)),
    "linear over a map": (nn.Linear(6, 8), (2, 5, 4, 6)),
}
SHARED = [
    "in_channels",
    "out_channels",
    "in_features",
    "out_features",
    "kernel_size",
    "stride",
    "padding",
    "dilation",
    "output_padding",
    "groups",
    "transposed",
]


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_is_built_as_it_was_read(name):
    layer, shape = LAYERS[name]
    spec = read_spec(layer, shape, ())
    assert spec is not None

    n_outputs, n_inputs = layer.weight.shape[:2]
    if spec.kind == "transposed":
        n_inputs, n_outputs = n_outputs, n_inputs
    built, images = spec.build(n_inputs, n_outputs, batch_size=2)
    assert type(built[0]) is type(layer)
    assert not built.training
    for attribute in SHARED:
        assert getattr(built[0], attribute, None) == getattr(layer, attribute, None), attribute
    assert (built[0].bias is None) == (layer.bias is None)
    assert images.shape == shape
    assert built(images).shape == layer(torch.zeros(shape)).shape
    assert read_spec(built[0], tuple(images.shape), ()) == spec
    assert LayerSpec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_is_built_at_other_widths(name):
    layer, shape = LAYERS[name]
    spec = read_spec(layer, shape, ("relu",))
    assert spec is not None
    n_outputs = 4 if spec.conv_group != (2, 3) else 6

    built, images = spec.build(3, n_outputs, batch_size=1)
    result = built(images)
    assert result.shape[-1 if spec.kind == "linear" else 1] == n_outputs
    assert (result >= 0).all()
    assert read_spec(built[0], tuple(images.shape), ("relu",)) == spec


def test_what_follows_is_built_too():
    followers = (NORM, *ACTIVATIONS)
    for name in ("conv", "conv of one axis", "conv of three", "linear"):
        layer, shape = LAYERS[name]
        spec = read_spec(layer, shape, followers)
        assert spec is not None
        built, images = spec.build(6, 8, batch_size=2)
        assert [type(m) for m in built][2:] == list(ACTIVATIONS.values())
        assert "BatchNorm" in type(built[1]).__name__
        assert built(images).shape == layer(torch.zeros(shape)).shape


def test_a_norm_of_tokens_is_not_one_of_features():
    spec = read_spec(nn.Linear(6, 8), (2, 5, 6), ("relu", NORM, "relu"))
    assert spec is not None
    assert spec.followers == ("relu",)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(3, 4, 3, padding="same"),
        nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"),
        nn.BatchNorm2d(3),
        nn.MultiheadAttention(4, 2),
    ],
)
def test_what_cannot_be_rebuilt_is_no_spec(layer):
    assert read_spec(layer, (1, 3, 8, 8), ()) is None


CONV = {
    "kind": "conv",
    "size": [8, 8],
    "kernel": [3, 3],
    "stride": [1, 1],
    "padding": [1, 1],
    "dilation": [1, 1],
}


def test_json_leaves_defaults_out():
    spec = LayerSpec.from_json(CONV)
    assert spec.describe() == "conv 3x3 at 8x8"
    assert spec.to_json() == CONV


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "recurrent"},
        {"kind": "attention"},
        {"kind": 3},
        {"size": 8},
        {"size": "8x8"},
        {"size": [8.0, 8]},
        {"size": [8, 0]},
        {"size": [[8], 8]},
        {"size": []},
        {"size": [1, 1, 1, 1]},
        {"kernel": [3]},
        {"kernel": [True, 3]},
        {"stride": []},
        {"padding": [-1, 0]},
        {"dilation": ["1", 1]},
        {"output_padding": [1, 1]},
        {"conv_group": [1]},
        {"full": [8]},
        {"kernel": [3, 11]},
        {"dilation": [1, 5]},
        {"full": [8, 0]},
        {"has_bias": "no"},
        {"followers": ["softmax"]},
        {"followers": "relu"},
        {"colour": "red"},
    ],
    ids=str,
)
def test_what_is_no_layer_is_one_clear_error(change):
    with pytest.raises(DataError) as told:
        LayerSpec.from_json({**CONV, **change})
    assert "\n" not in str(told.value)


def test_what_a_transposed_layer_adds_is_less_than_its_stride():
    fine = {**CONV, "kind": "transposed", "stride": [2, 2], "output_padding": [1, 1]}
    spec = LayerSpec.from_json(fine)
    layer, images = spec.build(3, 4, batch_size=1)
    assert layer(images).shape == (1, 4, 16, 16)
    with pytest.raises(DataError, match="do not fit each other"):
        LayerSpec.from_json({**fine, "output_padding": [1, 2]})


def test_a_linear_layer_has_no_groups():
    with pytest.raises(DataError, match="do not fit each other"):
        LayerSpec.from_json({"kind": "linear", "size": [], "conv_group": [1, 1]})


@pytest.mark.parametrize("value", [None, 3, "conv", [], {}, {"kind": "conv"}])
def test_what_is_no_description_is_one_too(value):
    with pytest.raises(DataError, match="describes no layer"):
        LayerSpec.from_json(value)
