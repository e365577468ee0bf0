"""TensorBoard: event files, which ``tensorboard --logdir`` shows."""

from __future__ import annotations

from collections.abc import Mapping

from dpod_search.loggers.logger import Logger
from dpod_search.loggers.logger import import_extra


class TensorBoardLogger(Logger):
    """Writes scalars into an event file in its folder, a new one for each process."""

    def _load(self) -> None:
        self._library = import_extra("torch.utils.tensorboard", "tensorboard")

    def _begin(self) -> None:
        self._writer = self._library.SummaryWriter(str(self.folder))
        if self.settings:
            rows = (f"| {key} | {value} |" for key, value in self.settings.items())
            self._writer.add_text(
                self.name, "\n".join(("| setting | value |", "|---|---|", *rows))
            )

    def _put(self, stage: str, step: int, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)

    def _flush(self) -> None:
        self._writer.flush()

    def _end(self) -> None:
        self._writer.close()
