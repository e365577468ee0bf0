"""Finetuning as a stage: the last subnet left is trained as the others were."""

from __future__ import annotations

from pathlib import Path

import pytest
from pipeline.tiny import load_tiny

from dpod_search.files import hash_file
from dpod_search.pipeline import run_stages
from dpod_search.pipeline.stages import finetuning


def test_with_jobs_the_last_one_left_has_no_more_threads_than_its_share(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Another number of threads adds in another order: a killed run would not end the same.
    asked = []

    def note(jobs, *, n_jobs, n_threads, **told):
        asked.append((n_jobs, n_threads))
        return run_jobs(jobs, n_jobs=n_jobs, n_threads=n_threads, **told)

    run_jobs = finetuning.run_jobs
    monkeypatch.setattr(finetuning, "run_jobs", note)
    kept = next((run / "finetuned").iterdir()) / "model.safetensors"
    before = hash_file(kept)
    kept.unlink()
    run_stages(load_tiny("threads=1"), run, stages=["finetune"], n_jobs=2)
    assert asked == [(2, 1)]
    assert hash_file(kept) == before
