"""Whatever of the user's own code fails is one line, with its place; the rest is in the log."""

from __future__ import annotations

import json
import sys

import pytest
from pipeline.tiny import OVERRIDES


MODULE = '''
import torch
from torch import nn
from torch.utils.data import Dataset

import dpod_search.training.policies as policies
from dpod_search.data import DataSettings
from dpod_search.data.digits import load_digits


class Pictures(Dataset):
    """Twelve dozen pictures, of which one is odd."""

    def __init__(self, odd=None, **attributes):
        self.odd = odd
        vars(self).update(attributes)

    def __len__(self):
        return 144

    def __getitem__(self, index):
        if index == 100 and self.odd == "raises":
            return {}["odd"]  # HERE
        size = 9 if index == 100 and self.odd == "size" else 8
        picture = torch.full((1, size, size), float(index % 3))
        if index == 100 and self.odd == "nothing":
            return None
        return picture, "cat" if index == 100 and self.odd == "label" else index % 3


class Endless(Pictures):
    def __len__(self):
        raise KeyError("odd")  # HERE


def load(odd=None, targets=True):
    if odd == "load":
        raise KeyError("odd")  # HERE
    known = {"targets": [i % 3 for i in range(144)]} if targets else {}
    return (Endless() if odd == "len" else Pictures(odd, **known)), None, 3


def load_strings():
    return Pictures(targets=["cat"] * 144), None, 3


def load_few_labels():
    source = load_digits(DataSettings())
    source.train_labels.resize(90, refcheck=False)
    return source


def augment():
    n_seen = 0

    def transform(picture):
        nonlocal n_seen
        n_seen += 1
        if n_seen > 60:  # after it has been tried
            raise KeyError("odd")  # HERE
        return picture

    return transform


def augment_sizes():
    transform = augment()

    def resize(picture):
        try:
            return transform(picture)
        except KeyError:
            return picture[:, 1:]

    return resize


def augment_nothing():
    return lambda: None


def augment_never():
    raise KeyError("odd")  # HERE


class Policy(policies.DensePolicy):
    def __init__(self, context, raises):
        if raises == "__init__":
            raise KeyError("odd")  # HERE
        super().__init__(context, policies.DenseOptions())
        for name in raises.split():
            setattr(self, name, self.fail)

    def fail(self, *arguments):
        raise KeyError("odd")  # HERE


class Deaf(policies.DensePolicy):
    def __init__(self, context):
        super().__init__(context, policies.DenseOptions())

    def plan(self):
        """Take no step."""


class Net(nn.Module):
    def __init__(self, raises=False):
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3)
        self.own = Own()
        self.head = nn.Linear(4, 3)
        self.raises = raises

    def forward(self, x):
        if self.raises:
            x = x @ torch.ones(7, 7)  # HERE
        return self.head(self.own(self.first(x)).mean((2, 3)))


class Own(nn.Module):
    def forward(self, x):
        return x.cumsum(2)


def make_net():
    open("no such file")  # HERE


def handle(discovery, node):
    return {}["odd"]  # HERE


HANDLERS = {Own: handle}


def measure(subnet):
    return {}["odd"]  # HERE


measure.direction = "minimize"


class Unmade:
    def __init__(self):
        raise KeyError("odd")  # HERE
'''

OWN_DATA = ("data.name=own_parts:load", "training.batch_size=16", "finetune.batch_size=16")
OWN_NET = (*OWN_DATA, "model.name=own_parts:Net", "model.arguments={}")
WORKER = "training.n_workers=1"


def odd(kind, *, targets="true"):
    return (*OWN_DATA, f'data.arguments={{odd="{kind}", targets={targets}}}')


def policy(raises):
    return (
        "training.policy=own_parts:Policy",
        f'training.policy_options={{raises="{raises}"}}',
        "training.checkpoint_seconds=0",
    )


