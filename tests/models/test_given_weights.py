"""Files of trained weights as users have them: taken whole, said aloud, or one line."""

from __future__ import annotations

import argparse
import copy
import logging
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor
from torch import nn

from dpod_search.errors import CheckpointError
from dpod_search.errors import ConfigError
from dpod_search.models import ModelSettings
from dpod_search.models import build_model
from dpod_search.models.given_weights import load_given_weights


SHAPE = (1, 8, 8)


def build(n_classes: int = 10, seed: int = 0, **settings: Any) -> nn.Module:
    return build_model(
        ModelSettings(**settings), input_shape=SHAPE, n_classes=n_classes, seed=seed
    )


GIVEN = build(seed=7).state_dict()
OLD = {name: t for name, t in GIVEN.items() if not name.endswith("num_batches_tracked")}
OTHER = build(seed=8).state_dict()


def with_prefix(prefix: str) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in GIVEN.items()}


def load(tmp_path: Path, held: object, name: str = "net.pth", **settings: Any) -> nn.Module:
    path = tmp_path / name
    torch.save(held, path)
    return build(weights=str(path), **settings)


def assert_taken(model: nn.Module, wanted: dict[str, Tensor] = GIVEN) -> None:
    torch.testing.assert_close(model.state_dict(), wanted, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["net.pth", "net.pt", "best.pth.tar", "net"])
def test_a_plain_state_dict_is_taken_and_nothing_is_said(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert_taken(load(tmp_path, GIVEN, name))
    assert not caplog.records


def test_files_of_old_pytorch_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "old.pth"
    torch.save(OLD, path, _use_new_zipfile_serialization=False)
    model = build(weights=str(path))

    state = model.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in OLD.items())


def test_the_ending_does_not_decide(tmp_path: Path) -> None:
    path = tmp_path / "really_safetensors.pt"
    safetensors.torch.save_file(GIVEN, path)

    assert_taken(build(weights=str(path)))


@pytest.mark.parametrize(
    ("held", "said"),
    [
        ({"epoch": 3, "state_dict": GIVEN}, "entry 'state_dict' is taken"),
        ({"model": with_prefix("module."), "lr": 0.1}, "'model' is taken; .*without 'module.'"),
        (with_prefix("module._orig_mod."), "names are taken without 'module._orig_mod.'"),
        ({"n_averaged": torch.tensor(3), **with_prefix("module.")}, "without 'module.'"),
        ({"ema": {"module": GIVEN, "decay": 0.9}}, "entry 'ema.module' is taken"),
        # What stands beside it and has other names is none of the model.
        ({"net": GIVEN, "loss": {"weight": torch.ones(3)}}, "entry 'net' is taken"),
    ],
)
def test_checkpoints_are_opened_and_it_is_said(
    tmp_path: Path, held: object, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert_taken(load(tmp_path, held))
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert re.search(said, record.getMessage())


def test_an_optimizer_beside_the_weights_is_none_of_them(tmp_path: Path) -> None:
    model = build(seed=7)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.zeros(2, *SHAPE)).sum().backward()
    optimizer.step()
    state = copy.deepcopy(model.state_dict())

    assert_taken(load(tmp_path, {"model": state, "optimizer": optimizer.state_dict()}), state)


