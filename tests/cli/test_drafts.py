"""``init`` looks at what it is given: a short file that runs, or one line and exit code 2."""

from __future__ import annotations

import itertools
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dpod_search.config import load_study
from dpod_search.config import template


_NUMBERS = itertools.count()
_NET = """
from torch import nn

def make(n_classes):
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(),
        nn.Conv2d(4, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, n_classes),
    )

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3 * 12 * 12, 2)

    def forward(self, x):
        return self.layer(x.flatten(1)) if x.sum() > 1e9 else self.layer(2 * x.flatten(1))
"""


@pytest.fixture
def call(call_main):
    return call_main


@pytest.fixture
def net(tmp_path, monkeypatch):
    """Pictures of two classes and a module of one's own, in the folder that commands run in."""
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for index in range(15):
            pixels = generator.integers(0, 256, (12, 12, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / name / f"{index}.png")
    file = f"net_of_init_{next(_NUMBERS)}.py"
    (tmp_path / file).write_text(_NET)
    return file


def test_what_is_drafted_is_written_inspected_and_run(call, net):
    code, out, err = call(
        "init", "--model", f"{net}:make", "--data", "pictures/", "--out", "my.toml"
    )
    assert (code, err) == (0, "")
    assert out == "study: my.toml\nnext: dpod-search run --study my.toml\n"
    text = Path("my.toml").read_text()
    assert "# * pictures/: 30 pictures of 2 classes, 12 x 12, colour." in text
    assert '#constraints = { "macs" = "<= 40%" }' in text
    assert '#budgets = ["macs<=50%", "macs<=25%"]' in text
    assert "#formats = " in text
    assert text.endswith("#   dpod-search run --study my.toml\n")
    assert len(text.splitlines()) < 70
    code, out, err = call("inspect", "--study", "my.toml")
    assert (code, err) == (0, "")
    assert "full net: macs" in out
    short = ["training.epochs=1", "search.n_trials=4", "finetune.n_subnets=1", "finetune.epochs=1"]
    short += ["search.population_size=2", "search.n_ladder=2"]
    code, _, err = call(
        "run", "--study", "my.toml", "--quiet", *(f"--set={each}" for each in short)
    )
    assert (code, err) == (0, "")
    assert Path("runs/my/report.html").is_file()


def test_what_is_wrong_is_one_line_and_nothing_is_written(call, net):
    for arguments, message in [
        (["--data", "nowhere/"], "there is no folder or file nowhere/"),
        (["--model", f"{net}:other", "--data", "pictures"], "has no 'other'"),
        (["--model", "resnet8", "--data", "pictures", "--weights", "w.pth"], "no file w.pth"),
        (["--model", f"{net}:Net", "--data", "pictures"], "cannot be traced"),
    ]:
        code, out, err = call("init", *arguments, "--out", "my.toml")
        assert (code, out) == (2, "")
        assert message in err
        assert len(err.splitlines()) == 1
        assert not Path("my.toml").exists()


def test_a_file_is_not_replaced_without_being_asked(call, net):
    Path("my.toml").write_text("mine")
    asked = ["init", "--model", f"{net}:make", "--data", "pictures", "--out", "my.toml"]
    code, _, err = call(*asked)
    assert code == 2
    assert "my.toml is there already" in err
    assert Path("my.toml").read_text() == "mine"
    assert call(*asked, "--force")[0] == 0
    assert load_study("my.toml").data.name == "imagefolder:pictures"
    code, _, err = call(*asked[:-1], "study.txt")
    assert code == 2
    assert "must end in .toml" in err
    code, _, err = call(*asked[:-1], "my.toml/my.toml")
    assert code == 2
    assert "--out my.toml/my.toml cannot be written" in err


def test_a_file_whose_name_is_none_of_a_study_names_it_otherwise(call, net):
    asked = ["init", "--model", f"{net}:make", "--data", "pictures", "--out", "my own (2).toml"]
    assert call(*asked)[0] == 0
    assert load_study("my own (2).toml").name == "my_own_2_"


def test_full_shows_every_setting_with_what_was_drafted(call, net):
    code, out, err = call("init", "--model", f"{net}:make", "--data", "pictures", "--full")
    assert (code, err) == (0, "")
    Path("full.toml").write_text(out)
    assert load_study("full.toml").model.arguments == {"n_classes": 2}
    assert "#checkpoint_seconds = " in out
    _, short, _ = call("init", "--model", f"{net}:make", "--data", "pictures")
    assert tomllib.loads(short)["data"] == tomllib.loads(out)["data"]


@pytest.mark.parametrize("arguments", [[], ["--full"]])
def test_without_names_every_setting_is_shown(call, arguments):
    assert call("init", *arguments) == (0, template(), "")


def test_what_a_model_is_made_of_is_said_once(call, net):
    import torch

    from dpod_search.models import ModelSettings
    from dpod_search.models import build_model

    given = build_model(ModelSettings("resnet8"), input_shape=(1, 8, 8), n_classes=7, seed=0)
    torch.save(given.state_dict(), "net.pth")
    code, out, err = call("init", "--model", "resnet8", "--data", "digits", "--weights", "net.pth")
    assert code == 0
    assert len(err.splitlines()) == 1
    assert "has 10 classes and in the file 7" in err
    assert "drawn anew" in out
