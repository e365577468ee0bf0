"""Every snippet of the docs works: study files, commands, and code in a small world of its own."""

from __future__ import annotations

import copy
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from optuna.trial import TrialState
from PIL import Image
from torch import nn
from training.fakes import single_thread

import dpod_search as dpod
from dpod_search.cli import app
from dpod_search.config.parse import check_keys
from dpod_search.config.parse import parse_study
from dpod_search.data.augmentation import make_transform
from dpod_search.data.augmentation import transform_batch
from dpod_search.torchvision_ops import ensure_torchvision


ROOT = Path(__file__).resolve().parents[1]
# Tutorials are run by tests/test_docs_tutorials.py; their commands and tables are looked at here.
TUTORIALS = sorted(ROOT.glob("docs/tutorials/*.md"))
PAGES = sorted(
    [*ROOT.glob("docs/*.md"), *TUTORIALS, *ROOT.glob("*/README.md"), ROOT / "README.md"]
)
TEXTS = {str(page.relative_to(ROOT)): page.read_text(encoding="utf-8") for page in PAGES}

# Pages whose code is run by a test of its own, which also looks at what comes out.
TESTED_ALONE = {str(page.relative_to(ROOT)) for page in TUTORIALS} | {
    f"docs/{path.stem.removeprefix('test_docs_').replace('_', '-')}.md"
    for path in Path(__file__).parent.glob("test_docs_*.py")
}
# Code that needs torchrun, which tests/e2e/test_torchrun.py starts.
OF_RANKS = "docs/many-gpus.md"


def find_blocks(language: str) -> list[tuple[str, str]]:
    return [
        (page, block)
        for page, text in TEXTS.items()
        for block in re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)
    ]


def find_commands() -> list[tuple[str, str]]:
    found = []
    for page, text in TEXTS.items():
        # In code only, and none that is an example of a shape: `run` of "the command `dpod-search`".
        spans = re.findall(r"`([^`\n]*dpod-search [^`\n]*)`", text)
        for block in re.findall(r"^```(?:sh|bash|console)?\n(.*?)^```", text, re.M | re.S):
            spans += block.replace("\\\n", " ").splitlines()
        for span in spans:
            for part in re.split(r"&&|\||>(?!=)", span.partition("  #")[0]):
                words = part.strip()
                if words.startswith("dpod-search ") and "…" not in words.split(" ")[1]:
                    found.append((page, words))
    return found


@pytest.mark.parametrize(("page", "block"), find_blocks("toml"))
def test_study_files_can_be_read(page: str, block: str) -> None:
    document = tomllib.loads(block)
    check_keys(document, page)
    parse_study({"name": "of_the_docs", **document}, page)


@pytest.mark.parametrize(("page", "words"), find_commands())
def test_commands_can_be_parsed(page: str, words: str) -> None:
    name, *arguments = shlex.split(words)[1:]
    if name.startswith("-"):
        return
    commands: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # a group
    assert name in commands, f"{page}: {words}"
    command = commands[name]
    while hasattr(command, "commands") and arguments:
        command = command.commands[arguments.pop(0)]
    parser = command.make_parser(command.context_class(command))
    options, rest, _ = parser.parse_args([a.replace("…", "x") for a in arguments])
    takes_more = any(parameter.nargs == -1 for parameter in command.params)
    assert takes_more or not rest, f"{page}: {words}"
    assert isinstance(options, dict)


def make_world() -> dict[str, Any]:
    """Return what the snippets speak of without making it: a model, pictures, loaders."""
    splits = dpod.load_data(dpod.DataSettings("digits"), seed=0)
    settings = dpod.ModelSettings("resnet8")
    model = dpod.build_model(settings, input_shape=(1, 8, 8), n_classes=10, seed=0)
    example = torch.zeros(2, 1, 8, 8)
    loader = dpod.SeededLoader(splits.train, batch_size=256, seed=0, drop_last=True)
    val_loader = dpod.SeededLoader(splits.validation, batch_size=256, seed=0)
    supernet = dpod.build_supernet(copy.deepcopy(model), example)
    dpod.train_supernet(supernet, loader, policy="independent", epochs=1)
    return {
        "__name__": "page",
        "dpod": dpod,
        "model": model,
        "example_input": example,
        "supernet": supernet,
        "train_loader": loader,
        "val_loader": val_loader,
        "objectives": [dpod.Accuracy(val_loader), dpod.Macs()],
        "my_objective": dpod.Params(),
        "load_some_pictures": lambda: torch.zeros(4, 1, 8, 8),
    }


