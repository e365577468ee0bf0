"""Torchvision is imported late, and also beside a PyTorch it was not compiled for."""

from __future__ import annotations

import importlib
import logging
import subprocess
import sys
from types import ModuleType

import pytest

from dpod_search import torchvision_ops
from dpod_search.errors import ConfigError
from dpod_search.torchvision_ops import ensure_torchvision
from dpod_search.torchvision_ops import import_torchvision


def test_gives_a_part_of_torchvision() -> None:
    assert hasattr(import_torchvision("datasets"), "ImageFolder")
    ensure_torchvision()


def test_works_in_a_fresh_process_and_logs_at_most_once() -> None:
    script = (
        "import logging; logging.basicConfig(level=logging.INFO)\n"
        "from dpod_search.torchvision_ops import ensure_torchvision\n"
        "ensure_torchvision(); ensure_torchvision()\n"
        "import torch, torchvision.models\n"
        "net = torchvision.models.resnet18(weights=None, num_classes=3).eval()\n"
        "print(tuple(net(torch.zeros(1, 3, 32, 32)).shape))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False
    )

    assert done.stdout.strip() == "(1, 3)", done.stderr
    assert done.stderr.count("without a kernel") <= 1


def test_digits_and_the_built_in_nets_leave_torchvision_alone() -> None:
    script = (
        "import sys\n"
        "from dpod_search.data import DataSettings, load_data\n"
        "from dpod_search.models import ModelSettings, build_model\n"
        "splits = load_data(DataSettings(), 0)\n"
        "build_model(ModelSettings(), input_shape=splits.input_shape, n_classes=10, seed=0)\n"
        "print(sorted(name for name in sys.modules if name.startswith('torchvision')))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )

    assert done.stdout.strip() == "[]", done.stderr


def fake_imports(monkeypatch: pytest.MonkeyPatch, results: list[Exception | None]) -> list[str]:
    """Let imports of torchvision end in ``results``, one after the other."""
    calls: list[str] = []

    def import_module(name: str) -> ModuleType:
        calls.append(name)
        result = results[len(calls) - 1]
        if result is not None:
            raise result
        return ModuleType(name)

    monkeypatch.setattr(importlib, "import_module", import_module)
    monkeypatch.setattr(torchvision_ops, "_libraries", [])
    return calls


def test_declares_the_operators_and_imports_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    declared: list[str] = []

    class Library:
        def __init__(self, namespace: str, kind: str) -> None:
            assert (namespace, kind) == ("torchvision", "FRAGMENT")

        def define(self, schema: str) -> None:
            declared.append(schema.split("(", maxsplit=1)[0])

    error = RuntimeError("operator torchvision::nms does not exist")
    calls = fake_imports(monkeypatch, [error, None])
    monkeypatch.setattr(torchvision_ops.torch.library, "Library", Library)
    monkeypatch.setattr(sys, "modules", {**sys.modules, "torchvision.half": ModuleType("half")})

    with caplog.at_level(logging.INFO):
        ensure_torchvision()

    assert calls == ["torchvision", "torchvision"]
    assert declared == ["nms", "qnms"]
    assert "torchvision.half" not in sys.modules
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ModuleNotFoundError("No module named 'torchvision'"), "install it"),
        (RuntimeError("CUDA versions differ"), "install matching builds"),
    ],
)
def test_other_failures_are_one_line(
    monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    fake_imports(monkeypatch, [error])

    with pytest.raises(ConfigError, match=message):
        ensure_torchvision()
