from __future__ import annotations

import pytest
from search.fakes import damage_trials
from search.fakes import make_task
from search.fakes import search

from dpod_search.errors import RunFolderError
from dpod_search.search import SearchSettings
from dpod_search.search import make_sampler
from dpod_search.search import open_study
from dpod_search.search import run_study
from dpod_search.search.store.status import count_trials
from dpod_search.search.store.status import require_written


def test_trials_are_counted_by_state(tmp_path):
    storage = str(tmp_path / "study.journal")
    task, settings = make_task(constraints={"macs": "<= 50%"}), SearchSettings(n_trials=5)
    study = open_study("s", storage, task.objectives, make_sampler(settings, task))
    run_study(study, task, settings)
    assert sum(count_trials("s", storage).values()) == 5
    assert count_trials("other", storage) == {}


def test_looking_makes_no_journal(tmp_path):
    assert count_trials("s", str(tmp_path / "deep" / "study.journal")) == {}
    assert list(tmp_path.iterdir()) == []


def test_a_database_that_is_damaged_inside_is_one_line(tmp_path):
    file = tmp_path / "study.db"
    search(f"sqlite:///{file}")
    damage_trials(file)
    for look in (
        lambda url: count_trials("s", url),
        lambda url: require_written("s", url, 8, None),
        search,
    ):
        with pytest.raises(RunFolderError, match="malformed.* restore it from a copy") as error:
            look(f"sqlite:///{file}")
        assert len(str(error.value).splitlines()) == 1
