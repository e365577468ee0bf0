"""Models that cannot be traced: one line that names the user's own line."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from supernet.exactness import assert_exact
from supernet.exactness import sample_widths
from torch import Tensor
from torch import fx
from torch import nn
from torch.nn.parameter import is_lazy

from dpod_search.errors import GroupingError
from dpod_search.evaluation import Evaluator
from dpod_search.inputs import read_example
from dpod_search.placement import place_module
from dpod_search.supernet import build_supernet
from dpod_search.supernet.tracing.recording import Recorder
from dpod_search.supernet.tracing.trace import trace_model
from dpod_search.supernet.tracing.tracer import Tracer


X = torch.ones(2, 3)


class Model(nn.Module):
    """A net whose forward each test writes."""

    def __init__(self, forward: Callable[[Model, Tensor], Any]) -> None:
        super().__init__()
        self.first = nn.Linear(3, 8)
        self.second = nn.Linear(8, 2)
        self._forward = forward

    def forward(self, x: Tensor) -> Any:
        return self._forward(self, x)


def say(forward: Callable[[Model, Tensor], Any], x: Tensor = X) -> str:
    with pytest.raises(GroupingError) as caught:
        build_supernet(Model(forward), x)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def branch(model: Model, x: Tensor) -> Tensor:
    x = model.first(x)
    if x.sum() > 0:
        x = -x
    return model.second(x)


def loop(model: Model, x: Tensor) -> Tensor:
    x = model.first(x)
    for _ in x:
        x = -x
    return model.second(x)


def outside(model: Model, x: Tensor) -> Tensor:
    return model.second(torch.from_numpy(model.first(x).detach().numpy()))


@pytest.mark.parametrize(("forward", "line"), [(branch, 2), (loop, 2), (outside, 1)])
def test_control_flow_that_depends_on_data_names_the_line(
    forward: Callable[[Model, Tensor], Tensor], line: int
) -> None:
    message = say(forward)

    assert message.startswith("the model cannot be traced (at ")
    assert f"{Path(__file__)}:{forward.__code__.co_firstlineno + line})" in message
    assert "control flow that depends on data" in message


def test_an_input_of_the_wrong_shape_names_the_line_and_the_shape() -> None:
    def chain(model: Model, x: Tensor) -> Tensor:
        return model.second(model.first(x))

    message = say(chain, torch.ones(2, 4))

    assert "does not run on an example input of shape (2, 4)" in message
    assert f"{Path(__file__)}:{chain.__code__.co_firstlineno + 1}" in message
    assert message.endswith("give an input it accepts")


def test_errors_that_the_model_raises_itself() -> None:
    def refuse(model: Model, x: Tensor) -> Tensor:
        raise ValueError("first line\nsecond line")

    message = say(refuse)
    assert "first line" in message
    assert "second line" not in message

    def fail_silently(model: Model, x: Tensor) -> Tensor:
        raise AssertionError

    assert "AssertionError" in say(fail_silently)


@pytest.mark.parametrize("wrap", [tuple, list, lambda pair: {"scores": pair[0]}])
def test_a_model_may_return_several_tensors(wrap: Callable[[Any], Any]) -> None:
    model = Model(lambda model, x: wrap([model.second(model.first(x)), x]))

    assert trace_model(model, read_example(X)).output_shapes[0] == (2, 2)
    assert [group.name for group in build_supernet(model, X).groups] == ["first"]


def test_a_model_with_a_view_stays_in_the_usual_memory_format() -> None:
    class Viewing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 3, padding=1)
            self.head = nn.Linear(8 * 16, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.conv(x).view(x.size(0), -1))

    images = torch.ones(2, 3, 4, 4)
    supernet = build_supernet(Viewing(), images)

    assert not supernet.grouping.runs_channels_last
    assert [group.name for group in supernet.groups] == ["conv"]
    place_module(supernet, torch.device("cpu"), is_channels_last=False)
    evaluator = Evaluator(supernet, images)
    batches = [(images, torch.zeros(2, dtype=torch.long))]
    assert evaluator.evaluate(supernet.space.smallest, batches).n_samples == 2


def test_a_model_that_runs_differently_when_it_is_traced() -> None:
    def moody(model: Model, x: Tensor) -> Tensor:
        return model.second(model.first(x if isinstance(x, Tensor) else x[:, :2]))

    assert "the traced model does not run on the example input" in say(moody)


def test_lazy_layers_get_their_weights_from_the_example() -> None:
    picture = torch.randn(2, 3, 8, 8)
    layers = [nn.LazyConv2d(8, 3), nn.LazyBatchNorm2d(), nn.ReLU(), nn.LazyConvTranspose2d(6, 3)]
    model = nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(2))
    torch.manual_seed(0)
    supernet = build_supernet(model, picture)
    drawn = torch.rand(())

    assert [group.name for group in supernet.groups] == ["0", "3"]
    assert supernet.training
    assert_exact(supernet, picture, widths=sample_widths(supernet, 4))
    assert is_lazy(model[0].weight)  # the model is as it was, and so is PyTorch's generator
    torch.manual_seed(0)
    assert drawn == torch.rand(())
    torch.manual_seed(0)
    model(picture)
    torch.testing.assert_close(supernet.net[0].weight, model[0].weight)


def test_lazy_layers_that_are_not_run_have_no_weights() -> None:
    model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
    model.unused = nn.LazyLinear(2)
    model.forward = lambda x: model[2](model[1](model[0](x)))
    with pytest.raises(GroupingError, match="lazy layers without weights, which the example"):
        build_supernet(model, X)


def test_lazy_layers_that_the_example_does_not_fit() -> None:
    model = nn.Sequential(nn.LazyConv2d(8, 3), nn.Linear(5, 2))
    with pytest.raises(GroupingError, match="does not run on an example input of shape"):
        build_supernet(model, torch.randn(2, 3, 8, 8))


def test_a_model_that_cannot_be_copied() -> None:
    model = nn.Sequential(nn.Linear(3, 8), nn.Linear(8, 2))
    model.lock = threading.Lock()

    with pytest.raises(GroupingError, match=r"cannot be copied: .*lock") as caught:
        build_supernet(model, X)
    assert "\n" not in str(caught.value)


def test_shapes_and_lines_of_every_operation() -> None:
    def chain(model: Model, x: Tensor) -> Tensor:
        return model.second(torch.relu(model.first(x)))

    traced = trace_model(Model(chain), read_example(X))
    nodes = {node.name: node for node in traced.graph.nodes}

    assert traced.batch_size == 2
    assert traced.shapes[nodes["relu"]] == (2, 8)
    assert traced.shapes[nodes["second"]] == (2, 2)
    line = chain.__code__.co_firstlineno + 1
    assert traced.where(nodes["relu"]) == f"relu ({Path(__file__)}:{line})"
    assert not traced.model.training


def test_arguments_that_are_not_given_keep_their_defaults() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(3, 8)
            self.second = nn.Linear(8, 2)

        def forward(self, x: Tensor, mask: Tensor | None = None, is_scaled: bool = True) -> Tensor:
            x = self.first(x)
            if mask is not None:
                x = x + mask
            if is_scaled:
                x = x * 0.5
            return self.second(x)

    supernet = build_supernet(Masked(), X)

    assert [group.name for group in supernet.groups] == ["first"]
    with pytest.raises(GroupingError, match="combines it with channels of fixed number"):
        build_supernet(Masked(), (X, torch.ones(2, 8)))


def test_a_filter_whose_values_the_code_reads_is_a_tensor() -> None:
    class Chosen(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 2, 1)
            self.register_buffer("filt", torch.ones(1, 1, 1, 1))

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x)
            return self.last(x * self.filt if float(self.filt.sum()) > 0 else x)

    supernet = build_supernet(Chosen(), torch.randn(2, 3, 4, 4))

    assert [group.name for group in supernet.groups] == ["first"]


class Asking(nn.Module):
    """Branches on a size in its middle, so that what is in front of it runs while it is traced."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 6), nn.Linear(3, 2)
        self.register_buffer("n_calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.n_calls = self.n_calls + 1
        y = self.first(x).relu()
        one, two = y.chunk(2, 1)
        if y.shape[1] % 2:
            one = one * 2
        return self.last(one + two) * self.n_calls


def test_what_ran_while_a_model_was_traced_does_not_run_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    n_runs: Counter[fx.Node] = Counter()
    run = Recorder.run_node

    def note(self: Recorder, n: fx.Node) -> object:
        n_runs[n] += 1
        return run(self, n)

    monkeypatch.setattr(Recorder, "run_node", note)
    net, example = Asking(), read_example(torch.randn(2, 4))
    traced = trace_model(net, example)
    assert set(n_runs) == set(traced.graph.nodes)
    assert set(n_runs.values()) == {1}

    monkeypatch.setattr(Tracer, "take_record", lambda _: None)
    anew = trace_model(net, example)
    for notes in ("shapes", "itemsizes", "parts", "reuses", "scratch_bytes"):
        one, other = (
            {str(n): str(v) for n, v in getattr(t, notes).items()} for t in (traced, anew)
        )
        assert one == other
