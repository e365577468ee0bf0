"""What was exported: ``exported/manifest.json``."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from typing import ClassVar

from pydantic.dataclasses import dataclass

from dpod_search.records.record import Count
from dpod_search.records.record import FileRecord
from dpod_search.records.record import Name
from dpod_search.records.record import Number
from dpod_search.records.record import Positive
from dpod_search.records.record import Record
from dpod_search.records.record import Text
from dpod_search.records.search import Footprint
from dpod_search.records.search import Widths
from dpod_search.records.trials import Trial


FOLDER = "exported"


@dataclass(frozen=True, kw_only=True)
class ExportedFile(Record):
    """One file of an exported model.

    Args:
        path: From the run folder.
        sha256: Its hash.
        bytes: Its size.
        max_difference: The largest difference of outputs seen after loading it again, relative to
            the largest output; None for a file that is not loaded, such as a card.
        test_accuracy: Accuracy on test after loading it again, in [0, 1]; None likewise.
    """

    path: Name
    sha256: Text
    bytes: Count
    max_difference: Number | None = None
    test_accuracy: Number | None = None


@dataclass(frozen=True, kw_only=True)
class ModelInput(Record):
    """What an exported model takes; the normalisation is None where the data do not say it.

    Args:
        shape: Of one sample.
        peak: Of a pixel.
        mean: By channel, of a pixel over the peak.
        std: By channel likewise; the input is ``(pixel / peak - mean) / std``.
        how: The same in words.
        classes: Names of the classes, in the order of the outputs.
    """

    shape: tuple[Positive, ...]
    peak: Number | None
    mean: tuple[Number, ...] | None
    std: tuple[Number, ...] | None
    how: Text
    classes: tuple[Text, ...]


@dataclass(frozen=True, kw_only=True)
class ExportedModel(Record):
    """One exported model; accuracies in [0, 1].

    Args:
        trial: The number of its trial; None for a full net that was no trial.
        widths: Active width by channel group.
        sizes: Its footprints, which stand in the file under their own names.
        footprint: The same as one object.
        validation_accuracy_before: Accuracy on validation before finetuning.
        validation_accuracy: After finetuning.
        test_accuracy: The same on test.
        files: Its files by format: those of ``export.formats``, ``python`` (``model.py``) where
            there is ``safetensors``, and ``card``.
        notes: What could not be written, and what else is to be known.
        max_difference: The largest of its exact files.
        input: What it takes.
        input_shape: Shape of one sample.
        classes: Names of the classes, in the order of the outputs.
    """

    SPREAD: ClassVar[str] = "sizes"

    trial: Count | None
    widths: Widths
    sizes: Footprint
    footprint: Footprint
    validation_accuracy_before: Number
    validation_accuracy: Number
    test_accuracy: Number
    files: Mapping[str, ExportedFile]
    notes: tuple[Text, ...]
    max_difference: Number
    input: ModelInput
    input_shape: tuple[Positive, ...]
    classes: tuple[Text, ...]


@dataclass(frozen=True, kw_only=True)
class Manifest(FileRecord):
    """What was exported: ``exported/manifest.json``, written by ``export``.

    Args:
        study: Name of the study.
        data: Fingerprint of the pictures.
        versions: Of the packages that results depend on.
        models: The models, as the front has them.
    """

    FILE: ClassVar[str] = "manifest.json"

    study: Text
    data: Text
    versions: Mapping[str, Text]
    models: tuple[ExportedModel, ...]

    def of_search(self, trials: Sequence[Trial]) -> tuple[ExportedModel, ...]:
        """Return the models without those whose trial an earlier search made."""
        widths = {trial.number: trial.widths for trial in trials}
        return tuple(m for m in self.models if m.trial is None or widths.get(m.trial) == m.widths)

    def list_files(self) -> list[ExportedFile]:
        """List all files of all models."""
        return [file for model in self.models for file in model.files.values()]
