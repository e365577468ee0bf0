from __future__ import annotations

import shutil

import pytest
import torch
from torch import nn

from dpod_search.errors import ConfigError
from dpod_search.latency.backends.compiled import CompiledBackend


CPU = torch.device("cpu")


def prepare(net):
    return CompiledBackend().prepare(net.eval(), torch.ones(2, 3), device=CPU, n_threads=1)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler")
def test_a_net_is_compiled_once_and_runs():
    calls = []

    class Net(nn.Module):
        def forward(self, x):
            if not torch.compiler.is_compiling():
                calls.append(x)
            return torch.relu(x) + 1

    run = prepare(Net())
    run()
    run()
    assert calls == []  # its own code is not run any more
    assert CompiledBackend().find_version().endswith("compiled")


def test_what_cannot_be_compiled_is_told_in_one_line(monkeypatch):
    def give_up(*_args, **_options):
        raise RuntimeError("no compiler\nand more")

    net = nn.Linear(3, 4)
    monkeypatch.setattr(net, "compile", lambda **_options: setattr(net, "forward", give_up))
    with pytest.raises(
        ConfigError, match=r"cannot compile the net here \(no compiler\); set"
    ) as e:
        prepare(net)
    assert "\n" not in str(e.value)
