"""Models of several inputs and outputs: each is compared in every format, or one line says why not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torch import nn

from dpod_search.errors import ExportError
from dpod_search.export import FORMATS
from dpod_search.export import export
from dpod_search.export.calls import compare_answers
from dpod_search.export.formats import read_exported
from dpod_search.inputs import ModelCall
from dpod_search.supernet import build_supernet
from dpod_search.supernet import extract_subnet


@dataclass
class Found:
    boxes: torch.Tensor
    scores: torch.Tensor | None = None
    more: torch.Tensor | None = None


class Heads(nn.Module):
    """Two heads on one body, answered as a tuple, a dictionary, both, or a dataclass."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.body = nn.Conv2d(3, 8, 3)
        self.boxes, self.scores = nn.Conv2d(8, 4, 1), nn.Conv2d(8, 5, 1)

    def forward(self, x):
        out = self.body(x).relu()
        boxes, scores = self.boxes(out), self.scores(out)
        ways = {
            "tuple": (boxes, scores),
            "one": (scores,),
            "dict": {"scores": scores, "boxes": boxes},
            "nested": {"found": (boxes, scores), "map": out.mean(1)},
        }
        return Found(boxes, scores) if self.how == "dataclass" else ways[self.how]


class Words(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.body, self.head = nn.Embedding(50, 8), nn.Linear(8, 12), nn.Linear(12, 3)

    def forward(self, ids, mask=None, scale=1):
        out = self.body(self.words(ids)).relu()
        out = out if mask is None else out * mask[..., None]
        return self.head(out.amax(1)) * scale


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Linear(8, 12), nn.Linear(8, 12), nn.Linear(24, 3)

    def forward(self, u, v):
        return self.head(torch.cat([self.a(u), self.b(v)], 1).relu())


def cut(model, example):
    supernet = build_supernet(model, example)
    module = extract_subnet(supernet, supernet.space.smallest).eval()
    return SimpleNamespace(module=module, input_shape=supernet.example_shape)


def reload(model, written):
    weights = written.path.with_name("model.safetensors")
    if written.format == "python":
        export(model, weights)
    return read_exported(model.module, written.format, written.path, weights=weights)


ENDINGS = [kind.ending for kind in FORMATS.values() if kind.is_exact]
PICTURES = torch.randn(2, 3, 8, 8)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("how", ["tuple", "one", "dict", "nested", "dataclass"])
def test_every_output_comes_back(how, ending, tmp_path):
    if ending == ".onnx":
        pytest.importorskip("onnxruntime")
    model, path = cut(Heads(how), PICTURES), tmp_path / f"model{ending}"
    if (how, ending) == ("dataclass", ".py"):
        with pytest.raises(ExportError, match="returns a Found, a class that the code would not"):
            export(model, path)
        assert not path.exists()
        return
    written = export(model, path)
    assert written.max_difference <= 1e-4
    # Not by what the export itself compares: the last output of what is read again.
    x = torch.randn(3, 3, 8, 8)
    wanted, got = model.module(x), reload(model, written)(x)
    if how == "dataclass":
        wanted, got = wanted.scores, got.scores if ending == ".safetensors" else got["scores"]
    elif how in {"tuple", "one"}:
        is_named = isinstance(got, dict)
        wanted, got = wanted[-1], got if torch.is_tensor(got) else got["1" if is_named else -1]
    else:
        key = "map" if how == "nested" else "boxes"
        wanted, got = wanted[key], got[key]
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)


IDS = torch.randint(0, 50, (2, 6))
MASK = torch.tensor([[1.0] * 6, [1.0] * 4 + [0.0] * 2])
CALLS = {
    "ids": (Words, IDS),
    "ids and mask": (Words, (IDS, MASK)),
    "by name": (Words, {"ids": IDS, "mask": MASK}),
    "turned": (Two, {"v": torch.randn(2, 8), "u": torch.randn(2, 8)}),
    "two": (Two, (torch.randn(2, 8), torch.randn(2, 8))),
    "mixed": (Two, ((torch.randn(2, 8),), {"v": torch.randn(2, 8)})),
}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("name", CALLS)
def test_a_net_is_exported_with_what_its_supernet_was_built_with(name, ending, tmp_path):
    if ending == ".onnx":
        pytest.importorskip("onnxruntime")
    kind, example = CALLS[name]
    written = export(cut(kind(), example), tmp_path / f"model{ending}")
    assert written.max_difference <= 1e-4


