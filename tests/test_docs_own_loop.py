"""The code in docs/own-loop.md runs, and each of its loops ends where the first one ends."""

from __future__ import annotations

import importlib.util
import random
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from training.fakes import equal_states
from training.page_loops import BEFORE
from training.page_loops import N_STEPS
from training.page_loops import PLAIN
from training.page_loops import SECTIONS
from training.page_loops import be_rank
from training.page_loops import run
from training.page_loops import run_in_process
from training.rank_once import Part
from training.rank_once import run_ranks


@pytest.fixture
def plain() -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "page"}
    run(BEFORE, names)
    run(SECTIONS[PLAIN], names)
    assert names["schedule"].step == names["schedule"].n_steps == N_STEPS
    return names


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
