"""Nets of libraries by name; those of timm and transformers where these are installed."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from dpod_search.config import make_study
from dpod_search.errors import CheckpointError
from dpod_search.errors import ConfigError
from dpod_search.models import ModelSettings
from dpod_search.models import build_model
from dpod_search.supernet import build_supernet
from dpod_search.supernet import extract_subnet
from dpod_search.torchvision_ops import ensure_torchvision


SHAPE = (3, 32, 32)
VIT = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "image_size": 32,
    "patch_size": 8,
}


def build(name: str, seed: int = 0, weights: str | None = None, **arguments: Any) -> nn.Module:
    settings = ModelSettings(name=name, arguments=arguments, weights=weights)
    return build_model(settings, input_shape=SHAPE, n_classes=7, seed=seed)


@pytest.mark.parametrize(
    ("name", "extra"), [("timm:resnet10t", "timm"), ("hf:some_folder", "transformers")]
)
def test_a_missing_extra_is_one_line(
    name: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda package: None if package == extra else find(package)
    )
    with pytest.raises(ConfigError, match=rf'pip install "dpod-search\[{extra}\]"'):
        build(name)


def test_a_study_of_a_folder_with_weights_has_the_defaults_of_trained_ones(tmp_path: Path) -> None:
    name = f'model.name="hf:{tmp_path}"'
    assert make_study("any", [name]).training.epochs > 0
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert make_study("any", [name]).training.epochs == 0
    assert make_study("any", [name]).search.finetune_share == 0.05
    assert make_study("any", [name, "model.arguments.pretrained=false"]).training.epochs > 0
    # A run knows them by their content.
    assert [file.name for file in ModelSettings(f"hf:{tmp_path}").files] == [
        "config.json",
        "model.safetensors",
    ]
    with pytest.raises(ConfigError, match="has weights of its own, and model.weights names"):
        ModelSettings(f"hf:{tmp_path}", weights="net.pth")


def test_a_study_of_timm_is_trained_if_it_asks_for_weights() -> None:
    name = 'model.name="timm:resnet10t"'
    assert make_study("any", [name]).training.epochs > 0
    assert make_study("any", [name, "model.arguments.pretrained=true"]).training.epochs == 0


@pytest.fixture
def timm() -> Any:
    ensure_torchvision()
    return pytest.importorskip("timm")


def test_weights_that_a_study_takes_as_they_are_and_that_are_not_there(tmp_path: Path) -> None:
    def refuse(name: str, match: str, *more: str) -> None:
        with pytest.raises(ConfigError, match=match):
            make_study("any", [f'model.name="{name}"', "training.epochs=0", *more])

    refuse("resnet8", "as they are; name their file in model.weights, or train")
    refuse("timm:resnet10t", "say model.arguments.pretrained = true")
    refuse(f"hf:{tmp_path / 'none'}", f"there is no folder {tmp_path / 'none'};")
    refuse(f"hf:{tmp_path}", f"{tmp_path} has no config.json")
    (tmp_path / "config.json").write_text("{}")
    refuse(f"hf:{tmp_path}", "has no model.safetensors; write one")
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    refuse(f"hf:{tmp_path}", "has no model.safetensors, but pytorch_model.bin; write one")
    (tmp_path / "model.safetensors").write_bytes(b"")
    refuse(f"hf:{tmp_path}", "leave out model", "model.arguments.pretrained=false")


@pytest.fixture
def vit(tmp_path: Path) -> Path:
    """A folder that holds a small vision transformer of five classes."""
    ensure_torchvision()
    transformers = pytest.importorskip("transformers")
    transformers.utils.logging.disable_progress_bar()
    torch.manual_seed(0)
    config = transformers.ViTConfig(**VIT, num_labels=5)
    transformers.ViTForImageClassification(config).save_pretrained(tmp_path / "vit")
    return tmp_path / "vit"


def assert_exact(model: nn.Module) -> None:
    """Assert that subnets are what is cut out, and that all but the head can be narrowed."""
    supernet = build_supernet(model.eval(), torch.randn(2, *SHAPE))
    assert len(supernet.grouping.frozen) == 1
    widths, x = supernet.space.smallest, torch.randn(2, *SHAPE)
    with supernet.active(widths), torch.no_grad():
        cut = extract_subnet(supernet, widths)(x)
        torch.testing.assert_close(supernet(x), cut, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("timm")
@pytest.mark.parametrize("name", ["resnet10t", "mobilenetv3_small_050.lamb_in1k"])
def test_nets_of_timm_have_the_classes_of_the_data(name: str) -> None:
    model = build(f"timm:{name}")
    assert model.training
    assert_exact(model)
    first, again = (build(f"timm:{name}", seed=3).state_dict() for _ in range(2))
    torch.testing.assert_close(first, again, rtol=0, atol=0)


@pytest.mark.usefixtures("timm")
def test_the_size_of_timms_weights_is_known() -> None:
    found = ModelSettings("timm:vit_tiny_patch16_224").find_input_size()
    assert found is not None
    assert (found.size, found.is_fixed) == (224, True)


@pytest.mark.usefixtures("timm")
def test_channels_of_timm_are_those_of_the_data() -> None:
    settings = ModelSettings("timm:resnet10t")
    model = build_model(settings, input_shape=(1, 32, 32), n_classes=3, seed=0)
    assert model(torch.zeros(2, 1, 32, 32)).shape == (2, 3)


@pytest.mark.usefixtures("timm")
@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("resnet10tt", {}, "timm has no model 'resnet10tt'; did you mean timm:resnet10t"),
        ("hf_hub:somebody/net", {}, "timm has no model"),
        ("resnet10t", {"no_such": 1}, "does not take model.arguments .*no_such"),
        ("resnet10t", {"num_classes": 3}, r"must not hold \['num_classes'\]"),
        ("resnet10t", {"pretrained": "yes"}, "pretrained must be true or false"),
        ("vit_tiny_patch16_224", {}, r"cannot take pictures of shape \(3, 32, 32\)"),
    ],
)
def test_mistakes_with_timm_are_one_line(
    name: str, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        build(f"timm:{name}", **arguments)
    assert "\n" not in str(caught.value)


def test_weights_of_timm_are_loaded_but_for_the_head(
    timm: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    given = timm.create_model("resnet10t", num_classes=1000)
    torch.save(given.state_dict(), tmp_path / "net.pth")
    # As if from the network: timm takes a file in the place of an address.
    from_file = {"file": str(tmp_path / "net.pth")}
    model = build("timm:resnet10t", pretrained=True, pretrained_cfg_overlay=from_file)

    for name, tensor in given.state_dict().items():
        if not name.startswith("fc."):
            assert torch.equal(model.state_dict()[name], tensor), name
    assert model(torch.zeros(2, *SHAPE)).shape == (2, 7)
    assert "the head has 7 classes and is drawn anew" in caplog.text

    with pytest.raises(CheckpointError, match="weights of timm:resnet10t cannot be had"):
        build("timm:resnet10t", pretrained=True, pretrained_cfg_overlay={"file": "nowhere.pth"})


def test_a_folder_of_transformers_is_loaded_but_for_the_head(
    vit: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = build(f"hf:{vit}")
    held = safetensors.torch.load_file(vit / "model.safetensors")
    given, got = held["vit.embeddings.cls_token"], model.state_dict()
    assert torch.equal(got["net.vit.embeddings.cls_token"], given)
    assert caplog.messages == [f"hf:{vit}: classifier has 7 classes and is drawn anew"]
    assert_exact(model)
    again = build(f"hf:{vit}").state_dict()  # the head is drawn from the seed
    torch.testing.assert_close(again, {**got}, rtol=0, atol=0)

    drawn = build(f"hf:{vit}", pretrained=False)
    assert not torch.equal(drawn.state_dict()["net.vit.embeddings.cls_token"], given)
    assert len(caplog.messages) == 2


def test_a_folder_with_a_configuration_alone_starts_from_the_seed(
    vit: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (vit / "model.safetensors").unlink()
    first, again, other = (build(f"hf:{vit}", seed=s).state_dict() for s in (1, 1, 2))
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    name = "net.vit.embeddings.cls_token"
    assert not torch.equal(first[name], other[name])
    assert "the folder has no weights" in caplog.text
    # Settings of the study go before those of the folder.
    narrow = build(f"hf:{vit}", hidden_size=16)
    assert narrow.state_dict()[name].shape == (1, 1, 16)


def test_names_of_a_saved_net_of_a_folder_fit_it_as_weights(vit: Path, tmp_path: Path) -> None:
    trained = build(f"hf:{vit}", pretrained=False, seed=5)
    torch.save(trained.state_dict(), tmp_path / "net.pth")
    got = build(f"hf:{vit}", pretrained=False, weights=str(tmp_path / "net.pth"))
    torch.testing.assert_close(got.state_dict(), trained.state_dict(), rtol=0, atol=0)


def change_config(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


@pytest.mark.parametrize(
    ("harm", "arguments", "message"),
    [
        (shutil.rmtree, {}, "must name a local folder with config.json, and there is no folder "),
        (lambda folder: (folder / "config.json").unlink(), {}, "vit has no config.json"),
        (lambda _: None, {"hidden_sizes": 3}, "no setting 'hidden_sizes' .* mean 'hidden_size'"),
        (lambda _: None, {"num_labels": 3}, r"must not hold \['num_labels'\]"),
        (lambda folder: change_config(folder, model_type="bert"), {}, "holds no image classifier"),
        (lambda folder: change_config(folder, model_type="none"), {}, "holds no image classifier"),
        (lambda _: None, {"image_size": 64}, r"do not fit.*position_embeddings is \(1, 17, 32\)"),
        (lambda _: None, {"num_hidden_layers": 2}, r"do not fit.*it lacks vit\.layers\.1\."),
        (
            lambda folder: os.truncate(folder / "model.safetensors", 100),
            {},
            "the weights in .* cannot be read",
        ),
        (
            lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"),
            {},
            "has no model.safetensors, but pytorch_model.bin",
        ),
    ],
)
def test_mistakes_with_a_folder_are_one_line(
    vit: Path, harm: Any, arguments: dict[str, Any], message: str
) -> None:
    harm(vit)
    with pytest.raises((ConfigError, CheckpointError), match=message) as caught:
        build(f"hf:{vit}", **arguments)
    assert "\n" not in str(caught.value)