def test_what_a_net_takes_can_be_given(tmp_path):
    bare = SimpleNamespace(module=Words().eval(), input_shape=(6,))
    with pytest.raises(ExportError, match="called with float32 of shape .*give .*example_input"):
        export(bare, tmp_path / "model.pt2")
    assert export(bare, tmp_path / "model.pt2", example_input=IDS).max_difference <= 1e-4
    numbers = ((IDS,), {"scale": 3})
    assert export(bare, tmp_path / "n.pt2", example_input=numbers).max_difference <= 1e-4
    with pytest.raises(ExportError, match="called with a int, no tensor"):
        export(bare, tmp_path / "model.py", example_input=numbers)


def test_eight_bits_take_pictures_alone(tmp_path):
    with pytest.raises(ExportError, match="8-bit ranges are found on pictures"):
        export(cut(Words(), IDS), tmp_path / "model.int8.onnx")


@pytest.mark.parametrize(
    ("got", "message"),
    [
        (lambda x: (x,), "it returns a tensor in the place of 0, 1|returns 0 in the place"),
        (lambda x: {"0": x, "2": x}, "returns 0, 2 in the place of 0, 1"),
        (lambda x: (x, x[:1]), r"output 1 has the shape \(1, 2\) in the place of \(3, 2\)"),
    ],
)
def test_other_outputs_are_refused(got, message):
    call = ModelCall((torch.ones(3, 2),), {})
    with pytest.raises(ExportError, match=message):
        compare_answers(lambda x: (x, x), got, call)


def test_the_worst_of_all_outputs_counts():
    call = ModelCall((torch.ones(3, 2),), {})
    answer = {"a": torch.ones(3), "b": torch.tensor([100.0, 1.0]), "n": torch.tensor([3])}

    def differ(**changes):
        return compare_answers(lambda _: answer, lambda _: {**answer, **changes}, call)

    assert differ() == 0
    assert differ(b=torch.tensor([100.0, 2.0])) == pytest.approx(0.01)
    assert differ(a=torch.zeros(3)) == 1
    assert differ(n=torch.tensor([4])) == float("inf")
    assert differ(a=torch.full((3,), float("nan"))) != differ()


class Tokens(nn.Module):
    """Logits of the next token from a mean over all tokens so far; of any length up to 16."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(9, 8), nn.Linear(8, 9)
        self.places = nn.Parameter(torch.randn(16, 8))

    def forward(self, ids: Tensor) -> Tensor:
        hidden = self.embed(ids) + self.places[: ids.shape[1]]
        logits: Tensor = self.head(hidden.cumsum(1))
        return logits


class Fixed(Tokens):
    def forward(self, ids: Tensor) -> Tensor:
        logits: Tensor = self.head((self.embed(ids) + self.places).flatten(0, 1))
        return logits.reshape(-1, 16, 9)


IDS = torch.randint(0, 9, (5, 16), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("ending", ["pt2", "onnx"])
def test_rows_of_tokens_may_be_shorter(tmp_path: Path, ending: str) -> None:
    net = Tokens().eval()
    path = tmp_path / f"model.{ending}"
    export(SimpleNamespace(module=net, input_shape=(16,)), path, example_input=IDS)
    name = {"pt2": "torch_export", "onnx": "onnx"}[ending]
    loaded = read_exported(net, name, path, weights=path)
    for n_rows, length in ((1, 16), (3, 16), (4, 7), (1, 2)):
        rows = IDS[:n_rows, :length]
        torch.testing.assert_close(loaded(rows), net(rows), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("ending", ["pt2", "onnx"])
def test_a_net_of_one_length_is_written_for_that(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"model.{ending}"
    net = Fixed().eval()
    written = export(SimpleNamespace(module=net, input_shape=(16,)), path, example_input=IDS)
    assert written.max_difference < 1e-4


def test_an_onnx_graph_has_the_names_of_arguments(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    path = tmp_path / "model.onnx"
    export(SimpleNamespace(module=Tokens().eval(), input_shape=(16,)), path, example_input=IDS)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [held.name for held in session.get_inputs()] == ["ids"]
    assert [held.name for held in session.get_outputs()] == ["outputs"]
