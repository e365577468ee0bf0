"""Models of any signature: what they are called with, and what they return."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor
from torch import nn

from dpod_search.errors import ConfigError
from dpod_search.errors import GroupingError
from dpod_search.footprint import build_footprint
from dpod_search.inputs import ModelCall
from dpod_search.inputs import find_example
from dpod_search.inputs import read_example
from dpod_search.supernet import build_supernet
from dpod_search.supernet import check_inputs
from dpod_search.supernet import extract_subnet
from dpod_search.supernet.tracing.recording import tensors_of


X, Y = torch.randn(4, 16), torch.randn(4, 16)


@dataclass
class Answer:
    logits: Tensor
    hidden: Tensor | None = None


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.head = nn.Linear(16, 32), nn.Linear(32, 48), nn.Linear(48, 5)

    def run(self, x: Tensor) -> Tensor:
        return self.head(self.two(self.one(x).relu()).relu())


def hand_on(forward):
    @functools.wraps(forward)
    def wrapper(self, *args, **kwargs):
        is_plain = kwargs.pop("plain", False)
        answer = forward(self, *args, **kwargs)
        return answer.logits if is_plain else answer

    return wrapper


class Decorated(Base):
    @hand_on
    def forward(self, x, mask=None, **kwargs):
        assert mask is None
        return Answer(self.run(x))


class HandsOn(Base):
    def forward(self, x, *args, **kwargs):
        return self.predict(x, *args, **kwargs)

    def predict(self, x, scale=1.0, times=1):
        return self.run(x) * scale * times


class ByName(Base):
    def forward(self, *, first, second=None, n_times: int = 1):
        x = first if second is None else first + second
        for _ in range(n_times):
            x = x * 2
        return {"scores": [self.run(x)]}


class OfDictionary(Base):
    def forward(self, batch):
        return self.run(batch["x"] - batch["parts"][0])


CALLS = {
    "decorated": (Decorated(), X),
    "decorated, plain": (Decorated(), ((X,), {"plain": True})),
    "hands on": (HandsOn(), X),
    "hands numbers on": (HandsOn(), ((X, 0.5), {"times": 3})),
    "by name": (ByName(), {"first": X}),
    "by name, with an integer": (ByName(), {"first": X, "second": Y, "n_times": 2}),
    "a dictionary": (OfDictionary(), (({"x": X, "parts": [Y]},), {})),
}


@pytest.mark.parametrize("name", CALLS)
def test_supernet_and_subnet_are_called_as_the_model_is(name: str) -> None:
    model, example = CALLS[name]
    call = read_example(example)
    supernet = build_supernet(model.eval(), example).eval()
    assert [group.name for group in supernet.groups] == ["one", "two"]
    whole = call.run(model)
    assert type(call.run(supernet)) is type(whole)
    torch.testing.assert_close(tensors_of(call.run(supernet)), tensors_of(whole))
    widths = supernet.space.sample(np.random.default_rng(0))
    with supernet.active(widths):
        narrow = tensors_of(call.run(supernet))
    torch.testing.assert_close(tensors_of(call.run(extract_subnet(supernet, widths))), narrow)


def test_what_the_head_makes_is_frozen_as_the_output_inside_a_dataclass_too() -> None:
    supernet = build_supernet(Decorated().eval(), X)
    (frozen,) = supernet.grouping.frozen
    assert (frozen.name, frozen.reasons) == ("head", ("output of the model fixes it",))


def test_inputs_of_the_graph_are_named_as_the_arguments_are() -> None:
    supernet = build_supernet(ByName().eval(), {"second": Y, "first": X})
    kinds = [o.what for o in supernet.grouping.operations if o.kind == "input"]
    assert kinds == ["second", "first"]


class Placed(Base):
    def forward(self, x, places, factor):
        return self.run(x + places) * factor


def test_the_batch_is_that_of_the_first_tensor_that_has_one() -> None:
    given = {"places": Y[:1], "factor": torch.tensor(2.0), "x": X}
    supernet = build_supernet(Placed().eval(), given)
    macs = build_footprint(supernet).measure(supernet.space.full)["macs"]
    assert macs == 16 * 32 + 32 * 48 + 48 * 5
    assert supernet.example_shape == (16,)


@pytest.mark.parametrize("example", [{}, ((), {"x": 3}), [], ((X[:0],), {})])
def test_a_call_needs_a_tensor_with_a_sample(example) -> None:
    with pytest.raises(GroupingError, match="must be a tensor with at least one sample"):
        read_example(example)


def test_a_name_that_the_model_does_not_know_is_its_own_error() -> None:
    with pytest.raises(GroupingError, match="does not run on an example input.*'third'"):
        build_supernet(ByName().eval(), {"third": X})


class Masked(Base):
    def forward(self, x, mask, factor):
        return self.run((mask @ x).amax(1)) * factor


def test_a_subnet_carries_no_batch_of_the_users() -> None:
    """But as few samples as tell them from what has none: a mask is as long as its sequences."""
    x, mask, factor = torch.randn(64, 2, 16), torch.ones(2, 2), torch.tensor(2.0)
    supernet = build_supernet(Masked().eval(), {"x": x, "mask": mask, "factor": factor})
    subnet = extract_subnet(supernet, supernet.space.smallest)
    noted = find_example(subnet)
    assert [tuple(tensor.shape) for tensor in noted.tensors] == [(3, 2, 16), (2, 2), ()]
    assert noted.n_samples == 3
    torch.testing.assert_close(noted.tensors[0], x[:3])
    assert all(t.untyped_storage().nbytes() == t.numel() * 4 for t in noted.tensors)
    torch.testing.assert_close(noted.run(subnet), subnet(x, mask, factor)[:3])


def test_where_all_axes_are_alike_the_noted_example_is_whole() -> None:
    """What has samples cannot be told then, and a call with half of it might be none."""
    x, mask, factor = torch.randn(2, 2, 16), torch.ones(2, 2), torch.tensor(2.0)
    supernet = build_supernet(Masked().eval(), {"x": x, "mask": mask, "factor": factor})
    call = ModelCall((), {"x": torch.randn(6, 6, 16), "mask": torch.ones(6, 6), "factor": factor})
    noted = call.take_few()
    assert [tuple(tensor.shape) for tensor in noted.tensors] == [(6, 6, 16), (6, 6), ()]
    noted.run(extract_subnet(supernet, supernet.space.smallest))


@pytest.mark.parametrize(("n", "n_masks", "number"), [(6, 6, 2), (9, 8, None)])
def test_what_has_samples_must_be_told_by_its_length(
    n: int, n_masks: int, number: int | None
) -> None:
    supernet = build_supernet(Masked().eval(), {"x": torch.randn(3, 6, 16), **EXAMPLE})
    masks = torch.ones(n_masks, n_masks)
    call = read_example({"x": torch.randn(n, 6, 16), **EXAMPLE, "mask": masks})
    if number is None:
        check_inputs(supernet, call)
        return
    with pytest.raises(ConfigError, match=rf"tensor {number}, .* a row for each of {n} samples"):
        check_inputs(supernet, call)


EXAMPLE = {"mask": torch.ones(6, 6), "factor": torch.tensor(2.0)}