def shorten(code: str) -> str:
    """Make the code of a page take seconds: fewer epochs, fewer trials, bounds that are met."""
    code = re.sub(r"epochs=\d+", "epochs=1", code)
    code = re.sub(r"n_trials=\d+", "n_trials=12", code)
    if "n_trials" not in code:  # the default takes minutes
        code = re.sub(r"(dpod\.search\(.*)\)\s*$", r"\1, n_trials=12)", code, flags=re.S)
    code = re.sub(r"seconds=0\.0?5\b", "seconds=0.005", code)
    return code.replace('"accuracy": ">= 0.9"', '"accuracy": ">= 0.01"')


CODE = [
    (page, [block for of, block in find_blocks("python") if of == page])
    for page in dict.fromkeys(page for page, _ in find_blocks("python"))
    if page not in TESTED_ALONE and page != OF_RANKS
]


@pytest.mark.parametrize(("page", "blocks"), CODE, ids=[page for page, _ in CODE])
def test_code_runs(
    page: str, blocks: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ensure_torchvision()  # as the package does before it imports a user's module
    with single_thread():
        names = make_world()
        for block in blocks:
            exec(compile(shorten(block), page, "exec"), names)  # noqa: S102  # our own pages
    check = CHECKS.get(page)
    if check is not None:
        check(names, tmp_path)


def check_transform(names: dict[str, Any], folder: Path) -> None:
    (folder / "pictures.py").write_text("")
    transform = make_transform(names["make"]())
    images = torch.rand(3, 3, 8, 8)
    assert transform is not None
    assert transform_batch(images, transform, 0).shape == images.shape


def check_weights(names: dict[str, Any], folder: Path) -> None:
    import torchvision

    torch.save(torchvision.models.mobilenet_v2().state_dict(), folder / "w.pth")  # what a user has
    net = names["make_mobilenet"](str(folder / "w.pth"), 5)
    assert isinstance(net, nn.Module)
    assert net(torch.zeros(2, 3, 32, 32)).shape == (2, 5)


def check_data(names: dict[str, Any], folder: Path) -> None:
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(folder / "a.png")
    names["MyPictures"] = lambda _folder, part: [part]
    assert names["load"](str(folder)) == (["train"], ["test"], 10)


def check_exported(_names: dict[str, Any], folder: Path) -> None:
    assert list(folder.glob("*.pt2"))


def check_study(names: dict[str, Any], _folder: Path) -> None:
    study = names["study"]
    assert names["front"].study is study
    assert len(names["table"]) == len(study.trials) == 12
    drawn = [names[n] for n in ("pareto", "importances", "parallel", "slices", "history")]
    assert all(len(figure.data) for figure in drawn)
    n_complete = len(study.get_trials(states=[TrialState.COMPLETE]))
    assert len(names["history"].data[0].y) == n_complete
    assert sum(len(trace.x) for trace in names["pareto"].data) == n_complete
    groups = set(names["supernet"].space.names)
    assert set(names["importances"].data[0].y) <= groups


def check_notebook(names: dict[str, Any], folder: Path) -> None:
    assert (folder / "front.html").stat().st_size > 1000
    assert list(names["frame"]["trial"]) == [member.trial for member in names["front"]]


CHECKS = {
    "docs/notebook.md": check_notebook,
    "docs/optuna-plots.md": check_study,
    "docs/training.md": check_transform,
    "docs/your-own-model.md": check_weights,
    "docs/your-own-data.md": check_data,
    "docs/quickstart.md": check_exported,
    "README.md": check_exported,
}


def test_no_line_of_code_is_cut_off() -> None:
    # What the site shows of one at 1280 pixels.
    pages = [path for path in ROOT.glob("docs/**/*.md") if "decisions" not in path.parts]
    long = {
        (page.name, line)
        for page in pages
        for block in re.findall(
            r"^```\w*\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S
        )
        for line in block.splitlines()
        if len(line) > 108
    }
    assert long == set()


def test_no_page_is_left_out() -> None:
    pages = {page for page, _ in find_blocks("python")}
    assert pages - TESTED_ALONE - {page for page, _ in CODE} == {OF_RANKS}
    assert len(find_commands()) > 30
    assert len(find_blocks("toml")) > 8
