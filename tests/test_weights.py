"""Weights go to safetensors files and come back exactly, or the error says what is wrong."""

from __future__ import annotations

import copy
import hashlib
import os
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from dpod_search.errors import CheckpointError
from dpod_search.placement import place_module
from dpod_search.weights import load_weights
from dpod_search.weights import read_tensors
from dpod_search.weights import save_weights
from dpod_search.weights import write_tensors


def make_net(width: int = 4) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.Conv2d(width, 2, 1))


def test_a_net_comes_back_bit_for_bit(tmp_path: Path) -> None:
    net, other = place_module(make_net(), torch.device("cpu")), make_net()
    net(torch.randn(4, 3, 5, 5))
    save_weights(tmp_path / "net.safetensors", net)
    load_weights(other, tmp_path / "net.safetensors")

    torch.testing.assert_close(other.state_dict(), net.state_dict(), rtol=0, atol=0)


def test_tensors_of_all_kinds_and_a_state_come_back(tmp_path: Path) -> None:
    tensors = {
        "double": torch.randn(2, 3, dtype=torch.float64),
        "half": torch.randn(2).to(torch.bfloat16),
        "count": torch.tensor(3),
        "flags": torch.tensor([True, False]),
        "turned": torch.arange(6).reshape(2, 3).T,
        "empty": torch.empty(0, 2),
        "also empty": torch.empty(0, 2),
        "gradient": torch.ones(2, requires_grad=True),
    }
    state = {"step": 3, "lr": [0.1, None], "name": "zwölf"}
    write_tensors(tmp_path / "all.safetensors", tensors, state)
    got, got_state = read_tensors(tmp_path / "all.safetensors")

    assert got_state == state
    torch.testing.assert_close(got, {name: t.detach() for name, t in tensors.items()})


def test_tied_weights_and_views_of_one_tensor_can_be_written(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    net[1].weight = net[0].weight
    other = copy.deepcopy(net)
    nn.init.zeros_(other[0].weight)
    save_weights(tmp_path / "net.safetensors", net)
    load_weights(other, tmp_path / "net.safetensors")

    torch.testing.assert_close(other.state_dict(), net.state_dict())
    assert other[0].weight is other[1].weight

    whole = torch.arange(6.0)
    write_tensors(tmp_path / "views.safetensors", {"whole": whole, "part": whole[2:4]})
    assert read_tensors(tmp_path / "views.safetensors")[0]["part"].tolist() == [2, 3]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("0.weight"), r"it lacks 0\.weight"),
        (lambda t: t.update(more=torch.ones(1)), "the model has no more"),
        (lambda t: t.update({"2.bias": torch.ones(7)}), r"2\.bias is \(7,\) instead of \(2,\)"),
        (lambda t: t.clear(), r"it lacks 0\.weight, 0\.bias, 1\.weight and 6 more"),
    ],
)
def test_other_weights_are_refused_and_the_net_stays(
    tmp_path: Path, change: object, message: str
) -> None:
    path = tmp_path / "net.safetensors"
    tensors = dict(make_net().state_dict())
    change(tensors)  # type: ignore[operator]
    write_tensors(path, tensors)
    net = make_net()
    before = copy.deepcopy(net.state_dict())

    with pytest.raises(CheckpointError, match=message) as caught:
        load_weights(net, path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    torch.testing.assert_close(net.state_dict(), before, rtol=0, atol=0)


def test_damaged_and_missing_files_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    save_weights(path, make_net())
    content = path.read_bytes()

    for damaged in (content[:-1], content[:50], b"", b"not a safetensors file at all"):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="damaged") as caught:
            read_tensors(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(CheckpointError, match="is missing"):
        read_tensors(tmp_path / "nothing.safetensors")
    with pytest.raises(CheckpointError):
        read_tensors(tmp_path)


def test_a_write_that_fails_leaves_the_earlier_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "net.safetensors"
    save_weights(path, make_net())
    before = path.read_bytes()

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(CheckpointError, match="No space left"):
        save_weights(path, make_net())
    assert path.read_bytes() == before
    assert [child.name for child in tmp_path.iterdir()] == ["net.safetensors"]


def test_a_header_whose_state_is_too_deep_is_damaged(tmp_path: Path) -> None:
    file = tmp_path / "deep.safetensors"
    blank = "0" * 64
    state = f'{{"sha256": "{blank}", "state": {"[" * 100_000}'
    data = safetensors.torch.save({"x": torch.ones(1)}, {"dpod_search": state})
    digest = hashlib.sha256(data).hexdigest()  # as a file is sealed that holds nothing wrong
    file.write_bytes(data.replace(blank.encode(), digest.encode(), 1))

    with pytest.raises(CheckpointError, match="cannot be read .*too deep"):
        read_tensors(file)
