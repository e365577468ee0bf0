"""A run tells its loggers what happens; it ends as it would without them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from pipeline.tiny import load_tiny

from dpod_search.errors import ConfigError
from dpod_search.files import hash_file
from dpod_search.loggers import making
from dpod_search.pipeline import run_stages
from dpod_search.pipeline.folder import RunFolder
from dpod_search.pipeline.joining import work
from dpod_search.records.front import FinetunedFront
from dpod_search.records.search import Search
from dpod_search.records.training import Training


class Lines:
    """Writes a line for all that it is told."""

    def __init__(self, folder: Path, name: str, settings: Mapping[str, str]) -> None:
        self.file = folder / "told.jsonl"
        self.first = ["begun", name, settings["training.epochs"]]

    def on_step(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        self.write(stage, step, values)

    def on_trial(self, number: int, values: Mapping[str, float], fate: str) -> None:
        self.write("trial", number, values)

    def on_stage(self, name: str, seconds: float, values: Mapping[str, float]) -> None:
        self.write("stage", name, values)

    def close(self) -> None:
        if self.file.exists():
            self.write("closed", 0, {})

    def write(self, *told: object) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        if not self.file.exists():
            self.file.write_text(json.dumps(self.first) + "\n")
        with self.file.open("a") as file:
            file.write(json.dumps(told) + "\n")


OWN = f'logging.loggers=["{__name__}:Lines"]'


def read(folder: Path, place: str = "logs") -> list[list[object]]:
    lines = (folder / place / "Lines" / "told.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_a_run_tells_of_every_stage_and_ends_as_without(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run_stages(load_tiny(OWN), folder)

    weights = ["supernet.safetensors", "path.json"]
    weights += [str(f.relative_to(finished)) for f in finished.glob("finetuned/*/*.safetensors")]
    for name in weights:
        assert hash_file(folder / name) == hash_file(finished / name)
    told = read(folder)
    assert told[0] == ["begun", "digits", "2"]
    trained, found = Training.read(folder), Search.read(folder)
    assert [n for of, n, _ in told if of == "train"] == [*range(trained.n_steps)]
    assert sorted(n for of, n, _ in told if of == "trial") == [*range(sum(found.counts.values()))]
    ended = {n: values for of, n, values in told if of == "stage"}
    members = [m.folder for m in FinetunedFront.read(folder).members]
    subnets = {f"finetune/{name}" for name in members}
    assert set(ended) == {"train", "search", "finetune", "export", "report", *subnets}
    assert subnets <= {of for of, _, _ in told}
    assert ended["train"]["n_steps"] == trained.n_steps  # type: ignore[index]  # JSON
    assert ended["search"]["n_front"] == len(found.front)  # type: ignore[index]  # as above
    assert told[-1][0] == "closed"

    # What was done before is not told again, and loggers are no reason to do it again.
    outcomes = run_stages(load_tiny(), folder, stages=["train", "search", "finetune"])
    assert all(outcome.was_done for outcome in outcomes)
    assert read(folder) == told


def test_a_worker_logs_into_a_folder_of_its_own(run: Path) -> None:
    more = load_tiny(OWN, "search.n_trials=14")
    work(more, run)
    (folder,) = (run / "logs").iterdir()
    assert folder.name.startswith("worker-")
    told = read(run, f"logs/{folder.name}")
    assert sorted(n for of, n, _ in told if of == "trial") == [12, 13]


def test_a_logger_that_cannot_be_made_is_told_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ConfigError("the logger wandb cannot be used")

    monkeypatch.setattr(making, "_KINDS", {"wandb": refuse})
    with pytest.raises(ConfigError, match="the logger wandb cannot be used"):
        run_stages(load_tiny('logging.loggers=["wandb"]'), tmp_path / "run")
    assert not (tmp_path / "run" / "config.toml").exists()
    assert not (tmp_path / "run" / "logs").exists()


def test_logs_are_no_part_of_a_run_that_is_tidied(run: Path) -> None:
    kept = run / "logs" / "mine" / ".half.part"
    kept.parent.mkdir(parents=True)
    kept.write_text("x")
    RunFolder(run).recover()
    assert kept.read_text() == "x"
