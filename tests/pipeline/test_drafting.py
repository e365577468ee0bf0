"""What is drafted is of what was looked at, makes a study that works, and what is wrong is a line."""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from PIL import Image

from dpod_search.config import StudyConfig
from dpod_search.config import load_study
from dpod_search.config import make_study
from dpod_search.data import load_data
from dpod_search.errors import CheckpointError
from dpod_search.errors import ConfigError
from dpod_search.errors import DataError
from dpod_search.errors import DpodSearchError
from dpod_search.models import ModelSettings
from dpod_search.models import build_model
from dpod_search.models.families import InputSize
from dpod_search.pipeline.drafting import Draft
from dpod_search.pipeline.drafting import DraftedSetting
from dpod_search.pipeline.drafting import draft_settings
from dpod_search.pipeline.drafting import draft_study
from dpod_search.pipeline.drafting import write_draft
from dpod_search.pipeline.nets import build_study


_NUMBERS = itertools.count()
SMALL_NET = """
from torch import nn

def make(n_classes, in_channels=3, width=8):
    return nn.Sequential(
        nn.Conv2d(in_channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, n_classes),
    )

def fixed(num_classes=3):
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 32 * 32, num_classes)
    )

def grey(n_classes):
    return make(n_classes, 1)

def of_any_size(n_classes, image_size):
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(),
        nn.Linear(8 * image_size**2, n_classes),
    )

def tagger(vocab_size, width=8):
    return nn.Sequential(nn.Embedding(9, width), nn.Linear(width, width), nn.Linear(width, vocab_size))

def raising():
    raise KeyError("lost")

def needs(depth, n_classes):
    return make(n_classes)

def number():
    return 3
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that everything runs in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def net(here: Path) -> str:
    """A module with nets of a user's, by its file: no other test has it imported."""
    name = f"drafted_net_{next(_NUMBERS)}.py"
    (here / name).write_text(SMALL_NET)
    return name


def draw_pictures(
    folder: Path,
    classes: tuple[str, ...] = ("cat", "cow", "dog"),
    n: int = 12,
    size: tuple[int, int] = (20, 26),
    *,
    is_grey: bool = False,
) -> str:
    generator = np.random.default_rng(0)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for index in range(n):
            pixels = generator.integers(0, 256, (*size, 3), dtype=np.uint8)
            pixels = pixels[..., 0] if is_grey else pixels
            Image.fromarray(pixels).save(folder / name / f"{index}.png")
    return folder.name


def values_of(settings: tuple[DraftedSetting, ...]) -> dict[str, Any]:
    return {each.key: each.value for each in settings}


def load(draft: Draft) -> StudyConfig:
    Path("mine.toml").write_text(write_draft(draft.found, draft.settings, draft.offered))
    return load_study("mine.toml")


def test_a_folder_of_pictures_and_a_function_are_looked_at(here: Path, net: str) -> None:
    draw_pictures(here / "pictures")
    draft = draft_study(f"{net}:make", "pictures/")
    assert draft.found[0] == "pictures/: 36 pictures of 3 classes, 20 x 26, colour."
    assert "2 channel groups can run narrower" in draft.found[1]
    values = values_of(draft.settings)
    assert values["data.name"] == "imagefolder:pictures/"
    assert values["data.image_size"] == 20
    assert values["model.name"] == f"{Path(net).stem}:make"
    assert values["model.arguments"] == {"n_classes": 3}
    assert values["training.flip"] is True
    assert values["training.batch_size"] == values["finetune.batch_size"] == 8
    assert values["threads"] == torch.get_num_threads()


def test_every_setting_has_a_short_reason_and_none_is_there_twice(here: Path, net: str) -> None:
    draw_pictures(here / "pictures")
    draft = draft_study(f"{net}:make", "pictures")
    keys = [each.key for each in draft.settings]
    assert len(set(keys)) == len(keys)
    for each in (*draft.settings, *draft.offered):
        assert each.reason.endswith(".")
        assert len(each.reason) < 200


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    draft_settings("resnet8", "digits")
    assert capfd.readouterr() == ("", "")


def test_the_settings_are_those_of_the_draft_and_change_a_study() -> None:
    settings = draft_settings("resnet8", "digits", None)
    assert settings == draft_study("resnet8", "digits").settings
    config = make_study("any", [each.override for each in settings])
    assert (config.data.name, config.model.name) == ("digits", "resnet8")


def test_without_names_the_digits_and_a_net_that_is_built_in_are_taken() -> None:
    values = values_of(draft_settings(None, None, None))
    assert (values["data.name"], values["model.name"]) == ("digits", "resnet8")


