"""How a subnet was finetuned: ``finetuned/<trial>/result.json``."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

from pydantic.dataclasses import dataclass

from dpod_search.files import hash_value
from dpod_search.records.metrics import ALONE
from dpod_search.records.metrics import BEFORE
from dpod_search.records.metrics import Metrics
from dpod_search.records.metrics import MetricsBefore
from dpod_search.records.record import Count
from dpod_search.records.record import FileRecord
from dpod_search.records.record import Number
from dpod_search.records.record import Text
from dpod_search.records.search import Widths
from dpod_search.records.training import TrainingStep


@dataclass(frozen=True, kw_only=True)
class Finetuned(FileRecord):
    """How a subnet was finetuned: ``result.json`` beside its weights, written by ``finetune``.

    Args:
        key: A hash of all that its weights depend on.
        trial: The number of its trial; None for a full net that constraints rule out.
        widths: Active width by channel group.
        before: The task's metrics on validation before finetuning, in the file as ``<name>_before``.
        after: After it, in the file under their own names.
        seconds: What it took.
        history: About 200 steps, evenly spread.
        sha256: A hash of the weights and of all above, by which damage is noticed before the
            stage has ended.
    """

    FILE: ClassVar[str] = "result.json"
    AFFIXES: ClassVar[Mapping[str, tuple[str, str]]] = MappingProxyType(
        {"before": BEFORE, "after": ALONE}
    )

    key: Text
    trial: Count | None
    widths: Widths
    before: MetricsBefore
    after: Metrics
    seconds: Number
    history: tuple[TrainingStep, ...]
    sha256: Text

    def hash_with(self, weights: str) -> str:
        """Return what ``sha256`` has to be, from the hash of the file of weights."""
        told = self.to_json()
        del told["sha256"]
        return hash_value([weights, told])
