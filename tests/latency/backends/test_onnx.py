from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from dpod_search.errors import ConfigError
from dpod_search.latency.backends import onnx
from dpod_search.latency.backends.onnx import OnnxRuntimeBackend
from dpod_search.latency.backends.onnx import convert
from dpod_search.latency.backends.onnx import open_session


CPU = torch.device("cpu")


def test_a_net_gives_the_same_in_onnxruntime():
    pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).eval()
    images = torch.randn(2, 3, 8, 8)

    for pictures in (images, images.to(memory_format=torch.channels_last)):
        run = OnnxRuntimeBackend().prepare(net, pictures, device=CPU, n_threads=1)
        (found,) = run()
        with torch.no_grad():
            torch.testing.assert_close(torch.from_numpy(found), net(images), atol=1e-5, rtol=1e-4)


def test_nothing_heavy_is_imported_before_it_is_needed():
    code = "import sys, dpod_search.latency; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"onnx", "onnxruntime", "torchvision", "torch._inductor"} & set(done.stdout.split())


def test_what_cannot_be_converted_is_told_in_one_line():
    class Net(nn.Module):
        def forward(self, x):
            raise RuntimeError("not\nthis")

    with pytest.raises(ConfigError, match=r"converted to ONNX \(not\); set") as told:
        convert(Net(), torch.zeros(1, 3))
    assert "\n" not in str(told.value)


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(onnx.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r'needs .*onnxruntime; install it: pip install "dpod'):
        OnnxRuntimeBackend().find_version()


def test_a_device_that_this_build_does_not_have_is_named():
    runtime = pytest.importorskip("onnxruntime")
    if "CUDAExecutionProvider" in runtime.get_available_providers():
        pytest.skip("this build of onnxruntime has CUDA")
    model = convert(nn.Linear(3, 4), torch.zeros(1, 3))
    with pytest.raises(ConfigError, match="onnxruntime has no CUDAExecutionProvider here"):
        open_session(model, torch.zeros(1, 3), device=torch.device("cuda"), n_threads=1)