@settings(
    max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    size=st.tuples(st.integers(6, 90), st.integers(6, 90)),
    n=st.integers(4, 9),
    n_classes=st.integers(2, 4),
    is_grey=st.booleans(),
)
def test_whatever_is_drafted_is_a_study_that_can_be_inspected(
    here: Path, size: tuple[int, int], n: int, n_classes: int, is_grey: bool
) -> None:
    folder = here / f"pictures_{next(_NUMBERS)}"
    draw_pictures(folder, tuple("abcd"[:n_classes]), n, size, is_grey=is_grey)
    draft = draft_study(None, folder.name)
    config = load(draft)
    supernet = build_study(config, load_data(config.data, config.seed))
    assert supernet.groups
    assert ("grey" if is_grey else "colour") in draft.found[0]
    assert abs((config.data.image_size or 64) - min(size)) <= max(2, min(size) // 4)


def test_pictures_of_many_sizes_say_so_and_large_ones_are_limited(here: Path, net: str) -> None:
    draw_pictures(here / "pictures", n=4, size=(300, 400))
    draw_pictures(here / "pictures" / "more", ("a",), n=1, size=(310, 400))
    (here / "pictures" / "more").rename(here / "pictures" / "cow" / "more")
    draft = draft_study(f"{net}:make", "pictures")
    assert "of many sizes, 300 x 400 in the middle" in draft.found[0]
    values = values_of(draft.settings)
    assert values["data.image_size"] == 224
    assert "training.crop_padding" not in values
    assert values["evaluation.batch_size"] == 128


@pytest.mark.parametrize(
    "classes", [("0", "1", "2"), ("left", "right"), ("a", "b"), ("digit_1", "x1")]
)
def test_classes_that_a_mirror_changes_are_left_to_the_user(
    here: Path, net: str, classes: tuple[str, ...]
) -> None:
    draw_pictures(here / "pictures", classes)
    draft = draft_study(f"{net}:make", "pictures")
    assert "training.flip" not in values_of(draft.settings)
    (offered,) = [each for each in draft.offered if each.key == "training.flip"]
    assert "Left to you" in offered.reason
    assert "#flip = true" in write_draft(draft.found, draft.settings, draft.offered)


def test_a_net_of_one_size_gets_the_nearest_that_it_takes(here: Path, net: str) -> None:
    draw_pictures(here / "pictures", size=(36, 36))
    config = load(draft_study(f"{net}:fixed", "pictures"))
    assert config.data.image_size == 32
    text = Path("mine.toml").read_text()
    assert "# The nearest that the model takes; the pictures are 36 x 36." in text


def test_a_function_is_told_the_size_by_its_own_name(here: Path, net: str) -> None:
    draw_pictures(here / "pictures", size=(36, 36))
    config = load(draft_study(f"{net}:of_any_size", "pictures"))
    assert config.model.arguments == {"n_classes": 3, "image_size": 36}


def write_arrays(kind: str) -> str:
    generator = np.random.default_rng(0)
    n = 200
    rows = generator.normal(size=(n, 6)).astype(np.float32)
    tokens = generator.integers(0, 9, (n, 13))
    pictures = generator.integers(0, 256, (n, 8, 8, 3), dtype=np.uint8)
    x, y = {
        "regression": (rows, rows.sum(1)),
        "multilabel": (rows, generator.integers(0, 2, (n, 4))),
        "classification": (rows, np.arange(n) % 3),
        "segmentation": (pictures, generator.integers(0, 3, (n, 8, 8), dtype=np.uint8)),
        "sequence-labels": (tokens[:, 1:], (tokens[:, 1:] + 1) % 3),
        "language-model": (tokens[:, :-1], tokens[:, 1:]),
    }[kind]
    np.savez("held.npz", x=x, y=y)
    return "held.npz"


@pytest.mark.parametrize(
    ("task", "model"),
    [
        ("regression", "mlp"),
        ("multilabel", "mlp"),
        ("classification", "mlp"),
        ("segmentation", "unet"),
        ("language-model", "gpt"),
    ],
)
def test_targets_say_what_the_task_is(task: str, model: str) -> None:
    draft = draft_study(None, write_arrays(task))
    config = load(draft)
    assert config.data.name == "arrays:held.npz"
    assert config.data.root == "."
    assert config.task.name == task
    assert config.model.name == model
    assert build_study(config, load_data(config.data, config.seed)).groups


def test_tokens_are_labelled_by_a_function_of_ones_own(net: str) -> None:
    config = load(draft_study(f"{net}:tagger", write_arrays("sequence-labels")))
    assert config.task.name == "sequence-labels"
    assert config.model.arguments == {"vocab_size": 3}
    assert config.training.optimizer == config.finetune.optimizer == "adamw"


def test_a_text_is_found_where_it_lies(here: Path) -> None:
    (here / "words.txt").write_text("the quick brown fox jumps. " * 400)
    config = load(draft_study(None, "words.txt"))
    assert (config.data.name, config.data.root) == ("text:words.txt", ".")
    (here / "data").mkdir()
    (here / "words.txt").rename(here / "data" / "words.txt")
    assert "data.root" not in values_of(draft_settings(None, "text:words.txt", None))


def test_pictures_with_masks_are_a_segmentation(here: Path) -> None:
    generator = np.random.default_rng(0)
    for part in ("images", "masks"):
        (here / "scenes" / part).mkdir(parents=True)
    for index in range(12):
        picture = generator.integers(0, 256, (16, 24, 3), dtype=np.uint8)
        mask = generator.integers(0, 4, (16, 24), dtype=np.uint8)
        Image.fromarray(picture).save(here / "scenes" / "images" / f"{index}.png")
        Image.fromarray(mask).save(here / "scenes" / "masks" / f"{index}.png")
    draft = draft_study(None, "scenes")
    config = load(draft)
    assert draft.found[0] == "scenes: 12 pictures with masks of 4 classes, 16 x 24, colour."
    assert config.data.name == "segmentation:scenes"
    assert config.data.arguments == {"n_classes": 4}
    assert (config.task.name, config.model.name) == ("segmentation", "unet")


@pytest.mark.parametrize(("name", "n"), [("cifar10", "50,000"), ("fashion_mnist", "60,000")])
def test_what_must_be_downloaded_is_not(here: Path, name: str, n: str) -> None:
    draft = draft_study("resnet8", name)
    assert f"{name}: {n} pictures of 10 classes" in draft.found[0]
    assert "nothing was downloaded" in draft.found[0]
    assert load(draft).data.download
    assert sorted(path.name for path in here.iterdir()) == ["mine.toml"]


def save_weights(n_classes: int, path: str = "net.pth", **held: Any) -> str:
    net = build_model(ModelSettings("resnet8"), input_shape=(1, 8, 8), n_classes=n_classes, seed=1)
    weights = net.state_dict()
    torch.save(dict.fromkeys(held, weights) if held else weights, path)
    return path


def test_weights_stay_and_no_supernet_is_trained() -> None:
    draft = draft_study("resnet8", "digits", save_weights(10))
    values = values_of(draft.settings)
    assert values["model.weights"] == "net.pth"
    assert "finetune.lr" not in values  # the default is what was measured from trained weights
    config = load(draft)
    assert config.training.epochs == 0  # nothing that was drafted has a supernet trained
    assert config.evaluation.repair


def test_a_head_of_other_classes_is_told() -> None:
    draft = draft_study("resnet8", "digits", save_weights(7))
    (weights,) = [each for each in draft.settings if each.key == "model.weights"]
    assert "is drawn anew (7 classes there, 10 here)" in weights.reason


def test_of_several_weights_that_fit_the_averaged_ones_are_named() -> None:
    save_weights(10, state_dict=1, model_ema=1)
    draft = draft_study("resnet8", "digits", "net.pth")
    assert load(draft).model.weights_key == "model_ema"


def test_the_size_of_torchvisions_weights_is_known(here: Path) -> None:
    find = ModelSettings("torchvision:mobilenet_v2", weights="any.pth").find_input_size
    assert find() == InputSize(224)
    assert ModelSettings("torchvision:vit_b_16").find_input_size() == InputSize(224, is_fixed=True)
    assert ModelSettings("torchvision:inception_v3").find_input_size() == InputSize(299)
    assert ModelSettings("resnet8").find_input_size() is None


def break_picture(here: Path) -> str:
    name = draw_pictures(here / "pictures")
    (here / "pictures" / "cat" / "0.png").write_bytes(b"no picture")
    return name


def empty_class(here: Path) -> str:
    name = draw_pictures(here / "pictures")
    (here / "pictures" / "owl").mkdir()
    return name


def name_file(here: Path) -> str:
    (here / "held.csv").write_text("1,2")
    return "held.csv"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda _: "nowhere/", "there is no folder or file nowhere/"),
        (lambda _: "nowhere.npz", "there is no folder or file nowhere.npz"),
        (lambda _: "imagefolder:nowhere", "nowhere is not a folder"),
        (lambda _: "digitz", "did you mean 'digits'"),
        (lambda here: draw_pictures(here / "pictures", n=2), "too few pictures"),
        (empty_class, "there are none in .*owl"),
        (break_picture, "0.png cannot be read as a picture"),
        (name_file, "held.csv is a file of no kind that is read"),
    ],
)
def test_data_that_are_of_no_use_are_a_line(
    here: Path, make: Callable[[Path], str], message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        draft_settings("resnet8", make(here), None)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("raising", "raised KeyError in line .*'lost'"),
        ("missing", "has no 'missing'"),
        ("needs", "missing a required argument: 'depth'"),
        ("number", "must return a torch.nn.Module, got a int"),
        ("grey", "cannot take pictures of shape"),
    ],
)
def test_a_function_that_makes_no_fitting_model_is_a_line(
    here: Path, net: str, function: str, message: str
) -> None:
    draw_pictures(here / "pictures")
    with pytest.raises(ConfigError, match=message):
        draft_settings(f"{net}:{function}", "pictures", None)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("resnet9", "did you mean 'resnet8'"),
        ("gone.py:make", "there is no file gone.py"),
        ("no_such_module_here:make", "there is no module"),
        ("torchvision:resnet", "torchvision has no classification model"),
        ("gpt", "takes rows of tokens"),
    ],
)
def test_a_model_that_is_not_there_is_a_line(model: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        draft_settings(model, "digits", None)


def test_code_elsewhere_is_named_with_where_to_go(here: Path, net: str) -> None:
    (here / "inner").mkdir()
    (here / net).rename(here / "inner" / net)
    settings = draft_settings(f"inner/{net}:grey", "digits", None)
    assert values_of(settings)["model.name"] == f"inner.{Path(net).stem}:grey"
    (here / "other").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here / "other")
        with pytest.raises(ConfigError, match="go to .*inner and write"):
            draft_settings(f"../inner/{net}:grey", "digits", None)
    (here / "a-b.py").write_text("")
    with pytest.raises(ConfigError, match="cannot be imported: names"):
        draft_settings("a-b.py:make", "digits", None)


