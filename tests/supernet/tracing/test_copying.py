"""A copied module is what ``copy.deepcopy`` makes of it."""

from __future__ import annotations

import copy
from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import Tensor
from torch import nn

from dpod_search.supernet.tracing.copying import copy_module


class Parts(nn.Module):
    """Parts of many kinds: shared ones, lists, hooks, a class that copies itself, a ring."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU()])
        self.again = self.layers[0]
        self.attention = nn.MultiheadAttention(4, 2)
        self.recurrent = nn.LSTM(4, 3)
        self.counted = Counted()
        self.register_buffer("codes", torch.ones(2), persistent=False)
        self.notes: dict[str, list[Any]] = {"sizes": [1, 2], "empty": []}
        self.same_notes = self.notes
        self.ring = [self]
        self.layers[2].register_forward_hook(_note)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers[2](self.layers[1](self.again(x)))


class Counted(nn.Module):
    """Says itself how it is copied."""

    def __init__(self) -> None:
        super().__init__()
        self.n_copies = 0

    def __deepcopy__(self, memo: dict[int, Any]) -> Counted:
        made = Counted()
        made.n_copies = self.n_copies + 1
        return made


def _note(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
    return output + 1


def test_a_copy_has_the_same_parts_and_shares_none() -> None:
    model = Parts().eval()
    copied, wanted = copy_module(model), copy.deepcopy(model)

    assert [n for n, _ in copied.named_modules()] == [n for n, _ in wanted.named_modules()]
    assert copied.again is copied.layers[0] is not model.again
    assert copied.ring[0] is copied
    assert copied.notes is copied.same_notes is not model.notes
    assert copied.notes == model.notes
    assert copied.counted.n_copies == 1
    assert not copied.training
    for (name, got), (_, held) in zip(copied.named_modules(), model.named_modules(), strict=True):
        assert vars(got).keys() == vars(held).keys(), name
        for key, value in vars(held).items():
            is_shared = vars(got)[key] is value
            assert not (is_shared and isinstance(value, (dict, set, list, Tensor))), (name, key)
            assert type(vars(got)[key]) is type(value)
    state = model.state_dict()
    assert all(torch.equal(tensor, state[key]) for key, tensor in copied.state_dict().items())
    assert copied.state_dict()["layers.0.weight"].data_ptr() != model.again.weight.data_ptr()
    x = torch.randn(2, 3, 5, 5)
    assert torch.equal(copied(x), model(x))
    # A recurrent layer finds its weights in its copy, and not in what it was copied from.
    nn.init.zeros_(copied.recurrent.weight_ih_l0)
    assert all(
        copied.recurrent._flat_weights[i] is p for i, p in enumerate(copied.recurrent.parameters())
    )


def test_what_the_memo_holds_is_taken_for_its_copy() -> None:
    model = Parts()
    stand_in, weight = nn.Identity(), model.layers[0].weight
    copied = copy_module(model, {id(model.attention): stand_in, id(weight): weight})
    assert copied.attention is stand_in
    assert copied.again.weight is weight
    assert copied.again.bias is not model.again.bias


class Reduced(nn.Linear):
    """Is pickled, and so copied, in a way of its own."""

    def __reduce_ex__(self, _protocol: Any) -> Any:
        return Reduced, (self.in_features, 1)


class Stated(nn.Module):
    """Leaves out of its state what it does not keep."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = memoryview(b"cannot be copied")

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "lock": None}


@pytest.mark.parametrize("part", [Reduced(2, 3), Stated()])
def test_a_class_that_is_copied_in_its_own_way_is(part: nn.Module) -> None:
    copied, wanted = copy_module(nn.Sequential(part))[0], copy.deepcopy(part)
    assert getattr(copied, "out_features", None) == getattr(wanted, "out_features", None)
    assert getattr(copied, "lock", None) is None


def test_old_states_are_completed_as_they_are_when_loaded() -> None:
    class Old(nn.Module):
        def __setstate__(self, state: dict[str, Any]) -> None:
            super().__setstate__(state)
            self.is_completed = True

    assert copy_module(nn.ModuleList([Old()]))[0].is_completed


def test_empty_tables_keep_their_kinds() -> None:
    module = nn.Linear(2, 2)
    copied = copy_module(module)
    assert isinstance(vars(copied)["_forward_hooks"], OrderedDict)
    handle = copied.register_forward_hook(_note)
    handle.remove()
