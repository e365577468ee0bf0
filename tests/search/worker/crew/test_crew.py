"""What every crew must do, whatever its locks are made of."""

from __future__ import annotations

import threading

import optuna
import pytest
import sqlalchemy
from forking import FORKED
from optuna.storages import InMemoryStorage
from search.work_once import hold_the_lock

from dpod_search.errors import ConfigError
from dpod_search.errors import RunFolderError
from dpod_search.search import open_storage
from dpod_search.search.worker.crew import check_shareable
from dpod_search.search.worker.crew import join_crew
from dpod_search.search.worker.crew.crew import LocalCrew
from dpod_search.search.worker.crew.files import FileCrew
from dpod_search.search.worker.crew.postgres import PostgresCrew


SHARED = {"journal": FileCrew, "sqlite": FileCrew, "postgresql": PostgresCrew}


@pytest.fixture
def find_target(request, tmp_path):
    def find(kind):
        if kind == "postgresql":
            return request.getfixturevalue("server")
        return tmp_path / "s.journal" if kind == "journal" else f"sqlite:///{tmp_path}/s.db"

    return find


@pytest.fixture
def make_study():
    opened = []

    def make(target, name="study"):
        storage = open_storage(target)
        opened.append(storage)
        with_sampler = {"sampler": optuna.samplers.RandomSampler(), "load_if_exists": True}
        return optuna.create_study(storage=storage, study_name=name, **with_sampler)

    yield make
    for storage in opened:
        if hasattr(storage, "_backend") and hasattr(storage._backend, "engine"):
            storage.remove_session()
            storage._backend.engine.dispose()


@pytest.mark.parametrize("kind", [*SHARED, "memory"])
def test_members_know_of_each_other_until_they_leave(kind, find_target, make_study):
    study = make_study(None if kind == "memory" else find_target(kind))
    with join_crew(study) as one:
        assert isinstance(one, SHARED.get(kind, LocalCrew))
        assert one.find_live() == {one.me}
        with join_crew(study) as two:
            assert one.find_live() == two.find_live() == {one.me, two.me}
        assert one.find_live() == {one.me}


@pytest.mark.parametrize("kind", [*SHARED, "memory"])
def test_one_holds_the_lock_and_the_next_waits_for_it(kind, find_target, make_study):
    study = make_study(None if kind == "memory" else find_target(kind))
    events = []
    with join_crew(study) as one, join_crew(study) as two:

        def take():
            with two.lock():
                events.append("two")

        thread = threading.Thread(target=take)
        with one.lock():
            thread.start()
            thread.join(timeout=0.3)
            assert thread.is_alive()
            events.append("one")
        thread.join(timeout=30)
    assert events == ["one", "two"]


@pytest.mark.parametrize("kind", SHARED)
def test_studies_in_one_storage_do_not_disturb_each_other(kind, find_target, make_study):
    target = find_target(kind)
    studies = make_study(target, "a"), make_study(target, "b")
    with join_crew(studies[0]) as one, join_crew(studies[1]) as two, one.lock(), two.lock():
        assert one.find_live() == {one.me}
        assert two.find_live() == {two.me}


@pytest.mark.parametrize("kind", SHARED)
def test_a_killed_member_is_gone_and_so_is_its_lock(kind, find_target, make_study):
    target = find_target(kind)
    study = make_study(target)
    told, tell = FORKED.Pipe(duplex=False)
    process = FORKED.Process(target=hold_the_lock, args=(target, "study", tell))
    process.start()
    assert told.poll(120)
    name = told.recv()
    with join_crew(study) as crew:
        assert crew.find_live() == {crew.me, name}
        process.kill()
        process.join()
        with crew.lock():  # at once: nobody waits for a time to pass
            assert crew.find_live() == {crew.me}


def test_a_lost_connection_is_an_error_in_one_line(find_target, make_study):
    study = make_study(find_target("postgresql"))
    with join_crew(study) as crew:
        key = int(crew.me, 16)
        with study._storage._backend.engine.connect() as connection:
            connection.execute(
                sqlalchemy.text(
                    "SELECT pg_terminate_backend(pid) FROM pg_locks "
                    f"WHERE locktype = 'advisory' AND objid = {key}"
                )
            )
        with pytest.raises(RunFolderError, match="connection to the study's database") as error:
            crew.find_live()
        assert "\n" not in str(error.value)


def test_processes_share_no_study_in_memory(find_target):
    with pytest.raises(ConfigError, match="journal, in SQLite or in PostgreSQL"):
        check_shareable(InMemoryStorage())
    check_shareable(open_storage(find_target("journal")))
    check_shareable(open_storage(find_target("sqlite")))


def test_locks_that_cannot_be_made_are_a_config_error(tmp_path, make_study):
    study = make_study(tmp_path / "s.journal")
    (tmp_path / "s.journal.locks").write_text("in the way")
    with pytest.raises(ConfigError, match=r"s\.journal\.locks cannot be written"):
        join_crew(study)
