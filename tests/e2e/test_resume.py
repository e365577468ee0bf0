"""Killed at any moment, the same command ends as if nothing had happened."""

from __future__ import annotations

import csv
import json
import random
import shutil
import time
from pathlib import Path

import optuna
import pytest
from e2e.commands import SMALL
from e2e.commands import Started
from e2e.commands import run_command


pytestmark = pytest.mark.e2e

STAGES = ("train", "search", "finetune")


def read_starts(folder: Path) -> list[str]:
    """Return the log's messages, as far as its lines are whole."""
    log = folder / "log.jsonl"
    if not log.exists():
        return []
    lines = log.read_text().splitlines()
    return [json.loads(line)["message"] for line in lines if line.endswith("}")]


def measure_stages(folder: Path) -> dict[str, float]:
    """Return how long each stage of an uninterrupted run took, in seconds."""
    ended = [m for m in read_starts(folder) if ": ended after " in m]
    return {m.split(":")[0]: float(m.split()[-2]) for m in ended}


def kill_during(
    stage: str, delay: float, *arguments: str, sets: tuple[str, ...], cwd: Path
) -> bool:
    """Start a command and kill it ``delay`` seconds into a stage; say whether it was in there."""
    folder = cwd / "runs" / "digits"
    n_before = len(read_starts(folder))
    started = Started(*arguments, sets=sets, cwd=cwd)
    try:
        while f"{stage}: starts" not in read_starts(folder)[n_before:]:
            if started.has_ended:
                return False
            time.sleep(0.01)
        time.sleep(delay)
    finally:
        started.kill()
    return not any(f"{stage}: ended" in message for message in read_starts(folder)[n_before:])


def read_trials(folder: Path) -> list[dict[str, str]]:
    """Return the trials without the time they took."""
    with (folder / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


@pytest.mark.parametrize("n_kills", [2, pytest.param(5, marks=pytest.mark.slow)])
def test_kills_in_every_stage_change_nothing(tmp_path: Path, n_kills: int) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    arguments = ("run", "--study", "digits", "--quiet")
    finished = run_command(*arguments, sets=SMALL, cwd=whole)
    assert finished.returncode == 0, finished.stderr
    seconds = measure_stages(whole / "runs" / "digits")
    # The moments are random on purpose: every run of this test tries others. All of a stage
    # together are at most a third of it, so that a faster process does not slip through.
    moments = random.SystemRandom()
    n_killed = dict.fromkeys(STAGES, 0)
    for stage in STAGES:
        for _ in range(n_kills):
            delay = moments.uniform(0, seconds[stage] / 3 / n_kills)
            n_killed[stage] += kill_during(stage, delay, *arguments, sets=SMALL, cwd=killed)
    last = run_command(*arguments, sets=SMALL, cwd=killed)
    assert last.returncode == 0, last.stderr
    assert n_killed == dict.fromkeys(STAGES, n_kills)

    folders = (whole / "runs" / "digits", killed / "runs" / "digits")
    fronts = [(folder / "front.json").read_bytes() for folder in folders]
    assert fronts[0] == fronts[1]
    weights = [(folder / "supernet.safetensors").read_bytes() for folder in folders]
    assert weights[0] == weights[1]
    assert read_trials(folders[0]) == read_trials(folders[1])
    assert count_states(folders[1]) == count_states(folders[0])
    assert set(count_states(folders[1])) <= {"COMPLETE", "PRUNED"}
    leftovers = [
        p.name for p in folders[1].rglob("*") if ".part" in p.name or "checkpoint" in p.name
    ]
    assert leftovers == []


# A training with all that has a state: moments, an average, dropout-like draws, a path.
RICH = (
    "training.epochs=12",
    "training.checkpoint_seconds=0.05",
    "training.optimizer=adamw",
    "training.lr=0.005",
    "training.ema_decay=0.95",
    "training.precision=bfloat16",
    "training.augmentation=randomerasing",
)


@pytest.mark.parametrize("n_kills", [4, pytest.param(10, marks=pytest.mark.slow)])
def test_kills_of_the_training_change_no_bit_of_the_weights(tmp_path: Path, n_kills: int) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    arguments = ("train", "--study", "digits", "--quiet")
    finished = run_command(*arguments, sets=RICH, cwd=whole)
    assert finished.returncode == 0, finished.stderr
    seconds = measure_stages(whole / "runs" / "digits")["train"]
    moments = random.SystemRandom()
    n_killed = sum(
        kill_during(
            "train", moments.uniform(0, seconds / 2.5 / n_kills), *arguments, sets=RICH, cwd=killed
        )
        for _ in range(n_kills)
    )
    last = run_command(*arguments, sets=RICH, cwd=killed)
    assert last.returncode == 0, last.stderr
    assert n_killed == n_kills

    folders = (whole / "runs" / "digits", killed / "runs" / "digits")
    for name in ("supernet.safetensors", "path.json"):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()
    kept = [json.loads((folder / "training.json").read_text()) for folder in folders]
    assert kept[0]["history"] == kept[1]["history"]
    assert [p.name for p in folders[1].iterdir() if "checkpoint" in p.name] == []


def test_kills_while_subnets_are_finetuned_side_by_side_change_nothing(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    sets = (
        *SMALL,
        "finetune.epochs=12",
        "finetune.patience=20",
        "finetune.checkpoint_seconds=0.1",
    )
    common = ("--study", "digits", "--quiet")
    whole.mkdir()
    for stage in ("train", "search"):
        done = run_command(stage, *common, sets=sets, cwd=whole)
        assert done.returncode == 0, done.stderr
    shutil.copytree(whole, killed)
    finished = run_command("finetune", *common, sets=sets, cwd=whole)
    assert finished.returncode == 0, finished.stderr
    seconds = measure_stages(whole / "runs" / "digits")["finetune"]
    moments = random.SystemRandom()
    arguments = ("finetune", *common, "--jobs", "2")
    n_killed = sum(
        kill_during("finetune", moments.uniform(0, seconds / 8), *arguments, sets=sets, cwd=killed)
        for _ in range(3)
    )
    last = run_command(*arguments, sets=sets, cwd=killed)
    assert last.returncode == 0, last.stderr
    assert n_killed == 3

    folders = (whole / "runs" / "digits", killed / "runs" / "digits")
    fronts = [(folder / "front.json").read_bytes() for folder in folders]
    assert fronts[0] == fronts[1]
    time.sleep(1)  # a process that outlived its parent would write now
    names = [p.name for p in folders[1].rglob("*")]
    assert [name for name in names if ".part" in name or "checkpoint" in name] == []


def count_states(folder: Path) -> dict[str, int]:
    """Count the trials in the journal itself by state, in the search and in its child."""
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(folder / "study.journal"))
    )
    counts: dict[str, int] = {}
    for name in ("digits", "digits-finetune"):
        study = optuna.load_study(
            study_name=name, storage=storage, sampler=optuna.samplers.RandomSampler()
        )
        for trial in study.get_trials(deepcopy=False):
            counts[trial.state.name] = counts.get(trial.state.name, 0) + 1
    return counts
