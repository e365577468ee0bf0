"""Models from settings: seeded, checked, and every complaint in one line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from dpod_search.errors import CheckpointError
from dpod_search.errors import ConfigError
from dpod_search.models import MODELS
from dpod_search.models import ModelSettings
from dpod_search.models import build_model


SHAPE = (1, 8, 8)


def build(seed: int = 0, **settings: Any) -> nn.Module:
    """Build a model for the digits."""
    return build_model(ModelSettings(**settings), input_shape=SHAPE, n_classes=10, seed=seed)


def flatten(model: nn.Module) -> torch.Tensor:
    """Join all of a model's tensors."""
    return torch.cat([tensor.flatten().double() for tensor in model.state_dict().values()])


# Those that do not take pictures and tell one class of each: samples, and what comes out.
OTHERS: dict[str, tuple[torch.Tensor, tuple[int, ...]]] = {
    "mlp": (torch.zeros(2, 7), (2, 10)),
    "unet": (torch.zeros(2, *SHAPE), (2, 10, 8, 8)),
    "gpt": (torch.zeros(2, 7, dtype=torch.int64), (2, 7, 10)),
}


@pytest.mark.parametrize("name", sorted(MODELS.keys() - OTHERS.keys()))
def test_built_in_models_have_one_logit_a_class_and_train(name: str) -> None:
    model = build(name=name)

    assert model(torch.zeros(2, *SHAPE)).shape == (2, 10)
    assert model.training


@pytest.mark.parametrize("name", sorted(OTHERS))
def test_others_are_tried_on_an_example_and_answer_as_they_like(name: str) -> None:
    example, answer = OTHERS[name]
    shape = tuple(example.shape[1:])
    settings = ModelSettings(name=name)
    model = build_model(settings, input_shape=shape, n_classes=10, seed=0, example=example[:1])

    assert model.training
    buffers = {key: value for key, value in model.named_buffers() if key.endswith("tracked")}
    assert not any(buffers.values())
    assert model(example).shape == answer


@pytest.mark.parametrize(
    ("name", "example", "message"),
    [
        (
            "gpt",
            torch.zeros(1, 7),
            r"cannot take float32 samples of shape \(7,\).* change the data",
        ),
        ("mlp", torch.zeros(1, 7, dtype=torch.int64), r"cannot take int64 samples of shape"),
        (
            "mlp",
            torch.zeros(1, 1, 8, 8),
            r"takes rows of numbers, got samples of shape \(1, 8, 8\)",
        ),
        ("gpt", torch.zeros(1, 2, 2), "takes rows of tokens"),
        ("resnet8", torch.zeros(1, 7), r"takes pictures, .* got samples of shape \(7,\)"),
        ("unet", torch.zeros(1, 7), "takes pictures"),
        ("timm:resnet18", torch.zeros(1, 7), "takes pictures"),
    ],
)
def test_samples_that_a_model_does_not_take_are_one_line(
    name: str, example: torch.Tensor, message: str
) -> None:
    shape = tuple(example.shape[1:])
    with pytest.raises(ConfigError, match=message) as caught:
        build_model(
            ModelSettings(name=name), input_shape=shape, n_classes=10, seed=0, example=example
        )
    assert "\n" not in str(caught.value)


def test_weights_are_a_function_of_the_seed() -> None:
    assert torch.equal(flatten(build(seed=3)), flatten(build(seed=3)))
    assert not torch.equal(flatten(build(seed=3)), flatten(build(seed=4)))


def test_the_global_generator_neither_matters_nor_moves() -> None:
    first = build()
    torch.manual_seed(99)
    before = torch.get_rng_state()
    second = build()

    assert torch.equal(flatten(first), flatten(second))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_trial_run_leaves_batchnorm_statistics_alone() -> None:
    buffers = dict(build().named_buffers())

    assert buffers["bn.running_mean"].eq(0).all()
    assert buffers["bn.num_batches_tracked"] == 0


def test_arguments_reach_the_builder() -> None:
    assert build(arguments={"width": 4}).get_submodule("conv").out_channels == 4


def test_imported_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_model.py").write_text(
        "from torch import nn\n"
        "def net(n, bias=True):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, n, bias=bias))\n"
        "def text():\n"
        "    return 'net'\n"
    )
    monkeypatch.chdir(tmp_path)

    assert isinstance(build(name="own_model:net", arguments={"n": 10}), nn.Sequential)
    with pytest.raises(ConfigError, match=r"shape \(1, 10\).* got \(1, 3\)"):
        build(name="own_model:net", arguments={"n": 3})
    with pytest.raises(ConfigError, match=r"must return a torch\.nn\.Module, got a str"):
        build(name="own_model:text")


def test_a_failing_function_is_one_line_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "failing_model.py").write_text(
        "from torch import nn\n"
        "def net():\n"
        "    nn.Linear(64, 10).load_state_dict(nn.Linear(64, 9).state_dict())\n"
        "def unread():\n"
        "    open('no_such_file')\n"
    )
    monkeypatch.chdir(tmp_path)

    with pytest.raises(
        ConfigError, match=r"raised RuntimeError in line 3 of .*failing_model\.py: .*mismatch"
    ) as caught:
        build(name="failing_model:net")
    assert "\n" not in str(caught.value)
    with pytest.raises(
        ConfigError, match=r"raised FileNotFoundError in line 5 of .*no_such_file'"
    ):
        build(name="failing_model:unread")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "resnet9"}, "did you mean 'resnet8'"),
        (
            {"name": "something else"},
            "it is one of resnet8, resnet20, gru, mlp, unet, gpt, torchvision:<name>",
        ),
        ({"name": "m" * 4000}, r"model.name 'mmm.* \.\.\. m*' is not known"),
        ({"name": "torchvision:" + "m" * 4000}, "no classification model 'mmm"),
        ({"arguments": {"width": 1025}}, "model.arguments.width must be .* got 1025"),
        ({"arguments": {"depth": 3}}, "it takes input_shape, n_classes, width"),
        ({"arguments": {"n_classes": 3}}, "both come from the data"),
        (
            {"arguments": {"width": 0}},
            "model.arguments.width must be a whole number >= 1 and <= 1,024, got 0",
        ),
        ({"name": "torchvision:alexnet"}, r"cannot take pictures of shape \(1, 8, 8\)"),
        ({"name": "no_such_module:net"}, "there is no module"),
    ],
)
def test_mistakes_are_one_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        build(**settings)
    assert "\n" not in str(caught.value)
    # Where PyTorch's nets lie may be far down.
    assert len(re.sub(r" in line \d+ of \S+", "", str(caught.value))) < 300


def test_weights_at_the_home_of_nobody_are_missing() -> None:
    with pytest.raises(CheckpointError, match="~nobody-of-this-name/x is missing"):
        build(weights="~nobody-of-this-name/x")


def test_loads_weights(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    first = build(seed=1)
    safetensors.torch.save_file(first.state_dict(), path)

    assert torch.equal(flatten(build(seed=2, weights=str(path))), flatten(first))


def test_weights_of_another_model_or_no_file(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    with pytest.raises(CheckpointError, match="missing"):
        build(weights=str(path))

    safetensors.torch.save_file(build(arguments={"width": 4}).state_dict(), path)
    with pytest.raises(CheckpointError, match="does not fit the model") as caught:
        build(weights=str(path))
    assert "\n" not in str(caught.value)

    # The way to another head is no help where nothing is alike.
    with pytest.raises(CheckpointError, match="it lacks") as caught:
        build(name="resnet20", weights=str(path))
    assert "head" not in str(caught.value)

    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="damaged"):
        build(weights=str(path))
