"""What was exported: ``exported/manifest.json``."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import field
from types import MappingProxyType
from typing import Annotated
from typing import ClassVar

from pydantic.dataclasses import dataclass

from dpod_search.records.metrics import CLASSIFICATION
from dpod_search.records.metrics import TEST
from dpod_search.records.metrics import VALIDATION
from dpod_search.records.metrics import VALIDATION_BEFORE
from dpod_search.records.metrics import OnTest
from dpod_search.records.metrics import OnValidation
from dpod_search.records.metrics import OnValidationBefore
from dpod_search.records.metrics import Purpose
from dpod_search.records.metrics import check_metrics
from dpod_search.records.record import Count
from dpod_search.records.record import FileRecord
from dpod_search.records.record import Flag
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
        test: The task's metrics on test after loading it again, in the file as ``test_<name>``;
            nothing likewise.
    """

    AFFIXES: ClassVar[Mapping[str, tuple[str, str]]] = MappingProxyType({"test": TEST})

    path: Name
    sha256: Text
    bytes: Count
    max_difference: Number | None = None
    test: Annotated[Mapping[str, float], check_metrics(*TEST, may_lack=True)] = field(
        default_factory=dict
    )


@dataclass(frozen=True, kw_only=True)
class NamedInput(Record):
    """One of several inputs of a model.

    Args:
        name: That of the argument.
        shape: Of one sample.
        dtype: Of its numbers.
        is_keyword: Whether the model was given it by its name.
    """

    name: Text
    shape: tuple[Positive, ...]
    dtype: Text
    is_keyword: Flag


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
        dtype: Of the input.
        output: Shape of the outputs for one sample; None for a logit a class.
        inputs: All inputs, where there are several; ``shape`` and ``dtype`` are the first one's.
    """

    shape: tuple[Positive, ...]
    peak: Number | None
    mean: tuple[Number, ...] | None
    std: tuple[Number, ...] | None
    how: Text
    classes: tuple[Text, ...]
    dtype: Text = "float32"
    output: tuple[Positive, ...] | None = None
    inputs: tuple[NamedInput, ...] = ()

    @property
    def is_picture(self) -> bool:
        """Whether a sample has channels, height and width."""
        return len(self.shape) == 3 and self.dtype == "float32" and not self.inputs


@dataclass(frozen=True, kw_only=True)
class ExportedModel(Record):
    """One exported model.

    Args:
        trial: The number of its trial; None for a full net that was no trial.
        widths: Active width by channel group.
        sizes: Its footprints, which stand in the file under their own names.
        footprint: The same as one object.
        validation_before: The task's metrics on validation before finetuning, in the file as
            ``validation_<name>_before``.
        validation: After finetuning, as ``validation_<name>``.
        test: The same on test, as ``test_<name>``.
        files: Its files by format: those of ``export.formats``, ``python`` (``model.py``) where
            there is ``safetensors``, and ``card``.
        notes: What could not be written, and what else is to be known.
        max_difference: The largest of its exact files.
        input: What it takes.
        input_shape: Shape of one sample.
        classes: Names of the classes, in the order of the outputs.
    """

    SPREAD: ClassVar[str] = "sizes"
    AFFIXES: ClassVar[Mapping[str, tuple[str, str]]] = MappingProxyType(
        {"validation_before": VALIDATION_BEFORE, "validation": VALIDATION, "test": TEST}
    )

    trial: Count | None
    widths: Widths
    sizes: Footprint
    footprint: Footprint
    validation_before: OnValidationBefore
    validation: OnValidation
    test: OnTest
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
        task: What they are for.
    """

    FILE: ClassVar[str] = "manifest.json"

    study: Text
    data: Text
    versions: Mapping[str, Text]
    models: tuple[ExportedModel, ...]
    task: Purpose = CLASSIFICATION

    def of_search(self, trials: Sequence[Trial]) -> tuple[ExportedModel, ...]:
        """Return the models without those whose trial an earlier search made."""
        widths = {trial.number: trial.widths for trial in trials}
        return tuple(m for m in self.models if m.trial is None or widths.get(m.trial) == m.widths)

    def list_files(self) -> list[ExportedFile]:
        """List all files of all models."""
        return [file for model in self.models for file in model.files.values()]
