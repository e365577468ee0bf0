"""Each use of what Optuna does not promise, tried on the Optuna that is installed."""

from __future__ import annotations

import ast
import math
from pathlib import Path

import optuna
import pytest
from optuna.distributions import IntDistribution
from optuna.samplers import GPSampler
from optuna.samplers import NSGAIISampler
from optuna.samplers import RandomSampler
from optuna.samplers import TPESampler
from optuna.storages import InMemoryStorage
from optuna.storages import JournalStorage
from optuna.storages import RDBStorage
from optuna.storages import get_storage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from optuna.trial import create_trial

import dpod_search
from dpod_search.search.store import attributes
from dpod_search.search.store import optuna_internals as internals


ROOT = Path(dpod_search.__file__).parent


def make_study(storage=None, sampler=None):
    return optuna.create_study(storage=storage, sampler=sampler or RandomSampler(seed=0))


def ask(study):
    trial = study.ask()
    trial.suggest_int("a", 1, 3)
    return trial


@pytest.fixture
def storage(tmp_path):
    return JournalStorage(JournalFileBackend(str(tmp_path / "study.journal")))


# What a subclass of Optuna's would reach by its own name, and nothing of ours is called.
INHERITED = {
    "_rng",
    "_random_sampler",
    "_replay_result",
    "_file_path",
    "_thread_lock",
    "_trial_id",
}


def is_private(node):
    if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("optuna"):
        names = [*node.module.split("."), *(alias.name for alias in node.names)]
        return any(name.startswith("_") for name in names)
    if not isinstance(node, ast.Attribute) or node.attr.startswith("__"):
        return False
    is_own = ast.unparse(node.value) in ("self", "cls", "super()")
    return node.attr in INHERITED or (node.attr.startswith("_") and not is_own)


def test_nobody_else_uses_what_is_private():
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if "optuna" in text and path.name != "optuna_internals.py":
            nodes = ast.walk(ast.parse(text))
            found += [f"{path.relative_to(ROOT)}:{n.lineno}" for n in nodes if is_private(n)]
    assert found == []


def test_a_study_has_its_storage_and_its_id_there():
    storage = InMemoryStorage()
    make_study(storage)
    study = make_study(storage)
    assert internals.storage_of(study) is storage
    assert storage.get_study_name_from_id(internals.study_id_of(study)) == study.study_name


def test_a_trial_has_the_id_that_its_storage_knows_it_by():
    study = make_study()
    study.ask()
    trial = study.ask()
    stored = internals.read_stored(study, trial)
    assert stored.number == trial.number == 1
    assert internals.trial_id_of(stored) == internals.trial_id_of(trial)
    storage = internals.storage_of(study)
    assert storage.get_trial(internals.trial_id_of(trial)).number == 1
    internals.give_id(stored, 77)
    assert internals.trial_id_of(stored) == 77


def test_a_trial_goes_on_after_it_was_reopened():
    study = make_study()
    trial = ask(study)
    again = internals.reopen_trial(study, internals.trial_id_of(trial))
    assert again.params == trial.params
    study.tell(again, 1.0)
    assert study.trials[0].values == [1.0]


def test_system_attributes_of_a_study_are_written_and_read():
    study = make_study()
    internals.write_study_attr(study, "mine", [1])
    assert internals.read_study_attrs(study)["mine"] == [1]
    assert "mine" not in study.user_attrs


def test_enqueued_parameters_lie_where_they_are_looked_for():
    study = make_study()
    study.enqueue_trial({"a": 2})
    assert study.trials[0].system_attrs[internals.ENQUEUED] == {"a": 2}


def test_constraints_lie_where_optuna_reads_them():
    trial = create_trial(value=0.0, system_attrs={attributes.VIOLATIONS: [0.5, -1.0]})
    assert list(trial.constraints.values()) == [0.5, -1.0]


def test_optunas_own_nsga2_writes_generations_where_they_are_looked_for():
    study = make_study(sampler=NSGAIISampler(population_size=2, seed=0))
    study.optimize(lambda trial: trial.suggest_int("a", 1, 9), n_trials=5)
    generations = [trial.system_attrs[internals.GENERATION] for trial in study.trials]
    assert generations == [0, 0, 1, 1, 2]


def test_a_subclass_reads_what_optunas_own_nsga2_has_written():
    class Plain(NSGAIISampler):
        pass

    @internals.use_nsga2_names
    class Named(NSGAIISampler):
        pass

    assert internals.generation_key_of(Plain()) != internals.GENERATION
    assert internals.generation_key_of(Named()) == internals.GENERATION
    study = make_study(sampler=NSGAIISampler(population_size=2, seed=0))
    study.optimize(lambda trial: trial.suggest_int("a", 1, 9), n_trials=4)
    parents = study.sampler.get_parent_population(study, 2)
    cached = internals.read_study_attrs(study)
    study.sampler = Named(population_size=2)
    assert study.sampler.get_parent_population(study, 2) == parents
    stored = internals.read_stored(study, study.ask())
    assert study.sampler.get_trial_generation(study, stored) == 2
    assert internals.read_study_attrs(study) == cached  # the parents were found, not sought again


