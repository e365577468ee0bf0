"""ONNX: exact files of any batch size, 8-bit ones, and what is said without the extra."""

from __future__ import annotations

import inspect
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from training.fakes import SHAPE
from training.fakes import make_net
from training.fakes import make_pictures

from dpod_search.errors import ConfigError
from dpod_search.errors import ExportError
from dpod_search.export import export
from dpod_search.export import onnx


pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def model():
    return SimpleNamespace(module=make_net().eval(), input_shape=SHAPE)


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx")
    pictures = make_pictures(40, seed=4)[0]
    export(model, folder / "model.onnx", pictures=pictures)
    export(model, folder / "model.int8.onnx", pictures=pictures)
    return folder


@pytest.mark.parametrize("n", [1, 2, 5, 32])
def test_any_batch_size_gives_the_same_logits(model, folder, n):
    images = make_pictures(n, seed=n)[0]
    with torch.no_grad():
        torch.testing.assert_close(
            onnx.read_onnx(folder / "model.onnx")(images),
            model.module(images),
            rtol=1e-4,
            atol=1e-5,
        )  # fmt: skip  (two lines)


@pytest.mark.parametrize("name", ["model.onnx", "model.int8.onnx"])
def test_a_file_names_no_place_on_the_disk_and_is_hardly_more_than_its_numbers(
    model, folder, name
):
    content = (folder / name).read_bytes()
    assert b"File " not in content
    assert b"stack_trace" not in content
    for module in (type(model.module), torch.nn.Module):
        assert str(Path(inspect.getfile(module)).parent).encode() not in content
    if name == "model.onnx":
        state = model.module.state_dict().values()
        n_layers = len(list(model.module.modules()))
        assert len(content) < sum(t.numel() * t.element_size() for t in state) + 1000 * n_layers


def test_eight_bits_are_near_and_not_the_same(model, folder):
    images = make_pictures(32, seed=9)[0]
    with torch.no_grad():
        wanted = model.module(images)
    difference = (onnx.read_onnx(folder / "model.int8.onnx")(images) - wanted).abs().max()
    assert 0 < difference < 0.2 * wanted.abs().max()


def test_eight_bits_are_exempt_from_the_tolerance(model, tmp_path):
    written = export(model, tmp_path / "small.int8.onnx", tolerance=0)
    assert written.format == "onnx_int8"
    assert written.max_difference > 0


def test_the_graph_computes_with_eight_bits(folder):
    import onnx as onnx_package

    graph = onnx_package.load(folder / "model.int8.onnx").graph
    kinds = [node.op_type for node in graph.node]
    assert kinds.count("QuantizeLinear") >= 2
    weights = [tensor for tensor in graph.initializer if len(tensor.dims) == 4]
    assert {tensor.data_type for tensor in weights} == {onnx_package.TensorProto.INT8}


def test_a_missing_extra_is_one_clear_line(model, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx, "_PACKAGES", ("onnx", "no_such_package"))
    with pytest.raises(ConfigError, match=r"needs no_such_package; install .*dpod-search\[onnx\]"):
        export(model, tmp_path / "model.onnx")
    onnx.check_onnx(("safetensors",))
    with pytest.raises(ConfigError, match="'onnx_int8' needs"):
        onnx.check_onnx(("safetensors", "onnx_int8"))


def test_too_few_pictures_are_refused(model, tmp_path):
    with pytest.raises(ExportError, match="pictures must be at least 5, got 4"):
        export(model, tmp_path / "model.onnx", pictures=make_pictures(4, seed=1)[0])