def test_of_several_state_dicts_the_study_names_one(tmp_path: Path) -> None:
    held = {"model": OTHER, "ema": {"module": GIVEN}}
    with pytest.raises(CheckpointError, match=r"several .*'model', 'ema\.module'.*weights_key"):
        load(tmp_path, held)
    assert_taken(load(tmp_path, held, weights_key="ema.module"))
    assert_taken(load(tmp_path, held, weights_key="model"), OTHER)
    with pytest.raises(CheckpointError, match="no state dict at model.weights_key 'em'"):
        load(tmp_path, held, weights_key="em")
    with pytest.raises(ConfigError, match="weights_key is about a file"):
        build(weights_key="ema")


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_a_head_of_other_classes_is_drawn_anew_and_said(
    tmp_path: Path, ending: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / f"net.{ending}"
    save = torch.save if ending == "pth" else safetensors.torch.save_file
    save(build(3, seed=7).state_dict(), path)
    got, fresh = build(weights=str(path)).state_dict(), build().state_dict()

    given = build(3, seed=7).state_dict()
    heads = {name for name in given if given[name].shape != fresh[name].shape}
    assert heads == {"head.weight", "head.bias"}
    for name, tensor in got.items():
        wanted = fresh if name in heads else given
        assert torch.equal(tensor, wanted[name]), name
    assert "head has 10 classes and in the file 3: it is drawn anew" in caplog.text


def change(**tensors: Tensor | None) -> dict[str, Tensor]:
    """Return the given weights with others under some names; None takes one out."""
    changed = {**GIVEN, **{name.replace("__", "."): t for name, t in tensors.items()}}
    return {name: tensor for name, tensor in changed.items() if tensor is not None}


@pytest.mark.parametrize(
    ("held", "message"),
    [
        (change(head__bias=None), r"it lacks head\.bias"),
        (change(more=torch.ones(1)), "the model has no more"),
        # Not all of it has the other number of classes, or the layer before is another one.
        (change(head__bias=torch.ones(3)), r"head\.bias is \(3,\) instead of \(10,\)"),
        (change(head__weight=torch.ones(3, 7), head__bias=torch.ones(3)), r"\(3, 7\) instead of"),
        # No head, though there are as many outputs as classes.
        (change(bn__weight=torch.ones(3)), r"bn\.weight is \(3,\) instead of"),
        (change(head__bias=torch.ones(10, dtype=torch.int8)), r"torch\.int8 instead of"),
        (change(head__bias=torch.ones(10).to_sparse()), r"head\.bias is sparse, quantised"),
        ({"epoch": 3}, "holds no state dict"),
        (nn.Linear(2, 2), r"holds objects of torch\.nn\.modules\.linear\.Linear"),
        ({"model": GIVEN, "args": argparse.Namespace(lr=1)}, r"objects of argparse\.Namespace"),
    ],
)
def test_what_does_not_fit_is_one_line(tmp_path: Path, held: object, message: str) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        load(tmp_path, held)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_nothing_of_the_file_is_run(tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    with pytest.raises(CheckpointError, match="only running code"):
        load(tmp_path, {"state_dict": GIVEN, "more": _Trap(witness)})
    assert not witness.exists()


class _Trap:
    def __init__(self, witness: Path) -> None:
        self._witness = witness

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return Path.touch, (self._witness,)  # type: ignore[return-value]  # called when unpickled


def test_a_program_of_torchscript_is_refused(tmp_path: Path) -> None:
    torch.save(GIVEN, tmp_path / "net.pt")
    with zipfile.ZipFile(tmp_path / "net.pt", "a") as file:  # what makes it one
        file.writestr("net/constants.pkl", b"")
    with pytest.raises(CheckpointError, match="holds a TorchScript program"):
        build(weights=str(tmp_path / "net.pt"))


def test_damaged_files_are_one_line_and_nobody_says_to_delete_them(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    torch.save(GIVEN, path)
    whole = path.read_bytes()
    for content in (whole[:-500], whole[:30], b"", b"not a file of weights"):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="cannot be read") as caught:
            build(weights=str(path))
        assert "\n" not in str(caught.value)
        assert "delete" not in str(caught.value)


def test_a_head_without_bias_is_drawn_anew(tmp_path: Path) -> None:
    def make(n_classes: int) -> nn.Module:
        return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, n_classes, bias=False))

    file = tmp_path / "weights.pth"
    torch.save(make(9).state_dict(), file)
    model = make(5)
    load_given_weights(model, file, n_classes=5)
    assert model[2].weight.shape == (5, 8)