@pytest.mark.parametrize("kind", [RandomSampler, TPESampler, NSGAIISampler, GPSampler])
def test_seeding_the_generator_repeats_what_is_drawn(kind):
    sampler = kind()
    study = make_study(sampler=sampler)
    drawn = []
    for _ in range(2):
        internals.generator_of(sampler).seed(7)
        drawn.append(internals.generator_of(sampler).random(3).tolist())
    assert drawn[0] == drawn[1]
    if kind is RandomSampler:
        internals.generator_of(sampler).seed(7)
        first = study.ask().suggest_float("x", 0, 1)
        internals.generator_of(sampler).seed(7)
        assert study.ask().suggest_float("x", 0, 1) == first


@pytest.mark.parametrize("kind", [TPESampler, NSGAIISampler])
def test_a_sampler_draws_single_parameters_by_the_other(kind):
    class Highest(RandomSampler):
        def sample_independent(self, study, trial, param_name, param_distribution):
            return param_distribution.high

    sampler = kind(seed=0)
    internals.draw_alone_with(sampler, Highest())
    assert ask(make_study(sampler=sampler)).params == {"a": 3}


def test_kernels_are_forgotten():
    sampler = GPSampler(seed=0, n_startup_trials=2)
    study = make_study(sampler=sampler)
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3)
    assert sampler._gprs_cache_list
    assert hasattr(sampler, "_constraints_gprs_cache_list")
    internals.forget_kernels(sampler)
    assert not sampler._gprs_cache_list
    assert not sampler._constraints_gprs_cache_list
    ask(study)  # and it can fit anew


def test_a_gaussian_process_leaves_with_a_trial_what_it_has_drawn():
    study = make_study(sampler=GPSampler(seed=0, n_startup_trials=2))
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
    trial = study.ask()
    stored = internals.read_stored(study, trial)
    assert stored.params == {}
    assert internals.read_drawn(stored) == {"x": trial.suggest_float("x", 0, 1)}


def test_a_database_is_found_in_its_cache(tmp_path):
    opened = RDBStorage(f"sqlite:///{tmp_path}/study.db")
    assert get_storage(opened) is not opened
    assert internals.find_database(get_storage(opened)) is opened
    assert internals.find_database(opened) is opened
    assert internals.find_database(InMemoryStorage()) is None


def test_rows_are_those_asked_for_and_those_behind(tmp_path):
    database = RDBStorage(f"sqlite:///{tmp_path}/study.db")
    study = make_study(database)
    ids = [internals.trial_id_of(study.ask()) for _ in range(4)]
    rows = internals.read_rows(database, internals.study_id_of(study), {ids[0]}, ids[1])
    assert sorted(internals.trial_id_of(row) for row in rows) == [ids[0], ids[2], ids[3]]


def test_tables_are_those_that_optuna_makes(tmp_path):
    from sqlalchemy import inspect

    made = inspect(RDBStorage(f"sqlite:///{tmp_path}/study.db").engine)
    tables = internals.list_tables()
    assert set(tables) <= set(made.get_table_names())
    columns = {
        "studies": {"study_id", "study_name"},
        "trials": {
            "trial_id",
            "number",
            "study_id",
            "state",
            "datetime_start",
            "datetime_complete",
        },
        "trial_values": {"trial_id", "objective", "value", "value_type"},
        "trial_params": {"trial_id", "param_name", "param_value", "distribution_json"},
        "trial_user_attributes": {"trial_id", "key", "value_json"},
        "trial_system_attributes": {"trial_id", "key", "value_json"},
    }
    for name, expected in columns.items():
        assert expected <= set(tables[name].columns.keys())


@pytest.mark.parametrize("value", [0.5, math.inf, -math.inf])
def test_values_are_stored_as_optuna_stores_them(tmp_path, value):
    database = RDBStorage(f"sqlite:///{tmp_path}/study.db")
    study = make_study(database)
    study.tell(study.ask(), value)
    table = internals.list_tables()["trial_values"]
    with database.engine.connect() as connection:
        row = connection.execute(table.select()).mappings().one()
    assert internals.to_stored_value(value) == (row["value"], row["value_type"])


def test_the_list_in_memory_is_the_storages_own():
    storage = InMemoryStorage()
    study = make_study(storage)
    listed = internals.list_in_memory(storage, internals.study_id_of(study))
    assert listed == []
    study.ask()
    found = internals.list_in_memory(storage, internals.study_id_of(study))
    assert [trial.number for trial in found] == [0]
    assert found[0] is storage.get_all_trials(internals.study_id_of(study), deepcopy=False)[0]


