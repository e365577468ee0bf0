"""The code in docs/own-loop.md runs, and each of its loops ends where the first one ends."""

from __future__ import annotations

import importlib.util
import os
import random
import re
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from forking import FORKED
from torch.optim.optimizer import register_optimizer_step_post_hook
from training.fakes import equal_states
from training.fakes import single_thread
from training.rank_once import Part
from training.rank_once import run_ranks

from dpod_search.training import Ranks


PAGE = Path(__file__).resolve().parents[1] / "docs" / "own-loop.md"
TEXT = PAGE.read_text("utf-8")
SECTIONS = dict(re.findall(r"^## (\w[\w ]+)\n(.*?)(?=^## |\Z)", TEXT, re.M | re.S))
BEFORE = TEXT.partition("\n## ")[0]
PLAIN = "With plain PyTorch"
GOING_ON = "Going on where it was"
N_STEPS = 18


def run(text: str, names: dict[str, Any]) -> None:
    with single_thread():
        for block in re.findall(r"^```python\n(.*?)^```", text, re.M | re.S):
            exec(compile(block, str(PAGE), "exec", dont_inherit=True), names)  # noqa: S102  # our own page


def define(before: str = BEFORE) -> dict[str, Any]:
    """Return what the page has defined before its first training."""
    names: dict[str, Any] = {"__name__": "page"}
    run(before, names)
    run(SECTIONS[PLAIN].partition("\n\nsupernet = ")[0] + "\n```\n", names)
    assert "schedule" not in names
    return names


@pytest.fixture
def plain() -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "page"}
    run(BEFORE, names)
    run(SECTIONS[PLAIN], names)
    assert names["schedule"].step == names["schedule"].n_steps == N_STEPS
    return names


def go_on(folder: Path, moment: str, step: int) -> None:
    """Run the loop that goes on, and be killed after a step or while its state is written."""
    os.chdir(folder)
    # What the net draws must not depend on where it was killed either.
    with_dropout = BEFORE.replace("Flatten(),", "Flatten(),\n        torch.nn.Dropout(0.2),")
    assert with_dropout != BEFORE
    names, save = define(with_dropout), torch.save

    def die(*_: object) -> None:
        if moment == "step" and names["schedule"].step == step:
            os.kill(os.getpid(), signal.SIGKILL)

    def save_half(state: dict[str, Any], file: str) -> None:
        save(state, file)
        if moment == "save" and state["schedule"]["step"] >= step:
            os.truncate(file, Path(file).stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    register_optimizer_step_post_hook(die)
    torch.save = save_half
    run(SECTIONS[GOING_ON], names)
    assert names["schedule"].step == N_STEPS
    save(names["supernet"].state_dict(), "end.pt")


def run_in_process(folder: Path, moment: str = "", step: int = 0) -> int | None:
    process = FORKED.Process(target=go_on, args=(folder, moment, step))
    process.start()
    process.join(120)
    code = process.exitcode
    process.kill()
    process.join()
    return code


def test_killed_at_any_moment_the_weights_are_the_same_to_the_bit(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    assert run_in_process(whole) == 0
    # Random on purpose: every run of this test tries other steps. The state is kept every 4.
    draw = random.SystemRandom().randint
    steps = [draw(2, 4), draw(5, 8), draw(9, 16)]
    for moment, step in zip(("step", "step", "save"), steps, strict=True):
        assert run_in_process(killed, moment, step) == -signal.SIGKILL, steps
        assert not (killed / "end.pt").exists()
    assert (killed / "loop.pt.new").exists()
    kept = torch.load(killed / "loop.pt", weights_only=True)
    assert 0 < kept["schedule"]["step"] < N_STEPS
    assert run_in_process(killed) == 0
    ends = [torch.load(folder / "end.pt", weights_only=True) for folder in (whole, killed)]
    assert equal_states(*ends), steps


def test_mixed_precision_ends_near(plain: dict[str, Any]) -> None:
    wanted = plain["supernet"]
    run(SECTIONS["With mixed precision"], plain)
    start, end, near = (
        torch.cat([parameter.detach().flatten() for parameter in net.parameters()])
        for net in (plain["make_supernet"](), wanted, plain["supernet"])
    )
    assert plain["schedule"].step == N_STEPS
    assert 0 < (near - end).norm() < 0.1 * (end - start).norm()


def be_rank(part: Part, ranks: Ranks) -> None:
    """Run the loop of several processes, and leave the weights of this one."""
    names = define()
    run(SECTIONS["With several processes"], names)
    assert names["schedule"].step == N_STEPS
    assert [len(images) for images, _ in names["own"]] == [8] * 6
    torch.save(names["supernet"].state_dict(), part.folder / f"rank{ranks.rank}.pt")


def test_ranks_end_with_the_same_weights(plain: dict[str, Any], tmp_path: Path) -> None:
    assert run_ranks(2, be_rank, Part(tmp_path)) == [0, 0]
    first, second = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
    assert equal_states(first, second)
    assert not equal_states(first, plain["make_supernet"]().state_dict())


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
    assert equal_states(plain[result].state_dict(), wanted)
