"""What users get wrong: one line that says what, the value got and the fix; exit code 2."""

from __future__ import annotations

import shutil
import subprocess
import textwrap
import time
from pathlib import Path

import pytest
from e2e.commands import SMALL
from e2e.commands import Started
from e2e.commands import fill_disk
from e2e.commands import run_command


pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of digits whose supernet is trained."""
    cwd = tmp_path_factory.mktemp("trained")
    done = run_command("train", "--study", "digits", "--quiet", sets=SMALL, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return cwd


def snapshot(folder: Path) -> dict[str, bytes]:
    """Return the content of every file but logs, locks and Python's own cache."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
        and file.name not in (".lock", ".owner", "log.jsonl")
        and file.suffix != ".pyc"
    }


def check_refused(done: subprocess.CompletedProcess[str], *parts: str) -> None:
    """Check for exit code 2 and one line that has every part."""
    assert done.returncode == 2, (done.returncode, done.stdout, done.stderr)
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    for part in parts:
        assert part in lines[0], lines[0]


def refuse(cwd: Path, *parts: str, sets: tuple[str, ...] = (), study: str = "digits") -> None:
    """Run a study that must be refused, and check that no file was touched."""
    before = snapshot(cwd)
    done = run_command("run", "--study", study, "--quiet", sets=(*SMALL, *sets), cwd=cwd)
    check_refused(done, *parts)
    assert snapshot(cwd) == before


def test_an_unknown_key_names_the_nearest(tmp_path: Path) -> None:
    refuse(tmp_path, "training.epoch", "training.epochs", sets=("training.epoch=3",))
    study = tmp_path / "mine.toml"
    study.write_text('name = "mine"\n[serach]\nn_trials = 3\n')
    refuse(tmp_path, "serach", "search", "mine.toml", study=str(study))


def test_a_wrong_type_names_key_value_and_type(tmp_path: Path) -> None:
    refuse(tmp_path, "training.epochs", "many", "whole number", sets=("training.epochs=many",))


def test_a_setting_out_of_range_names_the_limit(tmp_path: Path) -> None:
    refuse(tmp_path, "training.batch_size", ">= 2", "1", sets=("training.batch_size=1",))


def test_an_unknown_study_names_the_shipped_ones(tmp_path: Path) -> None:
    refuse(tmp_path, "digit", "digits", "fashion_mnist", study="digit")


def test_a_constraint_that_nothing_meets_names_the_smallest_footprint(tmp_path: Path) -> None:
    refuse(tmp_path, "macs <= 1k", "1,124", sets=('search.constraints={macs="<= 1k"}',))


def test_missing_data_say_how_to_get_them(tmp_path: Path) -> None:
    missing = tmp_path / "nowhere"
    refuse(tmp_path, str(missing), sets=(f'data.name="imagefolder:{missing}"',))
    refuse(tmp_path, "fashion_mnist", "download", sets=('data.name="fashion_mnist"',))


def test_a_model_that_cannot_be_traced_names_the_line(tmp_path: Path) -> None:
    (tmp_path / "branchy.py").write_text(
        textwrap.dedent(
            """
            from torch import nn

            class Branchy(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.conv = nn.Conv2d(1, 8, 3)
                    self.head = nn.Linear(8, 10)

                def forward(self, x):
                    x = self.conv(x).mean((2, 3))
                    if x.sum() > 0:
                        x = x + 1
                    return self.head(x)
            """
        )
    )
    refuse(tmp_path, "branchy.py:12", "traced", sets=('model.name="branchy:Branchy"',))


def test_a_loss_that_turns_nan_names_step_and_rate(tmp_path: Path) -> None:
    (tmp_path / "pictures.py").write_text(
        textwrap.dedent(
            """
            import torch
            from torch.utils.data import TensorDataset

            def broken():
                images = torch.randn(400, 1, 8, 8)
                images[::3] = float("nan")
                return TensorDataset(images, torch.arange(400) % 4), None, 4
            """
        )
    )
    done = run_command(
        *("run", "--study", "digits", "--quiet"),
        sets=(*SMALL, 'data.name="pictures:broken"'),
        cwd=tmp_path,
    )
    check_refused(done, "nan", "step", "learning rate")
    assert not (tmp_path / "runs" / "digits" / "supernet.safetensors").exists()


def test_a_folder_in_use_names_the_process(trained: Path, tmp_path: Path) -> None:
    cwd = tmp_path / "copy"
    shutil.copytree(trained, cwd)
    sets = (*SMALL, "search.n_trials=5000")
    first = Started("run", "--study", "digits", "--quiet", sets=sets, cwd=cwd)
    try:
        journal = cwd / "runs" / "digits" / "study.journal"
        deadline = time.monotonic() + 60
        while not journal.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        done = run_command("run", "--study", "digits", "--quiet", sets=sets, cwd=cwd)
        check_refused(done, "runs/digits is in use", f"process {first.pid}", "--out")
        assert not first.has_ended
    finally:
        first.kill()


def test_a_folder_of_a_different_study_names_the_difference(trained: Path, tmp_path: Path) -> None:
    cwd = tmp_path / "copy"
    shutil.copytree(trained, cwd)
    refuse(cwd, "training.epochs: 8 -> 7", "--out", sets=("training.epochs=7",))
    refuse(cwd, "seed: 0 -> 1", sets=("seed=1",))
    before = snapshot(cwd)
    other = tmp_path / "other.toml"
    other.write_text('name = "other"\n')
    done = run_command(
        "run", "--study", str(other), "--out", "runs/digits", "--quiet", sets=SMALL, cwd=cwd
    )
    check_refused(done, "name: digits -> other")
    assert snapshot(cwd) == before


@pytest.mark.parametrize("damage", ["truncated", "garbage", "empty"])
def test_a_damaged_checkpoint_is_named_and_left(
    trained: Path, tmp_path: Path, damage: str
) -> None:
    cwd = tmp_path / "copy"
    shutil.copytree(trained, cwd)
    weights = cwd / "runs" / "digits" / "supernet.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes({"truncated": whole[:-99], "garbage": b"x" * 500, "empty": b""}[damage])
    refuse(cwd, "supernet.safetensors", "damaged", "delete")


def test_a_damaged_training_checkpoint_is_named_and_left(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "digits"
    folder.mkdir(parents=True)
    checkpoint = folder / "training.checkpoint.safetensors"
    checkpoint.write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{}")
    done = run_command("run", "--study", "digits", "--quiet", sets=SMALL, cwd=tmp_path)
    check_refused(done, "training.checkpoint.safetensors", "damaged", "delete")
    assert checkpoint.stat().st_size == 10


def test_a_full_disk_keeps_the_earlier_checkpoint(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "digits"
    done = run_command(
        "run", "--study", "digits", "--quiet", sets=SMALL, cwd=tmp_path, prepare=fill_disk
    )
    check_refused(done, "training.checkpoint.safetensors", "could not write", "free some space")
    assert [file.name for file in folder.iterdir() if ".part" in file.name] == []
    # With room again, the same command goes on.
    again = run_command("train", "--study", "digits", "--quiet", sets=SMALL, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
