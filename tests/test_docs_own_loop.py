"""The code in docs/own-loop.md runs, and each of its loops ends where the first one ends."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from training.fakes import single_thread


PAGE = Path(__file__).resolve().parents[1] / "docs" / "own-loop.md"
SECTIONS = dict(
    re.findall(r"^## (With [\w ]+)\n(.*?)(?=^## |\Z)", PAGE.read_text("utf-8"), re.M | re.S)
)
BEFORE = PAGE.read_text("utf-8").partition("\n## ")[0]
PLAIN = "With plain PyTorch"


def run(text: str, names: dict[str, Any]) -> None:
    with single_thread():
        for block in re.findall(r"^```python\n(.*?)^```", text, re.M | re.S):
            exec(compile(block, str(PAGE), "exec", dont_inherit=True), names)  # noqa: S102  # our own page


@pytest.fixture
def plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "page"}
    run(BEFORE, names)
    run(SECTIONS[PLAIN], names)
    return names


def test_the_plain_loop_trains_all_steps_and_goes_on(
    plain: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert plain["schedule"].step == plain["schedule"].n_steps == 18
    weights = plain["supernet"].state_dict()
    text = PAGE.read_text("utf-8")
    run(text[text.index("## Going on") : text.index("## With Lightning")], plain)
    assert capsys.readouterr().out == "18 of 18 steps are done\n"
    for name, tensor in plain["supernet"].state_dict().items():
        assert torch.equal(tensor, weights[name])


@pytest.mark.parametrize(
    ("section", "package", "result"),
    [
        ("With Lightning Fabric", "lightning_fabric", "by_fabric"),
        ("With Accelerate", "accelerate", "by_accelerate"),
    ],
)
def test_another_loop_ends_with_the_same_weights(
    plain: dict[str, Any], section: str, package: str, result: str
) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed: tox -e loops has it")
    wanted = plain["supernet"].state_dict()
    run(SECTIONS[section].replace("lightning.fabric", "lightning_fabric"), plain)
    found = plain[result].state_dict()
    for name, tensor in wanted.items():
        assert torch.equal(found[name], tensor), name
