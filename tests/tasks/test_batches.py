"""Batches of several inputs: what is trained, searched and finetuned on them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from torch import nn

import dpod_search as dpod
from dpod_search.errors import DataError
from dpod_search.evaluation import Evaluator
from dpod_search.finetune import FinetuneSettings
from dpod_search.importance import measure_unit_importance
from dpod_search.inputs import ModelCall
from dpod_search.inputs import join_samples
from dpod_search.tasks.batches import read_batch


DRAW = torch.Generator().manual_seed(0)
U, V = torch.randn(64, 8, generator=DRAW), torch.randn(64, 6, generator=DRAW)
Y = (U.sum(1) > V.sum(1)).long()
PARTS = [slice(k, k + 16) for k in range(0, 64, 16)]


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(8, 16), nn.Linear(6, 16)
        self.joint, self.norm, self.head = nn.Linear(32, 24), nn.BatchNorm1d(24), nn.Linear(24, 2)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        both = torch.cat([self.left(left), self.right(right)], 1)
        logits: Tensor = self.head(self.norm(self.joint(both.relu())).relu())
        return logits


class OneTensor(nn.Module):
    """The same net, which takes its inputs side by side in one tensor."""

    def __init__(self, net: Two) -> None:
        super().__init__()
        self.net = net

    def forward(self, both: Tensor) -> Tensor:
        logits: Tensor = self.net(both[:, :8], both[:, 8:])
        return logits


@dataclass
class Item:
    left: Tensor
    right: Tensor
    label: Tensor


FORMS: dict[str, Callable[[slice], Any]] = {
    "pair": lambda rows: ((U[rows], V[rows]), Y[rows]),
    "list": lambda rows: [[U[rows], V[rows]], Y[rows]],
    "names": lambda rows: ({"right": V[rows], "left": U[rows]}, Y[rows]),
    "dictionary": lambda rows: {"left": U[rows], "right": V[rows], "labels": Y[rows]},
    "dataclass": lambda rows: Item(U[rows], V[rows], Y[rows]),
}


def make_net() -> Two:
    torch.manual_seed(0)
    return Two()


def run_all(supernet: dpod.Supernet, batches: list[Any]) -> tuple[list[Tensor], Any]:
    """Train, search and finetune; return all weights and what was measured."""
    dpod.train_supernet(supernet, batches, epochs=2)
    front = dpod.search(supernet, [dpod.Accuracy(batches), dpod.Macs()], n_trials=6)
    settings = FinetuneSettings(epochs=2, equal_cost=0)
    tuned = dpod.finetune(front[0], batches, validation_loader=batches, settings=settings)
    weights = [*supernet.state_dict().values(), *tuned.module.state_dict().values()]
    return weights, (tuned.metrics_before, tuned.metrics, [m.values for m in front.members])


@pytest.mark.parametrize("form", FORMS)
def test_several_inputs_end_with_the_weights_of_one(form: str) -> None:
    whole = torch.cat([U, V], 1)
    one = dpod.build_supernet(OneTensor(make_net()), whole[:2])
    expected, measured = run_all(one, [(whole[rows], Y[rows]) for rows in PARTS])
    example = ((), {"left": U[:2], "right": V[:2]}) if form != "pair" else (U[:2], V[:2])
    two = dpod.build_supernet(make_net(), example)
    found, said = run_all(two, [FORMS[form](rows) for rows in PARTS])
    assert said == measured
    for got, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(got, wanted)


def test_several_inputs_are_judged_and_weighed() -> None:
    batches = [FORMS["dictionary"](rows) for rows in PARTS]
    supernet = dpod.build_supernet(make_net(), (U[:2], V[:2]))
    evaluator = Evaluator(supernet, (U, V))
    assert evaluator.evaluate(supernet.space.full, batches).n_samples == 64
    before = copy.deepcopy(supernet.state_dict())
    weighed = measure_unit_importance(supernet, batches)
    assert {len(scores) for scores in weighed.by_group()} == {16, 24}
    for name, tensor in supernet.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_rows_that_were_padded_otherwise_do_not_calibrate() -> None:
    short, long = (ModelCall((), {"ids": torch.zeros(4, n, dtype=torch.int64)}) for n in (5, 7))
    joined = join_samples([short, long, short])
    assert isinstance(joined, ModelCall)
    assert joined.kwargs["ids"].shape == (8, 5)
    assert torch.equal(join_samples([U[:3], U[3:9]]), U[:9])


def test_what_has_no_samples_is_kept_once() -> None:
    call = ModelCall((U[:4], torch.ones(6, 6)), {})
    joined = join_samples([call, call])
    assert isinstance(joined, ModelCall)
    assert [tensor.shape for tensor in joined.tensors] == [(8, 8), (6, 6)]


@pytest.mark.parametrize(
    ("batch", "got"),
    [
        ((U, V, Y), "a tuple of 3"),
        ({"left": U, "right": V}, "a dict with left, right"),
        ({"left": U, "label": Y, "labels": Y}, "a dict with left, label, labels"),
        (U, r"a tensor of shape \(64, 8\)"),
        (("words", Y), "a str"),
        (({"words": "a"}, Y), "a dict with words"),
        (((), Y), "a tuple of 0"),
    ],
)
def test_what_is_no_batch_is_told(batch: Any, got: str) -> None:
    with pytest.raises(DataError, match=got):
        read_batch(batch)
