"""The card of an exported model tells what it is; what it says of the normalisation is what data do."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from dpod_search.data import DataSettings
from dpod_search.data import InMemoryImages
from dpod_search.data import load_data
from dpod_search.data.datasets import DatasetView
from dpod_search.pipeline.stages.model_card import describe_input
from dpod_search.pipeline.stages.model_card import write_card
from dpod_search.records.exported import ExportedFile
from dpod_search.records.exported import ExportedModel
from dpod_search.records.exported import ModelInput
from dpod_search.torchvision_ops import import_torchvision


v2 = import_torchvision("transforms.v2")


def make_model(**changes: Any) -> ExportedModel:
    sizes = {"macs": 12345, "weight_bytes": 40960}
    model: dict[str, Any] = {
        "trial": 3,
        "widths": {"conv": 4},
        "sizes": sizes,
        "footprint": sizes,
        "validation_before": {"accuracy": 0.9},
        "validation": {"accuracy": 0.975},
        "test": {"accuracy": 0.97},
        "files": {"safetensors": ExportedFile(path="m.safetensors", sha256="0f", bytes=9)},
        "notes": (),
        "max_difference": 0.0,
        "input": make_input((1, 8, 8), "pixel / 16", ("0", "1")),
        "input_shape": (1, 8, 8),
        "classes": ("0", "1"),
    }
    return ExportedModel(**model | changes)


def make_input(shape: tuple[int, ...], how: str, classes: tuple[str, ...]) -> ModelInput:
    return ModelInput(shape=shape, peak=None, mean=None, std=None, how=how, classes=classes)


def write(model: ExportedModel, **changes: Any) -> str:
    told = {
        "study": "digits",
        "source": "digits",
        "architecture": "resnet20",
        "fingerprint": "0f" * 8,
        "versions": {"torch": "2.9"},
        "full": dict.fromkeys(model.widths, 8),
        "values": {},
    }
    return write_card(model, **told | changes)


def test_a_latency_under_a_millisecond_has_its_digits_and_its_unit() -> None:
    card = write(make_model(footprint={"macs": 12345, "latency": 0.19}))
    assert "| macs | 12,345 |" in card
    assert "| latency | 0.19 ms |" in card


def test_what_the_search_measured_besides_is_told_too() -> None:
    values = {"accuracy": 0.975, "macs": 12345.0, "latency_ms": 0.0312, "energy": 0.004}
    card = write(make_model(), values=values)
    assert "| latency_ms | 0.0312 ms |" in card
    assert "| energy | 0.004 |" in card
    assert card.count("12,345") == 1


@pytest.mark.parametrize("share", [1e-5, 0.004])
def test_a_small_accuracy_is_not_none(share: float) -> None:
    card = write(make_model(test={"accuracy": share}))
    assert "| test accuracy | 0.00 % |" not in card


AWKWARD = "a|b`c` <img src=x onerror=y>\n# owned \x1b[31m[x](javascript:y) caf\udce9"


def test_names_of_classes_and_groups_stay_text() -> None:
    model = make_model(
        widths={AWKWARD: 4},
        notes=(AWKWARD,),
        input=make_input((1,), AWKWARD, (AWKWARD, "dog")),
    )
    card = write(model, study=AWKWARD, source=AWKWARD, architecture=AWKWARD)
    card.encode()
    shown = r"a|b`c` <img src=x onerror=y> # owned \x1b[31m[x](javascript:y) caf\xe9"
    assert card.count(f"`` {shown} ``") == 5
    assert f"  `` {shown} ``, `dog`." in card
    row = f"| `` {shown} `` | 4 | 8 |".replace("a|b", r"a\|b")
    assert row in card
    # What is left are headings of the card's own, and text in which all is escaped.
    rest = card.replace(f"`` {shown} ``", "").replace(row, "")
    assert all("owned" not in line for line in rest.splitlines() if line.startswith("## "))
    assert rest.count(r"\<img src=x onerror=y\>") == rest.count("<img") == 2
    assert rest.count(r"\[x\](javascript:y)") == 2


# What goes into it.


def test_digits_are_normalised_as_said():
    data = load_data(DataSettings(), 0)
    said = describe_input(data.test, source="digits")
    assert said["peak"] == 16
    assert said["mean"] == [0.3053]
    assert said["std"] == [0.376]
    assert said["how"] == "(pixel / 16 - [0.3053]) / [0.376], by channel, as float32"


@pytest.mark.parametrize(("source", "peak"), [("cifar10", 255.0), ("my.module:pictures", 1.0)])
def test_bytes_in_memory_become_what_is_said(source, peak):
    images = torch.arange(12, dtype=torch.uint8).reshape(1, 3, 2, 2)
    dataset = InMemoryImages(
        images, torch.zeros(1), peak=255.0, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6)
    )
    said = describe_input(DatasetView(dataset, np.array([0])), source=source)
    assert said["peak"] == peak
    mean, std = (torch.tensor(said[name]).reshape(3, 1, 1) for name in ("mean", "std"))
    torch.testing.assert_close((images[0] / peak - mean) / std, dataset[0][0])


def test_a_folders_transform_says_it():
    noise = SimpleNamespace(mean=0.0, std=0.1)  # adds what is no normalisation
    steps = [SimpleNamespace(size=64), noise, v2.Normalize(mean=[0.5], std=[0.25])]
    dataset = SimpleNamespace(transform=SimpleNamespace(transforms=steps))
    said = describe_input(dataset, source="imagefolder:pictures")
    assert (said["peak"], said["mean"], said["std"]) == (255, [0.5], [0.25])


def test_an_unknown_source_is_said_to_be_unknown():
    said = describe_input([], source="my.module:pictures")
    assert said["mean"] is None
    assert said["how"] == "float32 exactly as my.module:pictures yields them"


@pytest.mark.parametrize("trial", [0, None])
def test_the_card_of_the_full_net_does_not_call_it_a_subnet(trial: int | None) -> None:
    card = write(make_model(trial=trial), full={"conv": 4})
    assert card.startswith("# digits, the full net\n")
    assert "`resnet20` at its full widths" in card
    assert "a subnet of" not in card
    assert "a subnet of `resnet20`" in write(make_model())


def test_a_peak_of_1_is_left_out() -> None:
    images = InMemoryImages(
        torch.zeros(4, 1, 2, 2, dtype=torch.uint8),
        torch.zeros(4, dtype=torch.int64),
        peak=1.0,
        mean=(3.0,),
        std=(2.0,),
    )
    assert describe_input(images, source="arrays:x.npz")["how"].startswith("(pixel - [")
