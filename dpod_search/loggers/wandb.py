"""Weights & Biases, offline: a folder that ``wandb sync`` sends where its user wants it."""

from __future__ import annotations

from collections.abc import Mapping

from dpod_search.loggers.logger import Logger
from dpod_search.loggers.logger import import_extra


class WandbLogger(Logger):
    """Writes an offline run into its folder, a new one of the same group for each process.

    Nothing is sent anywhere. Each stage has a step of its own, ``<stage>/step``.
    """

    def _load(self) -> None:
        self._library = import_extra("wandb", "wandb")

    def _begin(self) -> None:
        wandb = self._library
        self._stages: set[str] = set()
        self._run = wandb.init(
            project="dpod-search",
            group=self.name,
            name=self.name,
            dir=str(self.folder),
            mode="offline",
            config=self.settings,
            reinit="create_new",  # whatever else the process logs is left alone
            settings=wandb.Settings(
                silent=True,
                console="off",
                disable_git=True,
                save_code=False,
                symlink=False,  # no link lies in a run folder
                x_disable_stats=True,
            ),
        )

    def _put(self, stage: str, step: int, figures: Mapping[str, float]) -> None:
        if stage == "stages":
            self._run.summary.update(dict(figures))
            return
        axis = f"{stage}/step"
        if stage not in self._stages:
            self._stages.add(stage)
            self._run.define_metric(axis, hidden=True)
            for name in figures:
                self._run.define_metric(name, step_metric=axis)
        self._run.log({**figures, axis: step})

    def _flush(self) -> None:
        """Nothing is held back here."""

    def _end(self) -> None:
        self._run.finish()
