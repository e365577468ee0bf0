from __future__ import annotations

from datetime import datetime

import optuna
import pytest
import sqlalchemy
from optuna.distributions import IntDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import InMemoryStorage
from optuna.storages import JournalStorage
from optuna.storages import RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from optuna.trial import create_trial

from dpod_search.search import open_storage
from dpod_search.search.store.database_table import open_table
from dpod_search.search.store.trial_table import Change
from dpod_search.search.store.trial_table import TrialTable


DISTRIBUTIONS = {"a": IntDistribution(1, 8), "b": IntDistribution(1, 3)}
KINDS = ("memory", "journal", "plain journal", "sqlite", "plain sqlite", "postgresql", "unknown")


@pytest.fixture(params=KINDS)
def study(request, tmp_path):
    storage = {
        "memory": InMemoryStorage,
        "unknown": InMemoryStorage,
        "journal": lambda: open_storage(tmp_path / "s.journal"),
        "plain journal": lambda: JournalStorage(JournalFileBackend(str(tmp_path / "p.journal"))),
        "sqlite": lambda: open_storage(f"sqlite:///{tmp_path}/s.db"),
        "plain sqlite": lambda: RDBStorage(f"sqlite:///{tmp_path}/p.db"),
        "postgresql": lambda: open_storage(request.getfixturevalue("server")),
    }[request.param]()
    study = make_study(storage)
    yield study
    for held in (storage, getattr(storage, "_backend", None)):
        if isinstance(held, RDBStorage):
            held.remove_session()
            held.engine.dispose()


def make_study(storage):
    return optuna.create_study(
        storage=storage,
        directions=["maximize", "minimize"],
        sampler=optuna.samplers.RandomSampler(),
    )


@pytest.fixture
def table(study, request):
    if request.node.callspec.params["study"] == "unknown":
        return TrialTable(study._storage, study._study_id)
    return open_table(study)


def make_trial(state=TrialState.COMPLETE, a=5, **user):
    return create_trial(
        state=state,
        values=(0.5, 1e-9 * a) if state == TrialState.COMPLETE else None,
        params={"a": a, "b": 2},
        distributions=DISTRIBUTIONS,
        user_attrs={"widths": {"a": 16}, "reason": "because", **user},
        system_attrs={"constraints": [-0.25, 0.125]},
    )


def describe(trial):
    return (
        trial.number,
        trial.state,
        trial.values,
        trial.params,
        trial.distributions,
        trial.user_attrs,
        trial.system_attrs,
        trial.datetime_start,
        trial.datetime_complete,
    )


def test_a_trial_is_written_whole(study, table):
    made = [make_trial(), make_trial(TrialState.PRUNED), make_trial(TrialState.RUNNING)]
    numbers = [number for number, _ in table.create(made[:2]) + table.create(made[2:])]
    assert numbers == [0, 1, 2]
    found = study.get_trials(deepcopy=False)
    for number, (given, stored) in enumerate(zip(made, found, strict=True)):
        given.number = number
        assert describe(given) == describe(stored)


def test_rows_are_those_that_optuna_makes(tmp_path):
    engines = []
    for name, write in (("ours", write_ours), ("optunas", write_optunas)):
        study = make_study(open_storage(f"sqlite:///{tmp_path}/{name}.db"))
        write(study, [make_trial(), make_trial(TrialState.RUNNING), make_trial(TrialState.FAIL)])
        engines.append(study._storage._backend.engine)
    ours, optunas = map(dump_rows, engines)
    assert ours == optunas
    assert len(ours["trial_params"]) == 6
    for engine in engines:
        engine.dispose()


MOMENT = datetime(2026, 3, 1, 12)


def write_ours(study, trials):
    for trial in trials:
        trial.datetime_start = MOMENT
        trial.datetime_complete = MOMENT if trial.state.is_finished() else None
    open_table(study).create(trials)


def write_optunas(study, trials):
    for trial in trials:
        trial.datetime_start = MOMENT
        trial.datetime_complete = MOMENT if trial.state.is_finished() else None
        study._storage.create_new_trial(study._study_id, trial)


def dump_rows(engine):
    names = ["trials", "trial_params", "trial_values"]
    names += ["trial_user_attributes", "trial_system_attributes"]
    with engine.connect() as connection:
        return {
            name: connection.execute(sqlalchemy.text(f"SELECT * FROM {name}")).fetchall()
            for name in names
        }


def test_only_what_is_new_or_was_unfinished_is_read(study, table):
    other = open_table(study)
    other.create([make_trial(), make_trial(TrialState.RUNNING), make_trial()])
    assert [trial.number for trial in table.read()] == [0, 1, 2]
    assert [trial.number for trial in table.read()] == [1]
    running = study.get_trials(deepcopy=False)[1]
    other.update(running._trial_id, Change(state=TrialState.PRUNED))
    other.create([make_trial()])
    assert [(t.number, t.state.name) for t in table.read()] == [(1, "PRUNED"), (3, "COMPLETE")]
    assert table.read() == []
    assert table.n_read == 4


def test_own_trials_are_not_read_again(study, table):
    table.read()
    table.create([make_trial(TrialState.RUNNING), make_trial()])
    assert table.read() == []
    open_table(study).create([make_trial()])
    assert [trial.number for trial in table.read()] == [2]


def test_a_trial_that_somebody_put_between_is_read_and_so_are_the_own_ones_after_it(study, table):
    table.read()
    study.enqueue_trial({"a": 1, "b": 1})
    assert [number for number, _ in table.create([make_trial(), make_trial()])] == [1, 2]
    assert [trial.number for trial in table.read()] == [0, 1, 2]


def test_changes_are_written_and_a_finished_trial_is_left_alone(study, table):
    ((_, trial_id),) = table.create([make_trial(TrialState.RUNNING)])
    change = Change(
        user={"reason": "another", "new": [1, 2]},
        system={"dpod:worker": "me"},
        state=TrialState.COMPLETE,
        values=(0.25, 2.0),
    )
    table.update(trial_id, change)
    (trial,) = study.get_trials(deepcopy=False)
    assert trial.user_attrs == {"widths": {"a": 16}, "reason": "another", "new": [1, 2]}
    assert trial.system_attrs == {"constraints": [-0.25, 0.125], "dpod:worker": "me"}
    assert (trial.state, trial.values) == (TrialState.COMPLETE, [0.25, 2.0])
    assert trial.datetime_complete is not None
    with pytest.raises(UpdateFinishedTrialError):
        table.update(trial_id, change)


def test_a_waiting_trial_is_claimed_once_and_gets_its_parameters(study, table):
    study.enqueue_trial({"a": 1})
    (waiting,) = table.read()
    assert table.claim(waiting._trial_id)
    assert not table.claim(waiting._trial_id)
    table.update(waiting._trial_id, Change(params={"a": 1, "b": 3}, distributions=DISTRIBUTIONS))
    (trial,) = study.get_trials(deepcopy=False)
    assert trial.params == {"a": 1, "b": 3}
    assert trial.distributions == DISTRIBUTIONS
    assert trial.state == TrialState.RUNNING
