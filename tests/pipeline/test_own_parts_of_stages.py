"""A study's own tuner and evaluation: named by import path, in place of ours."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pipeline.tiny import load_tiny
from torch import nn

from dpod_search.errors import ConfigError
from dpod_search.errors import TrainingError
from dpod_search.finetune import TunerContext
from dpod_search.pipeline import run_stages
from dpod_search.records.finetuned import Finetuned
from dpod_search.records.front import FinetunedFront
from dpod_search.records.search import Search


SEEN: list[float] = []
FAILS: list[int] = []


def shift(module: nn.Module, context: TunerContext) -> nn.Module:
    """Do what is quick and can be seen: learn one bias, from nothing."""
    SEEN.append(context.macs_share)
    if len(SEEN) in FAILS:
        raise RuntimeError("the cluster is gone")
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.01)
    return module


def measure(module: nn.Module) -> dict[str, float]:
    SEEN.append(0.0)
    with torch.no_grad():
        scores = module(torch.ones(2, 1, 8, 8)).softmax(1)
    return {"sure": float(scores.amax()), "spread": float(scores.std()), "other": 1.0}


measure.directions = {"sure": "maximize", "spread": "minimize"}  # type: ignore[attr-defined]  # how it is said


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    SEEN.clear()
    FAILS.clear()


def test_a_study_is_finetuned_by_its_tuner_and_resumed_subnet_by_subnet(run: Path) -> None:
    config = load_tiny(f"finetune.tuner={__name__}:shift")
    before = {m.folder: m.validation["accuracy"] for m in FinetunedFront.read(run).members}
    FAILS.append(2)
    with pytest.raises(TrainingError, match=r"the tuner shift raised RuntimeError in line \d+ of"):
        run_stages(config, run, stages=["finetune"])
    FAILS.clear()
    n_seen = len(SEEN)
    (outcome,) = run_stages(config, run, stages=["finetune"])
    assert not outcome.was_done
    members = FinetunedFront.read(run).members
    assert len(SEEN) - n_seen == len(members) - 1  # the first one was kept
    assert {m.folder: m.validation["accuracy"] for m in members} != before
    assert all(Finetuned.read(run, f"finetuned/{m.folder}").history == () for m in members)

    (outcome,) = run_stages(config, run, stages=["finetune"])
    assert outcome.was_done
    (outcome,) = run_stages(load_tiny(), run, stages=["finetune"])
    assert not outcome.was_done
    assert {m.folder: m.validation["accuracy"] for m in FinetunedFront.read(run).members} == before
    run_stages(config, run, stages=["finetune", "export", "report"])


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (f"{__name__}:nothing", "has no 'nothing'"),
        (f"{__name__}:SEEN", "must be callable with a module and a context"),
    ],
)
def test_a_tuner_that_is_none_is_told_before_anything_is_trained(
    tmp_path: Path, path: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        run_stages(load_tiny(f"finetune.tuner={path}"), tmp_path / "run")
    assert not (tmp_path / "run" / "config.toml").exists()


def test_a_study_is_searched_by_one_function_of_several_objectives(run: Path) -> None:
    for stage in ("search", "finetune"):
        (run / ".stages" / f"{stage}.json").unlink()
    (run / "study.journal").unlink()
    config = load_tiny(
        f'search.objectives=["{__name__}:measure", "macs"]', 'search.constraints={sure=">= 0"}'
    )
    run_stages(config, run, stages=["search"])
    found = Search.read(run)
    assert [o.name for o in found.objectives] == ["sure", "spread", "macs"]
    assert len(SEEN) <= found.counts["evaluated"] + found.counts.get("audited", 0) + 2
    SEEN.clear()
    run_stages(config, run, stages=["finetune"])
    members = FinetunedFront.read(run).members
    assert all(member.values_after.keys() == {"sure", "spread", "macs"} for member in members)
    assert len(SEEN) == len(members)
