from __future__ import annotations

import pytest
from optuna.storages import InMemoryStorage
from search.fakes import search

from dpod_search.errors import ConfigError
from dpod_search.search import open_storage


def test_every_storage_gives_the_same_search(tmp_path):
    in_memory = search(None)
    journal = search(tmp_path / "new" / "study.journal")
    sqlite = search(f"sqlite:///{tmp_path}/study.db")
    assert [t.values for t in in_memory.trials] == [t.values for t in journal.trials]
    assert [t.values for t in in_memory.trials] == [t.values for t in sqlite.trials]


def test_an_open_storage_is_taken_as_it_is():
    storage = InMemoryStorage()
    assert open_storage(storage) is storage


def test_a_journal_that_cannot_be_written_is_a_config_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be opened"):
        open_storage(tmp_path / "file" / "study.journal")