def test_a_file_without_a_function_is_a_line(net: str) -> None:
    with pytest.raises(ConfigError, match=f"say which of its functions, as {net}:make_net"):
        draft_settings(net, "digits", None)


def test_data_of_a_function_in_a_file_are_looked_at(here: Path) -> None:
    name = f"drafted_data_{next(_NUMBERS)}"
    (here / f"{name}.py").write_text(
        "import torch\n"
        "from torch.utils.data import TensorDataset\n"
        "def make():\n"
        "    pictures, labels = torch.zeros(60, 2, 9, 9), torch.arange(60) % 3\n"
        "    return TensorDataset(pictures, labels), None, 3\n"
    )
    draft = draft_study("resnet8", f"{name}.py:make")
    assert draft.found[0] == f"{name}.py:make: 60 pictures of 3 classes, 9 x 9, 2 channels."
    assert load(draft).data.name == f"{name}:make"
    with pytest.raises(ConfigError, match="there is no file gone.py"):
        draft_settings("resnet8", "gone.py:make", None)


def test_a_folder_of_transformers_says_its_size(here: Path) -> None:
    (here / "vit").mkdir()
    (here / "vit" / "config.json").write_text('{"image_size": 96}')
    assert ModelSettings("hf:vit").find_input_size() == InputSize(96, is_fixed=True)
    changed = ModelSettings("hf:vit", arguments={"image_size": 32})
    assert changed.find_input_size() == InputSize(32, is_fixed=True)
    assert ModelSettings("hf:gone").find_input_size() is None


