"""Studies that hold thousands of trials already, made in seconds.

SQL storages take some twenty statements a trial through Optuna, ten thousand trials would take
minutes; here their tables are filled at once, with just the rows that Optuna would have written
(a test run of this module compares them: ``python benchmarks/trial_filling.py``).
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from datetime import UTC
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.distributions import IntDistribution
from optuna.distributions import distribution_to_json
from optuna.samplers import NSGAIISampler
from optuna.storages._cached_storage import _CachedStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial
from optuna.trial import TrialState
from optuna.trial import create_trial

from dpod_search.rng import numpy_generator
from dpod_search.search import SearchTask
from dpod_search.search import open_storage
from dpod_search.search import open_study
from dpod_search.search.store.attributes import FATE
from dpod_search.search.store.attributes import WIDTHS
from dpod_search.search.store.space import make_distributions
from dpod_search.search.store.space import params_of
from dpod_search.widths import Widths


GENERATION = NSGAIISampler._GENERATION_KEY


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
    storage = study._storage
    if isinstance(storage, _CachedStorage):
        _fill_tables(storage._backend.engine, study._study_id, trials)
    else:
        study.add_trials(trials)


def _fill_tables(engine: sqlalchemy.Engine, study_id: int, trials: Sequence[FrozenTrial]) -> None:
    with engine.begin() as connection:
        last = connection.execute(sqlalchemy.func.max(models.TrialModel.trial_id).select())
        first_id = (last.scalar() or 0) + 1
        mine = models.TrialModel.study_id == study_id
        n_there = connection.execute(
            sqlalchemy.select(sqlalchemy.func.count()).where(mine)
        ).scalar_one()
        for table, rows in _list_rows(study_id, first_id, n_there, trials).items():
            if rows:
                connection.execute(sqlalchemy.insert(table.__table__), rows)
        if engine.dialect.name == "postgresql" and trials:
            # The numbers were given by hand, so the sequence has to be told.
            text = "SELECT setval(pg_get_serial_sequence('trials', 'trial_id'), :last)"
            connection.execute(sqlalchemy.text(text), {"last": first_id + len(trials) - 1})
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        # What the server does by itself after a while.
        connection.execute(sqlalchemy.text("ANALYZE"))


def _list_rows(
    study_id: int, first_id: int, n_there: int, trials: Sequence[FrozenTrial]
) -> dict[Any, list[dict[str, Any]]]:
    now = datetime.now(UTC).replace(tzinfo=None)
    kind = models.TrialValueModel.TrialValueType.FINITE
    rows: dict[Any, list[dict[str, Any]]] = {
        models.TrialModel: [],
        models.TrialValueModel: [],
        models.TrialParamModel: [],
        models.TrialUserAttributeModel: [],
        models.TrialSystemAttributeModel: [],
    }
    for i, trial in enumerate(trials):
        place = {"trial_id": first_id + i}
        rows[models.TrialModel].append(
            {
                **place,
                "number": n_there + i,
                "study_id": study_id,
                "state": TrialState.COMPLETE,
                "datetime_start": now,
                "datetime_complete": now,
            }
        )
        rows[models.TrialValueModel] += [
            {**place, "objective": objective, "value": value, "value_type": kind}
            for objective, value in enumerate(trial.values)
        ]
        rows[models.TrialParamModel] += [
            {
                **place,
                "param_name": name,
                "param_value": trial.distributions[name].to_internal_repr(value),
                "distribution_json": distribution_to_json(trial.distributions[name]),
            }
            for name, value in trial.params.items()
        ]
        for model, attributes in (
            (models.TrialUserAttributeModel, trial.user_attrs),
            (models.TrialSystemAttributeModel, trial.system_attrs),
        ):
            rows[model] += [
                {**place, "key": key, "value_json": json.dumps(value)}
                for key, value in attributes.items()
            ]
    return rows


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