def test_a_journal_tells_its_file_and_its_lock(tmp_path):
    class Lock(internals.JournalLock):
        n_held = 0

        def acquire(self):
            self.n_held += 1
            return True

        def release(self):
            self.n_held -= 1

    path, lock = tmp_path / "study.journal", Lock()
    backend = JournalFileBackend(str(path), lock_obj=lock)
    assert internals.path_of(backend) == path
    assert internals.find_journal(JournalStorage(backend)) == path
    assert internals.find_journal(InMemoryStorage()) is None
    assert internals.lock_of(backend) is lock
    with internals.hold(lock):
        assert lock.n_held == 1
    assert lock.n_held == 0


def test_a_journal_is_replayed_and_tells_of_its_trials(storage, tmp_path):
    study = make_study(storage)
    study_id = internals.study_id_of(study)
    elsewhere = JournalStorage(JournalFileBackend(str(tmp_path / "study.journal")))
    study.add_trial(create_trial(value=1.0))
    running = study.ask()
    found = internals.replay(elsewhere, study_id, lambda n: range(1, n))
    assert [(trial.number, trial.state) for trial in found] == [(1, TrialState.RUNNING)]
    assert internals.has_ended(elsewhere, 0)
    assert not internals.has_ended(elsewhere, internals.trial_id_of(running))
    assert internals.find_last_made(storage) == (1, internals.trial_id_of(running))


class Watched(internals.OpenJournalStorage):
    def __init__(self, backend):
        self.written, self.n_looks, self.is_on = [], 0, True
        super().__init__(backend)

    def write_record(self, record):
        self.written.append(record)
        if self.is_on:
            super().write_record(record)

    def replay_new(self):
        self.n_looks += 1
        if self.is_on:
            super().replay_new()


def test_a_journal_asks_before_each_write_and_each_look(tmp_path):
    storage = Watched(JournalFileBackend(str(tmp_path / "study.journal")))
    study = make_study(storage)
    before, n_looks = storage.n_replayed, storage.n_looks
    trial = study.ask()
    assert storage.n_looks > n_looks
    assert storage.n_replayed > before
    assert storage.written[-1]["worker_id"] == storage.worker_id
    study.tell(trial, 1.0)
    operations = [record["op_code"] for record in storage.written]
    assert operations.count(internals.CREATE_TRIAL) == 1
    assert operations.count(internals.END_TRIAL) == 1


def test_records_that_were_kept_are_written_together(tmp_path):
    path = tmp_path / "study.journal"
    storage = Watched(JournalFileBackend(str(path)))
    study = make_study(storage)
    study_id, n_before = internals.study_id_of(study), storage.n_replayed
    assert storage.knows_study(study_id)
    assert not storage.knows_study(study_id + 1)
    storage.is_on, storage.written = False, []
    done = create_trial(value=1.0, params={"a": 1}, distributions={"a": IntDistribution(1, 3)})
    storage.create_new_trial(study_id, done)  # Optuna believes that it is written
    storage.create_new_trial(study_id, done)
    storage.is_on = True
    assert storage.n_replayed == n_before
    assert not storage.knows_trial(0)
    storage.append_records(storage.written)
    assert storage.n_replayed == n_before + 2
    assert storage.knows_trial(1)
    assert internals.find_last_made(storage) == (1, 1)
    assert JournalStorage(JournalFileBackend(str(path))).get_all_trials(study_id) == study.trials


def test_records_are_replayed_one_by_one(tmp_path):
    path = tmp_path / "study.journal"
    storage = Watched(JournalFileBackend(str(path)))
    storage.is_on = False
    study = make_study(JournalStorage(JournalFileBackend(str(path))))
    trial = study.ask()
    trial.suggest_int("a", 1, 3)
    study.tell(trial, 2.0)
    records = list(storage.list_new())
    storage.set_trial_system_attr(0, "mine", 1)
    assert storage.written[-1]["op_code"] == internals.SET_TRIAL_SYSTEM_ATTR
    assert storage.written[-1]["system_attr"] == {"mine": 1}
    for record in records:
        storage.replay_record(record)
    assert storage.n_replayed == len(records)
    assert storage.get_all_trials(internals.study_id_of(study))[0].params == trial.params


def test_the_dashboard_tells_the_figures_that_it_was_given():
    dashboard = pytest.importorskip("optuna_dashboard")
    graph_objects = pytest.importorskip("plotly.graph_objects")
    study = make_study()
    assert internals.read_dashboard_figures(internals.read_study_attrs(study)) == {}
    figure = graph_objects.Figure(graph_objects.Scatter(x=list(range(2000))))
    dashboard.save_plotly_graph_object(study, figure, graph_object_id="front")
    found = internals.read_dashboard_figures(internals.read_study_attrs(study))
    assert found == {"front": figure.to_json()}