def test_weights_that_do_not_fit_are_a_line() -> None:
    with pytest.raises(CheckpointError, match="there is no file gone.pth"):
        draft_settings("resnet8", "digits", "gone.pth")
    save_weights(10)
    with pytest.raises(CheckpointError, match="does not fit the model"):
        draft_settings("resnet20", "digits", "net.pth")
    Path("bad.pth").write_bytes(b"PK\x03\x04 and nothing else")
    with pytest.raises(CheckpointError, match="bad.pth cannot be read"):
        draft_settings("resnet8", "digits", "bad.pth")


def test_a_model_for_which_there_is_none_built_in_is_asked_for() -> None:
    with pytest.raises(DpodSearchError, match="give --model with your own"):
        draft_settings(None, write_arrays("sequence-labels"), None)


def test_a_machine_with_a_gpu_uses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    values = values_of(draft_settings("resnet8", "digits", None))
    assert values["device"] == "cuda"
    assert "threads" not in values


@pytest.mark.parametrize("file", ["a\nseed = 7.toml", "a\rb.toml", "a\x07b.toml", "my study.toml"])
def test_whatever_a_file_is_called_its_draft_loads(file: str) -> None:
    setting = DraftedSetting("seed", 3, "So.")
    assert tomllib.loads(write_draft(["It."], [setting], [], file=file)) == {"seed": 3}
