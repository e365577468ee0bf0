"""Writing modules as code: what is written is what was given, and a linter finds nothing in it."""

from __future__ import annotations

import ast
import importlib.util
import shutil
import subprocess
import sys

import pytest
import torch
from export.source.nets import NETS
from export.source.nets import REFUSED
from export.source.nets import SHAPE
from export.source.nets import Settings
from torch import nn

from dpod_search.export.source import CannotWriteError
from dpod_search.export.source import write_source
from dpod_search.models.resnet import build_resnet8
from dpod_search.rng import torch_generator
from dpod_search.torchvision_ops import import_torchvision
from dpod_search.weights import save_weights


TORCHVISION = ("resnet18", "mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0", "densenet121")
SLOW = ("googlenet", "inception_v3", "vit_b_16", "swin_t", "swin_v2_t", "convnext_tiny")


def pictures(n, shape=SHAPE):
    return torch.randn((n, *shape), generator=torch_generator(3, "pictures"))


def unsettle(net):
    """Move what starts at zero or one, so that a lost weight shows."""
    generator = torch_generator(1, "unsettle")
    with torch.no_grad():
        for name, tensor in (*net.named_parameters(), *net.named_buffers()):
            if tensor.is_floating_point() and tensor.dim():
                noise = torch.rand(tensor.shape, generator=generator) * 0.2
                tensor.add_(noise if "var" in name else noise - 0.1)
    return net.eval()


def load(text, net, folder):
    (folder / "model.py").write_text(text)
    save_weights(folder / "model.safetensors", net)
    spec = importlib.util.spec_from_file_location("written", folder / "model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.load()


def check(net, shape, folder):
    text = write_source(net, pictures(2, shape))
    loaded = load(text, net, folder)
    assert set(loaded.state_dict()) == set(net.state_dict())
    for n in (1, 2, 3):
        images = pictures(n, shape)
        with torch.no_grad():
            torch.testing.assert_close(loaded(images), net(images), rtol=1e-5, atol=1e-6)
    assert "dpod_search" not in text
    return text


@pytest.mark.parametrize("kind", NETS, ids=lambda kind: kind.__name__)
def test_awkward_nets_come_back(kind, tmp_path):
    check(unsettle(kind()), SHAPE, tmp_path)


@pytest.mark.parametrize(
    ("kind", "reason"), REFUSED, ids=lambda item: getattr(item, "__name__", "")
)
def test_what_cannot_be_written_is_said(kind, reason):
    with pytest.raises(CannotWriteError, match=reason):
        write_source(kind().eval(), pictures(2))


def test_where_an_input_is_is_asked_of_the_input(tmp_path):
    text = check(unsettle(Settings()), SHAPE, tmp_path)
    assert "x.device" in text
    assert "x.dtype" in text


def make_torchvision(name, size):
    options = {"init_weights": False} if name in {"googlenet", "inception_v3"} else {}
    make = import_torchvision("models").get_model
    return unsettle(make(name, weights=None, num_classes=7, **options)), (3, size, size)


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvisions_nets_come_back(name, tmp_path):
    check(*make_torchvision(name, 64), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_large_nets_come_back(name, tmp_path):
    check(*make_torchvision(name, 299 if name == "inception_v3" else 224), tmp_path)


@pytest.mark.skipif(shutil.which("ruff") is None, reason="ruff is not installed")
@pytest.mark.parametrize("kind", ["resnet8", "mobilenet_v3_small", "densenet121"])
def test_ruff_finds_nothing(kind, tmp_path):
    if kind == "resnet8":
        net, shape = unsettle(build_resnet8(input_shape=(1, 8, 8), n_classes=10)), (1, 8, 8)
    else:
        net, shape = make_torchvision(kind, 64)
    file = tmp_path / "model.py"
    file.write_text(write_source(net, pictures(2, shape), notes=["Widths:", "    conv: 3"]))
    for words in (["check", "--select", "E4,E7,E9,F,I,B"], ["format", "--check"]):
        done = subprocess.run(
            ["ruff", *words, "--isolated", "--no-cache", file],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_text_reads_like_the_net():
    net = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, bias=False), nn.ReLU(), nn.Flatten()).eval()
    text = write_source(net, pictures(2))
    layers = "nn.Conv2d(3, 4, 3, stride=2, bias=False), nn.ReLU(), nn.Flatten()"
    assert f"    return nn.Sequential(\n        {layers}\n    )\n" in text
    assert "class" not in text


def test_blocks_of_one_kind_share_a_class():
    net = build_resnet8(input_shape=(1, 8, 8), n_classes=10).eval()
    text = write_source(net, pictures(2, (1, 8, 8)))
    assert text.count("class BasicBlock") == 1
    assert text.count("BasicBlock(  # makes") == 3


def test_writing_leaves_the_module_as_it_is():
    net = unsettle(NETS[2]()).train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    names = set(vars(net))
    write_source(net, pictures(2))
    assert net.training
    assert set(vars(net)) == names
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())


def test_the_file_needs_torch_and_safetensors_only(tmp_path):
    net = unsettle(NETS[3]())
    load(write_source(net, pictures(2)), net, tmp_path)
    script = (
        "import sys, importlib.util as u\n"
        "sys.modules.update(dict.fromkeys(('dpod_search', 'torchvision', 'export')))\n"
        "s = u.spec_from_file_location('m', sys.argv[1]); m = u.module_from_spec(s)\n"
        "s.loader.exec_module(m); print(type(m.load()).__name__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "model.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "Wrapped", done.stderr


def test_notes_stay_notes_whatever_they_hold(tmp_path):
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU()).eval()
    notes = ['"""', "raise SystemExit", "a\\", 'b"']
    text = write_source(net, pictures(2), notes=notes)
    assert torch.equal(load(text, net, tmp_path)(pictures(1)), net(pictures(1)))


ODD_NAMES = ['quo"""te', "line\nbreak", "back\\", "half\ud83d", "byte\udce9", "nul\x00"]


def test_parts_whose_names_are_no_identifiers_come_back(tmp_path):
    net = nn.Sequential()
    for name in ("plain", "emo😀ji", "grüße-1"):
        net.add_module(name, nn.Conv2d(3, 3, 1))
    check(unsettle(net), SHAPE, tmp_path)


def test_the_head_of_the_code_holds_any_name():
    text = write_source(unsettle(nn.Conv2d(3, 3, 1)), pictures(2, SHAPE), notes=ODD_NAMES)
    text.encode()
    assert "byte\\xe9" in ast.get_docstring(ast.parse(text))
    title = '"""\n__import__("os").abort()\x00'
    text = write_source(unsettle(nn.Conv2d(3, 3, 1)), pictures(2, SHAPE), title=title)
    assert '__import__("os")' in ast.get_docstring(ast.parse(text))
