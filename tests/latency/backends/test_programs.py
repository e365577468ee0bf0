"""Programs of operators give what the module gives, and what is read runs operators alone."""

from __future__ import annotations

import copy
import json
import math

import pytest
import torch
from latency.fakes import Dense
from latency.fakes import make_residual_net
from torch import nn
from torch.nn import functional as F

from dpod_search.errors import ConfigError
from dpod_search.errors import DataError
from dpod_search.latency.backends.programs import read_program
from dpod_search.latency.backends.programs import write_program


CPU = torch.device("cpu")
IMAGES = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Mixed(nn.Module):
    """Constants, indices, several results, numbers that are no JSON, a device."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 1)
        self.register_buffer("order", torch.zeros(4, dtype=torch.long))

    def forward(self, x):
        first, second = self.conv(x).chunk(2, 1)
        x = torch.where(first > 0, first, torch.full_like(first, -math.inf)).amax(1)
        y = F.gelu(second[:, self.order], approximate="tanh").sum(1, dtype=torch.float32)
        ramp = torch.arange(8, device=x.device, dtype=torch.float32)
        return torch.clamp(x, min=-9.0) + y * ramp + 2.0, second


NETS = {
    "residual": make_residual_net(),
    "concatenation": Dense(3, 4),
    "mixed": Mixed(),
    "attention": nn.Sequential(
        nn.Flatten(2), nn.TransformerEncoderLayer(64, 4, 32, batch_first=True)
    ),
}


def give_weights(program, net):
    """Let a program compute with the weights of a net, in the order of the net's own export."""
    exported = torch.export.export(net, (IMAGES,))
    held = {**exported.state_dict, **exported.constants}
    targets = [spec.target for spec in exported.graph_signature.input_specs]
    for i, target in enumerate(targets):
        if target is not None and hasattr(program, f"tensor{i}"):
            with torch.no_grad():
                getattr(program, f"tensor{i}").copy_(held[target])


@pytest.mark.parametrize("name", NETS)
def test_a_program_computes_what_the_module_does(name):
    net = copy.deepcopy(NETS[name]).eval()
    text = json.dumps(write_program(net, IMAGES), allow_nan=False)
    program = read_program(json.loads(text), CPU)

    with torch.no_grad():
        program(IMAGES)  # with weights of its own
        give_weights(program, net)
        found, due = program(IMAGES), net(IMAGES)
    torch.testing.assert_close(found, list(due) if isinstance(due, tuple) else [due])


def test_a_program_holds_no_weights():
    program = write_program(make_residual_net().eval(), IMAGES)
    assert len(json.dumps(program)) < 10_000
    read = read_program(program, CPU)
    own = dict(make_residual_net().named_parameters())
    assert not any(
        torch.equal(p, q) for p in read.parameters() for q in own.values() if p.ndim > 1
    )


def test_values_stay_at_one_scale_through_many_layers():
    net = nn.Sequential(*[nn.Conv2d(3 if i == 0 else 4, 4, 3, padding=1) for i in range(60)])
    with torch.no_grad():
        found = read_program(write_program(net.eval(), IMAGES), CPU)(IMAGES)[0]
    assert 1e-3 < found.abs().mean() < 1e9


def test_an_operator_of_ones_own_is_refused_when_written():
    @torch.library.custom_op("latency_test::twice", mutates_args=())
    def twice(x: torch.Tensor) -> torch.Tensor:
        return 2 * x

    @twice.register_fake
    def _(x):
        return torch.empty_like(x)

    class Net(nn.Module):
        def forward(self, x):
            return twice(x)

    with pytest.raises(ConfigError, match=r"latency_test.*none of PyTorch's plain"):
        write_program(Net(), IMAGES)


def test_a_model_that_cannot_be_exported_is_told():
    class Net(nn.Module):
        def forward(self, x):
            return x * 2 if x.sum() > 0 else x

    with pytest.raises(ConfigError, match="cannot be exported") as told:
        write_program(Net(), IMAGES)
    assert "\n" not in str(told.value)


def program_of(name, *arguments, **keywords):
    return {
        "tensors": ["images"],
        "calls": [[name, list(arguments), keywords, 0]],
        "result": [{"of": 1}],
    }


def test_a_program_by_hand():
    program = read_program(program_of("aten.add.Tensor", {"of": 0}, {"of": 0}, alpha=2), CPU)
    torch.testing.assert_close(program(IMAGES), [3 * IMAGES])


def test_operators_are_called_through_as_many_modules_as_in_the_net():
    net = make_residual_net(n_blocks=1).eval()
    calls = write_program(net, IMAGES)["calls"]
    depths = {}
    for name, *_, depth in calls:
        depths.setdefault(name, []).append(depth)

    # The net and its stem; then the block and its first convolution; its second one.
    assert depths["aten.conv2d.default"] == [2, 2, 1]
    assert depths["aten.batch_norm.default"] == [1, 1, 1]
    # The stem's is a module, the block's are methods: one of its first norm, one of itself.
    assert depths["aten.relu.default"] == [1, 0, 0]
    program = read_program(write_program(net, IMAGES), CPU)
    found = []
    for i in range(len(calls)):
        call, n_calls = getattr(program, f"call{i}", None), 0
        while isinstance(call, nn.Module):
            call, n_calls = call.forward, n_calls + 1
        found.append(n_calls)
    assert found == [depth for *_, depth in calls]


@pytest.mark.parametrize("depth", [-1, 1000, "1", None, True])
def test_an_operator_is_in_few_modules(depth):
    value = program_of("aten.relu.default", {"of": 0})
    value["calls"][0][-1] = depth
    with pytest.raises(DataError, match="cannot be in"):
        read_program(value, CPU)


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"tensors": [], "calls": [], "result": []},
        {"tensors": ["images", "images"], "calls": [], "result": [{"of": 0}]},
        {"tensors": ["images", 3], "calls": [], "result": [{"of": 0}]},
        {"tensors": ["images", [[-1], "torch.float32", True]], "calls": [], "result": []},
        {"tensors": ["images", [[1], "torch.load", True]], "calls": [], "result": []},
        {"tensors": ["images", [[1], "torch.nothing", True]], "calls": [], "result": []},
        program_of("aten.nothing.default", {"of": 0}),
        program_of("aten.relu.nothing", {"of": 0}),
        program_of("os.system", "true"),
        program_of("builtins.eval", "1"),
        program_of("aten.relu.__class__", {"of": 0}),
        program_of("prims.add.default", {"of": 0}, {"of": 0}),
        program_of("aten.save.default", 3, "stolen"),
        program_of("aten.from_file.default", "/etc/hostname"),
        program_of("aten.relu.default", {"of": 1}),
        program_of("aten.relu.default", {"of": -1}),
        program_of("aten.relu.default", {"of": 0}, **{"a=1); evil(": 2}),
        program_of("aten.relu.default", {"of": 0}, **{"lambda": 2}),
        program_of("aten.relu.default", {"torch": "torch.load"}),
        program_of("aten.relu.default", {"of": 0, "torch": "torch.float32"}),
        program_of("aten.relu.default", {"float": "many"}),
    ],
    ids=str,
)
def test_what_is_no_program_is_one_clear_error(value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="a net of the latency request cannot be read") as told:
        read_program(value, CPU)
    assert "\n" not in str(told.value)
    assert not list(tmp_path.iterdir())
