"""Exporting: every file is loaded again, agrees, and appears whole or not at all."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import safetensors.torch
import torch
from torch import nn
from training.fakes import SHAPE
from training.fakes import make_batches
from training.fakes import make_net
from training.fakes import make_pictures
from training.fakes import make_supernet
from training.fakes import single_thread

from dpod_search import train_supernet
from dpod_search.errors import ConfigError
from dpod_search.errors import ExportError
from dpod_search.export import FORMATS
from dpod_search.export import ExportSettings
from dpod_search.export import Format
from dpod_search.export import export
from dpod_search.files import hash_file
from dpod_search.finetune import FinetuneSettings
from dpod_search.finetune import finetune
from dpod_search.supernet import Subnet


EXACT = sorted(kind.ending for kind in FORMATS.values() if kind.is_exact)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    with single_thread():
        yield


@pytest.fixture(scope="module")
def tuned():
    supernet = make_supernet()
    train_supernet(supernet, make_batches(), epochs=4)
    subnet = Subnet(supernet, supernet.space.make({"conv1": 2, "conv2": 3}))
    return finetune(subnet, make_batches(), settings=FinetuneSettings(epochs=2))


def wrap(module, shape=SHAPE):
    return SimpleNamespace(module=module.eval(), input_shape=shape)


@pytest.mark.parametrize("ending", EXACT)
def test_every_format_loads_again_and_agrees(tuned, ending, tmp_path):
    written = export(tuned, tmp_path / "new" / f"model{ending}")
    assert written.path == tmp_path / "new" / f"model{ending}"
    assert FORMATS[written.format].ending == ending
    assert written.sha256 == hash_file(written.path)
    assert written.n_bytes == written.path.stat().st_size
    assert 0 <= written.max_difference <= 1e-4
    assert [file.name for file in written.path.parent.iterdir()] == [written.path.name]


@pytest.mark.parametrize("n", [1, 2, 3, 7, 32])
def test_the_exported_graph_takes_any_batch_size(exported_graph, tuned, n):
    images = make_pictures(n, seed=n)[0]
    with torch.no_grad():
        torch.testing.assert_close(
            exported_graph(images), tuned.module(images), rtol=1e-4, atol=1e-5
        )


@pytest.fixture(scope="module")
def exported_graph(tuned, tmp_path_factory):
    path = tmp_path_factory.mktemp("graph") / "model.pt2"
    export(tuned, path)
    return torch.export.load(path).module()


def test_the_weights_load_without_this_package(tuned, tmp_path):
    path = tmp_path / "model.safetensors"
    export(tuned, path)
    plain = nn.Sequential()
    for name, module in (
        ("conv1", nn.Conv2d(1, 2, 3, padding=1, bias=False)),
        ("bn1", nn.BatchNorm2d(2)),
        ("relu1", nn.ReLU()),
        ("conv2", nn.Conv2d(2, 3, 3, padding=1, bias=False)),
        ("bn2", nn.BatchNorm2d(3)),
        ("relu2", nn.ReLU()),
        ("pool", nn.AdaptiveAvgPool2d(1)),
        ("flatten", nn.Flatten()),
        ("head", nn.Linear(3, 3)),
    ):
        plain.add_module(name, module)
    plain.load_state_dict(safetensors.torch.load_file(path), strict=True)
    images = make_pictures(9, seed=2)[0]
    with torch.no_grad():
        torch.testing.assert_close(plain.eval()(images), tuned.module(images))


@pytest.mark.parametrize("ending", EXACT)
def test_the_module_is_not_changed(ending, tmp_path):
    module = make_net().train()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    export(SimpleNamespace(module=module, input_shape=SHAPE), tmp_path / f"model{ending}")
    assert module.training
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())


def test_the_same_module_gives_the_same_bytes(tuned, tmp_path):
    files = [export(tuned, tmp_path / f"{n}.safetensors").sha256 for n in range(2)]
    assert files[0] == files[1]


@pytest.mark.parametrize("name", ["model.onnx2", "model", "model.pt2.zip", "model.PT2", ".py"])
def test_other_endings_are_refused(tuned, name, tmp_path):
    endings = r"\['.int8.onnx', '.onnx', '.pt2', '.py', '.safetensors'\]"
    with pytest.raises(ExportError, match=f"must be one of {endings}"):
        export(tuned, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_path_may_be_text(tuned, tmp_path):
    assert export(tuned, f"{tmp_path}/model.safetensors").path.is_file()


def test_a_file_that_differs_is_not_kept(tuned, tmp_path, monkeypatch):
    def read_wrongly(module, path):
        return lambda images: module(images) * 1.01

    exact = FORMATS["safetensors"]
    monkeypatch.setitem(FORMATS, "safetensors", Format(".safetensors", exact.make, read_wrongly))
    path = tmp_path / "model.safetensors"
    with pytest.raises(ExportError, match=r"differs by 0.01 .*limit 0.0001"):
        export(tuned, path)
    assert list(tmp_path.iterdir()) == []
    assert export(tuned, path, tolerance=0.02).max_difference == pytest.approx(0.01, rel=1e-3)


def test_a_tolerance_of_zero_asks_for_the_same_bits(tuned, tmp_path):
    assert export(tuned, tmp_path / "m.safetensors", tolerance=0).max_difference == 0


@pytest.mark.parametrize("ending", EXACT)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(ending, value, tmp_path):
    net = make_net()
    with torch.no_grad():
        net.head.weight[1, 2] = value
    with pytest.raises(ExportError, match="differs by nan"):
        export(wrap(net), tmp_path / f"model{ending}")
    assert list(tmp_path.iterdir()) == []


class Branching(nn.Module):
    def forward(self, x):
        return x.flatten(1) if x.sum() > 0 else -x.flatten(1)


class OneBatchSize(nn.Module):
    def forward(self, x):
        return x.reshape(2, -1) if x.shape[0] == 2 else x.flatten(1)


class Raising(nn.Module):
    def __init__(self, error):
        super().__init__()
        self.error = error

    def forward(self, x):
        if torch.compiler.is_compiling():
            raise self.error
        return x.flatten(1)


@pytest.mark.parametrize(
    "module",
    [
        Branching(),
        OneBatchSize(),
        Raising(AssertionError()),
        Raising(KeyError("k")),
        Raising(AttributeError("several\nlines\nof words")),
    ],
)
def test_what_torch_export_cannot_take_is_said_in_one_line(module, tmp_path, capfd):
    earlier = b"an earlier file"
    path = tmp_path / "model.pt2"
    path.write_bytes(earlier)
    with pytest.raises(
        ExportError, match=r"torch_export export of model.pt2 failed: \S"
    ) as caught:
        export(wrap(module), path)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == earlier
    assert [file.name for file in tmp_path.iterdir()] == ["model.pt2"]
    assert capfd.readouterr() == ("", "")


def test_a_full_disk_leaves_the_earlier_file(tuned, tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    export(tuned, path)
    before = path.read_bytes()

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(ExportError, match="No space left on device"):
        export(wrap(make_net()), path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_settings_are_checked():
    assert ExportSettings().formats == ("safetensors", "torch_export")
    assert ExportSettings().files == ("safetensors", "python", "torch_export")
    assert ExportSettings(formats=("onnx", "python", "safetensors")).files == (
        "onnx",
        "safetensors",
        "python",
    )
    with pytest.raises(ConfigError, match=r"export.formats knows .*'tflite'"):
        ExportSettings(formats=("tflite",))
    with pytest.raises(ConfigError, match=r"export\.tolerance"):
        ExportSettings(tolerance=-1)


def test_a_program_holds_nothing_pickled(tuned, tmp_path):
    """What torch.export.load would unpickle: example inputs, and entries marked so."""
    export(tuned, tmp_path / "model.pt2")
    with zipfile.ZipFile(tmp_path / "model.pt2") as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    assert not any(
        data.startswith((b"PK\x03\x04", b"\x80")) and b"pkl" in data for data in held.values()
    )
    assert all(not data for name, data in held.items() if "sample_inputs" in name)
    configs = [data for name, data in held.items() if name.endswith("_config.json")]
    assert configs
    assert not any(b'"use_pickle": true' in data for data in configs)
    assert torch.export.load(tmp_path / "model.pt2").example_inputs in ({}, None, ())


def test_code_alone_comes_with_its_weights():
    assert ExportSettings(formats=("python",)).files == ("safetensors", "python")
    assert ExportSettings(formats=("torch_export", "safetensors")).files == (
        "torch_export",
        "safetensors",
        "python",
    )
