from __future__ import annotations

import pytest
from pipeline.tiny import load_tiny

from dpod_search.pipeline import RunFolder
from dpod_search.pipeline import Session
from dpod_search.pipeline import disk
from dpod_search.pipeline.estimating import ROUGHNESS
from dpod_search.pipeline.stages.table import STAGE_NAMES
from dpod_search.progress import SilentProgress


@pytest.fixture
def session(finished):
    return Session(load_tiny(), RunFolder(finished), SilentProgress())


def test_a_run_takes_about_as_much_of_the_disk_as_was_told(session, finished):
    found = disk.estimate_bytes(session, STAGE_NAMES)
    assert tuple(found) == STAGE_NAMES
    taken = sum(file.stat().st_size for file in finished.rglob("*") if file.is_file())
    assert taken / ROUGHNESS < sum(found.values()) < taken * ROUGHNESS
    exported = sum(f.stat().st_size for f in (finished / "exported").rglob("*") if f.is_file())
    assert exported / ROUGHNESS < found["export"] < exported * ROUGHNESS


def test_nets_that_are_chosen_at_once_take_what_their_budgets_leave(tmp_path):
    def estimate(budget):
        sets = ('oneshot.method="uniform"', f'oneshot.budgets=["{budget}"]')
        policy = ('training.policy="dense"', "training.policy_options={}")
        session = Session(load_tiny(*sets, *policy), RunFolder(tmp_path), SilentProgress())
        return disk.estimate_bytes(session, STAGE_NAMES)["finetune"]

    assert estimate("params<=25%") == pytest.approx(1.25 / 2 * estimate("macs<=100%"))


def test_what_is_done_is_not_counted(session):
    found = disk.estimate_bytes(session, ("export", "report"))
    assert set(found) == {"export", "report"}


def test_a_disk_that_is_too_small_is_told(session, finished, monkeypatch):
    assert disk.describe_bytes(session, 5e6) == f"about 5.0 MB of disk in {finished}"
    monkeypatch.setattr(disk, "_find_free", lambda _: 3_000_000)
    told = disk.describe_bytes(session, 5e6)
    assert told.endswith(", where 3.0 MB are free: make room, or choose another --out")
