"""``inspect`` of models that take no picture: shapes and types, or an example of the user's own."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest


CODE = """
import torch
from torch import nn

class Text(nn.Module):
    def __init__(self, vocabulary=50):
        super().__init__()
        self.words = nn.Embedding(vocabulary, 16)
        self.conv = nn.Conv1d(16, 24, 3, padding=1)
        self.head = nn.Linear(24, 3)
    def forward(self, ids, mask=None):
        out = self.conv(self.words(ids).transpose(1, 2)).relu()
        out = out if mask is None else out * mask[:, None]
        return {"logits": self.head(out.amax(-1)), "length": ids.shape[1]}

class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.head = nn.Linear(8, 24), nn.Linear(6, 24), nn.Linear(24, 3)
    def forward(self, u, v):
        return self.head((self.a(u) + self.b(v)).relu())

def ids():
    return torch.arange(20).reshape(2, 10)
def by_position():
    return torch.randn(2, 8), torch.randn(2, 6)
def by_name():
    return {"v": torch.randn(2, 6), "u": torch.randn(2, 8)}
def mixed():
    return (torch.randn(2, 8),), {"v": torch.randn(2, 6)}
def masked():
    return {"ids": ids(), "mask": torch.ones(2, 10)}
def nothing():
    return None
def failing():
    return [][0]
def picky(size):
    return torch.zeros(size)
"""


@pytest.fixture
def inspect(tmp_path, monkeypatch, call_main):
    name = f"own_{os.getpid()}_{tmp_path.name}"
    Path(tmp_path / f"{name}.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)

    def run(model, *words):
        asked = [str(word).replace("own:", f"{name}:") for word in words]
        return call_main("inspect", "--model", f"{name}:{model}", "--json", *asked)

    return run


WAYS = {
    "int64": ("Text", "--input-shape", "10", "--input-dtype", "int64"),
    "ids": ("Text", "--example", "own:ids"),
    "by name with a mask": ("Text", "--example", "own:masked"),
    "shapes": (
        *("Two", "--input-shape", "8", "--input-dtype", "float32"),
        *("--input-shape", "6", "--input-dtype", "float32"),
    ),
    "shapes alone": ("Two", "--input-shape", "8", "--input-shape", "6"),
    "by position": ("Two", "--example", "own:by_position"),
    "by name": ("Two", "--example", "own:by_name"),
    "mixed": ("Two", "--example", "own:mixed"),
}


@pytest.mark.parametrize("way", WAYS)
def test_models_of_other_inputs_are_inspected(inspect, way):
    code, out, err = inspect(*WAYS[way])
    assert (code, err) == (0, "")
    found = json.loads(out)
    groups = {"Text": ["words", "conv"], "Two": ["a"]}[WAYS[way][0]]
    assert [group["name"] for group in found["groups"]] == groups
    params = {"Text": 50 * 16 + 16 * 24 * 3 + 24 + 75, "Two": 9 * 24 + 7 * 24 + 75}
    assert found["full"]["params"] == params[WAYS[way][0]]


def test_a_settings_of_the_model_reaches_it(inspect):
    words = ("--set", "model.arguments.vocabulary=2", "--input-shape", "10")
    code, out, _ = inspect("Text", *words, "--input-dtype", "int64")
    assert code == 0  # whole numbers are 0 and 1
    assert json.loads(out)["full"]["params"] == 2 * 16 + 16 * 24 * 3 + 24 + 75


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--input-shape", "10"), "say --input-dtype too, or --example"),
        (("--input-shape", "x", "--input-dtype", "int64"), "must be the sizes of one sample"),
        (("--input-shape", "10", "--input-dtype", "int65"), "--input-dtype must be one of"),
        (("--input-dtype", "int64", "--input-dtype", "int64"), "once for each --input-shape"),
        (("--example", "own:ids", "--input-shape", "8"), "leave out --input-shape"),
        (("--example", "own:nothing"), "an example input must be a tensor"),
        (("--example", "own:failing"), "IndexError in line"),
        (("--example", "own:picky"), "cannot be called with arguments"),
        (("--example", "own:nowhere"), "has no 'nowhere'"),
        (("--example", "own:by_name"), "does not run on an example input"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(inspect, words, message):
    code, out, err = inspect("Text", *words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_models_by_name_take_pictures_and_studies_their_data(call_main):
    words = ("--input-shape", "10", "--input-dtype", "int64")
    code, _, err = call_main("inspect", "--model", "resnet8", *words)
    assert code == 2
    assert "model 'resnet8' takes pictures" in err
    code, _, err = call_main("inspect", "--study", "digits", *words)
    assert code == 2
    assert "are about --model" in err
