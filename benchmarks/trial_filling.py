"""Studies that hold thousands of trials already, made in seconds.

SQL storages take some twenty statements a trial through Optuna, ten thousand trials would take
minutes; here they are written as the search writes them, with just the rows that Optuna would have
written (a test run of this module compares them: ``python benchmarks/trial_filling.py``).
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import optuna
import sqlalchemy
from optuna.distributions import IntDistribution
from optuna.samplers import NSGAIISampler
from optuna.trial import FrozenTrial
from optuna.trial import create_trial

from dpod_search.rng import numpy_generator
from dpod_search.search import SearchTask
from dpod_search.search import open_storage
from dpod_search.search import open_study
from dpod_search.search.store.attributes import FATE
from dpod_search.search.store.attributes import WIDTHS
from dpod_search.search.store.database_table import open_table
from dpod_search.search.store.optuna_internals import GENERATION
from dpod_search.search.store.optuna_internals import find_database
from dpod_search.search.store.optuna_internals import storage_of
from dpod_search.search.store.space import make_distributions
from dpod_search.search.store.space import params_of
from dpod_search.widths import Widths


def make_trials(task: SearchTask, n: int, population_size: int) -> list[FrozenTrial]:
    """Make finished trials of random subnets, in generations, as a search leaves them."""
    rng = numpy_generator(0, "trial_filling")
    distributions: dict[str, IntDistribution] = make_distributions(task.space)
    trials = []
    for number in range(n):
        widths = task.space.sample(rng)
        trials.append(
            create_trial(
                params=params_of(widths, task.space),
                distributions=dict(distributions),
                values=measure(task, widths),
                user_attrs={FATE: "evaluated", WIDTHS: dict(widths)},
                system_attrs={GENERATION: number // population_size},
            )
        )
    return trials


def measure(task: SearchTask, widths: Widths) -> list[float]:
    """Return the objective values of a subnet."""
    found = {**task.measure_footprint(widths), **task.evaluate(widths)}
    return [float(found[objective.name]) for objective in task.objectives]


def fill_study(study: optuna.Study, trials: Sequence[FrozenTrial]) -> None:
    """Put trials into a study, after those that it has."""
    table = open_table(study)
    table.read()
    table.create(trials)
    database = find_database(storage_of(study))
    if database is not None:
        with database.engine.connect() as connection:
            # What a server does by itself after a while.
            connection.execute(sqlalchemy.text("ANALYZE"))
            connection.commit()


def main() -> None:
    """Compare the tables filled here with those that Optuna fills."""
    from sampler_task import make_task

    task = make_task()
    trials = make_trials(task, 30, 10)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for name in ("ours", "optuna"):
            storage = open_storage(f"sqlite:///{Path(folder) / name}.db")
            study = open_study("filled", storage, task.objectives, NSGAIISampler())
            study.add_trial(trials[0])
            if name == "ours":
                fill_study(study, trials)
            else:
                study.add_trials(trials)
            found.append(
                [
                    (t.number, t.state, t.values, t.params, t.user_attrs, t.system_attrs)
                    for t in study.get_trials()
                ]
            )
            study.tell(study.ask(), [0.0, 1.0])
            assert study.trials[-1].number == len(trials) + 1
    assert found[0] == found[1]


if __name__ == "__main__":
    main()
