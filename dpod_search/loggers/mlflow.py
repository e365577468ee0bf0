"""MLflow: a SQLite file, which ``mlflow ui --backend-store-uri sqlite:///…/mlflow.db`` shows."""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import contextmanager
from typing import Any

from dpod_search.loggers.logger import Logger
from dpod_search.loggers.logger import import_extra


_MOST = 500  # figures of a transaction; the library takes 1,000,
_MOST_PARAMS = 100  # and so many settings
_NOISY = ("mlflow", "alembic")


class MlflowLogger(Logger):
    """Writes a run into ``mlflow.db`` in its folder; a run of this name there is gone on with."""

    def _load(self) -> None:
        # It tells its makers of each use, unless it is asked not to before it is imported.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        with _quietly():
            self._library = import_extra("mlflow", "mlflow")
            self._entities = import_extra("mlflow.entities", "mlflow")

    def _begin(self) -> None:
        self._held: list[Any] = []
        folder = self.folder.absolute()
        with _quietly():
            self._client = self._library.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
            experiment = self._client.get_experiment_by_name(self.name)
            if experiment is None:
                place = (folder / "artifacts").as_uri()
                number = self._client.create_experiment(self.name, artifact_location=place)
            else:
                number = experiment.experiment_id
            earlier = self._client.search_runs([number], max_results=1)
            if earlier:
                self._run = earlier[0].info.run_id
                self._client.update_run(self._run, status="RUNNING")
                return
            self._run = self._client.create_run(number, run_name=self.name).info.run_id
            told = [self._entities.Param(key, value) for key, value in self.settings.items()]
            for start in range(0, len(told), _MOST_PARAMS):
                self._client.log_batch(self._run, params=told[start : start + _MOST_PARAMS])

    def _put(self, stage: str, step: int, figures: Mapping[str, float]) -> None:
        now = time.time_ns() // 1_000_000
        metric = self._entities.Metric
        self._held += [metric(name, value, now, step) for name, value in figures.items()]
        if len(self._held) >= _MOST:
            self._flush()

    def _flush(self) -> None:
        held, self._held = self._held, []
        for start in range(0, len(held), _MOST):
            self._client.log_batch(self._run, metrics=held[start : start + _MOST])

    def _end(self) -> None:
        self._flush()
        self._client.set_terminated(self._run)


@contextmanager
def _quietly() -> Iterator[None]:
    """Silence inside the block what tells of each table that is made, and warns of its own parts."""
    loggers = [logging.getLogger(name) for name in _NOISY]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
