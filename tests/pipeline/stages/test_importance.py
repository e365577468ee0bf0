"""Importance and the width program's seeds in an ordinary search: kept, so that it goes on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pipeline.tiny import copy_run
from pipeline.tiny import load_tiny

from dpod_search.errors import RunFolderError
from dpod_search.files import hash_file
from dpod_search.files import read_json
from dpod_search.pipeline import RunFolder
from dpod_search.pipeline import run_stages
from dpod_search.pipeline import work
from dpod_search.pipeline.session import Session
from dpod_search.pipeline.stages import importance
from dpod_search.progress import SilentProgress


def load_seeded(*more: str):
    return load_tiny("search.n_mdp=3", *more)


@pytest.fixture
def seeded(finished: Path, tmp_path: Path) -> Path:
    """A trained supernet, not searched yet."""
    run = copy_run(finished, tmp_path / "run")
    for name in ("search.json", "study.journal", ".stages/search.json"):
        (run / name).unlink()
    return run


def read_sources(run: Path) -> list[str]:
    header, *rows = (line.split(",") for line in (run / "trials.csv").read_text().splitlines())
    return [row[header.index("source")] for row in rows]


def test_seeds_of_the_program_are_tried(seeded):
    run_stages(load_seeded(), seeded, stages=["search"])
    sources = read_sources(seeded)
    assert 1 <= sources.count("mdp") <= 3
    assert read_json(seeded / "importance.json")["criterion"] == "taylor"
    kept = read_json(seeded / "seeds.json")["seeds"]
    assert [seed["source"] for seed in kept].count("mdp") == sources.count("mdp")


def test_without_such_seeds_nothing_is_measured(finished):
    assert not (finished / "importance.json").exists()
    assert not (finished / "seeds.json").exists()


def test_a_search_goes_on_with_its_seeds_though_a_solver_would_find_others(seeded, monkeypatch):
    run_stages(load_seeded("search.n_trials=8"), seeded, stages=["search"])
    before = read_sources(seeded)

    def fail(*arguments, **options):
        raise AssertionError("it is kept")

    monkeypatch.setattr(importance, "measure_unit_importance", fail)
    monkeypatch.setattr(importance, "make_tables", fail)
    run_stages(load_seeded(), seeded, stages=["search"])
    assert read_sources(seeded)[:8] == before
    assert len(read_sources(seeded)) == 12


@pytest.mark.parametrize("damage", ["{", "[]", '{"key": 3}'])
def test_damaged_files_are_made_again(seeded, damage):
    run_stages(load_seeded("search.n_trials=8"), seeded, stages=["search"])
    before = read_json(seeded / "seeds.json")
    for name in ("importance.json", "seeds.json"):
        (seeded / name).write_text(damage)
    run_stages(load_seeded(), seeded, stages=["search"])
    assert read_json(seeded / "seeds.json") == before


@pytest.mark.parametrize("name", ["importance.json", "seeds.json"])
def test_what_was_changed_by_hand_is_made_again(seeded, name):
    run_stages(load_seeded("search.n_trials=8"), seeded, stages=["search"])
    before = {file: hash_file(seeded / file) for file in ("importance.json", "seeds.json")}
    text = (seeded / name).read_text()
    (seeded / name).write_text(text.replace("4", "3"))
    if name == "importance.json":  # else it is not asked for
        (seeded / "seeds.json").unlink()
    run_stages(load_seeded(), seeded, stages=["search"])
    assert {file: hash_file(seeded / file) for file in before} == before


def test_importance_is_measured_again_for_other_weights(seeded):
    def find():
        session = Session(load_seeded(), RunFolder(seeded), SilentProgress())
        return importance.find_importance(session)

    first = find()
    digest = hash_file(seeded / "importance.json")
    again = find()
    assert hash_file(seeded / "importance.json") == digest
    for one, other in zip(first.layers, again.layers, strict=True):
        assert np.array_equal(one.scores, other.scores)
    kept = read_json(seeded / "importance.json")
    kept["key"] = "other"
    (seeded / "importance.json").write_text(json.dumps(kept))
    find()
    assert hash_file(seeded / "importance.json") == digest


def test_a_link_is_told_before_anything_is_measured(seeded, tmp_path, monkeypatch):
    (seeded / "importance.json").symlink_to(tmp_path / "elsewhere.json")
    monkeypatch.setattr(importance, "measure_unit_importance", None)
    session = Session(load_seeded(), RunFolder(seeded), SilentProgress())
    with pytest.raises(RunFolderError, match="importance.json is a link"):
        importance.find_importance(session)


def test_fewer_seeds_are_another_study(seeded):
    run_stages(load_seeded(), seeded, stages=["search"])
    with pytest.raises(RunFolderError, match="other subnets to try first"):
        run_stages(load_tiny("search.n_mdp=1"), seeded, stages=["search"])


def test_a_worker_reads_the_seeds(seeded):
    run_stages(load_seeded("search.n_trials=8"), seeded, stages=["search"])
    before = {name: hash_file(seeded / name) for name in ("importance.json", "seeds.json")}
    work(load_seeded(), seeded)
    assert {name: hash_file(seeded / name) for name in before} == before
