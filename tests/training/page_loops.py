"""Loops of docs/own-loop.md as processes of their own, which import what they run from here."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import Any

import torch
from forking import FORKED
from torch.optim.optimizer import register_optimizer_step_post_hook
from training.fakes import single_thread
from training.rank_once import Part

from dpod_search.training import Ranks


PAGE = Path(__file__).resolve().parents[2] / "docs" / "own-loop.md"
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


def be_rank(part: Part, ranks: Ranks) -> None:
    """Run the loop of several processes, and leave the weights of this one."""
    names = define()
    run(SECTIONS["With several processes"], names)
    assert names["schedule"].step == N_STEPS
    assert [len(images) for images, _ in names["own"]] == [8] * 6
    torch.save(names["supernet"].state_dict(), part.folder / f"rank{ranks.rank}.pt")