# What raises, and how the line begins; the place must be there.
RAISING = {
    "data function": (odd("load"), "own_parts:load raised KeyError in"),
    "__len__": (odd("len"), "own_parts:load: the training set raised KeyError in"),
    "__getitem__": (odd("raises"), "the dataset raised KeyError in"),
    "__getitem__, while labels are read": (
        odd("raises", targets="false"),
        "own_parts:load: the training set raised KeyError in",
    ),
    "__getitem__ of a worker": ((*odd("raises"), WORKER), "the dataset raised KeyError in"),
    "augmentation": (
        ("training.augmentation=own_parts:augment",),
        "the augmentation raised KeyEr",
    ),
    "augmentation of a worker": (
        ("training.augmentation=own_parts:augment", WORKER),
        "the augmentation raised KeyError in",
    ),
    "augmentation function": (
        ("training.augmentation=own_parts:augment_never",),
        "augmentation own_parts:augment_never raised KeyError in",
    ),
    "policy": (policy("__init__"), "policy own_parts:Policy raised KeyError in"),
    "begin_step": (policy("begin_step"), "begin_step() of Policy raised KeyError in"),
    "plan": (policy("plan"), "plan() of Policy raised KeyError in"),
    "state": (policy("state"), "state() of Policy raised KeyError in"),
    "path": (policy("path"), "path() of Policy raised KeyError in"),
    "model function": (
        ("model.name=own_parts:make_net", "model.arguments={}"),
        "own_parts:make_net raised FileNotFoundError in",
    ),
    "model": (
        (*OWN_NET, "model.arguments={raises=true}"),
        "model own_parts:Net cannot take pictures of shape (1, 8, 8): RuntimeError in",
    ),
    "handler": (
        (*OWN_NET, "supernet.handlers=own_parts:HANDLERS"),
        "the handler of own (",
    ),
    "objective class": (
        ('search.objectives=["accuracy", "own_parts:Unmade"]',),
        "objective Unmade cannot be made: KeyError in",
    ),
    "objective": (
        ('search.objectives=["accuracy", "macs", "own_parts:measure"]',),
        "trial 0: objective measure raised KeyError in",
    ),
}
# What is no error of Python's in the user's code, but wrong.
WRONG = {
    "shape": (odd("size"), "samples of one shape, got (1, 9, 9) at index 100, not (1, 8, 8)"),
    "shape of a worker": ((*odd("size"), WORKER), "got (1, 9, 9) at index 100, not (1, 8, 8)"),
    "shape, while labels are read": (odd("size", targets="false"), "(1, 9, 9) at index 100"),
    "nothing": (odd("nothing"), "must yield (float32 tensor", "at index 100"),
    "label": (odd("label", targets="false"), "or tensors as targets, got 'cat' at index 100"),
    "labels": ((*OWN_DATA, "data.name=own_parts:load_strings"), "whole numbers as labels", "cat"),
    "few labels": (
        (*OWN_DATA, "data.name=own_parts:load_few_labels"),
        "1797 pictures, but labels of shape (90,)",
    ),
    "augmented shape": (
        ("training.augmentation=own_parts:augment_sizes",),
        "the augmentation made one of (1, 7, 8) of a picture of (1, 8, 8)",
    ),
    "what augmentation takes": (
        ("training.augmentation=own_parts:augment_nothing",),
        "cannot be used on pictures of (1, 8, 8)",
        "TypeError",
    ),
    "what a policy takes": (
        ("training.policy=own_parts:Deaf", "training.policy_options={}"),
        "plan() of Deaf raised TypeError",
    ),
}


@pytest.fixture
def run_own(call_main, monkeypatch, tmp_path):
    """Run a study with parts of the user's own; return the one line it ends with."""
    (tmp_path / "own_parts.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "own_parts", raising=False)  # another test's

    def run_one(sets):
        words = [f"--set={item}" for item in (*OVERRIDES, *sets)]
        code, out, err = call_main("run", "--study", "digits", "--out", "run", *words, "--quiet")
        assert (code, out) == (2, "")
        assert err.count("\n") == 1
        return err

    return run_one


@pytest.mark.parametrize("case", RAISING)
def test_what_raises_is_one_line_with_its_place(run_own, tmp_path, case):
    sets, begins = RAISING[case]
    line = run_own(sets)
    assert line.startswith(f"dpod-search: {begins}")
    number, file = line.partition(" in line ")[2].split(" of ", 1)
    assert "# HERE" in MODULE.splitlines()[int(number) - 1]
    assert file.startswith(f"{tmp_path / 'own_parts.py'}: ")
    logged = [
        json.loads(text) for text in (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    ]
    assert any("# HERE" in entry.get("exception", "") for entry in logged)


@pytest.mark.parametrize("case", WRONG)
def test_what_is_of_no_use_is_one_line(run_own, case):
    sets, *parts = WRONG[case]
    line = run_own(sets)
    for part in parts:
        assert part in line
