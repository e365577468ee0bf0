"""What was exported: ``exported/manifest.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dpod_search.records.fields import Fields
from dpod_search.records.trials import Trial


@dataclass(frozen=True)
class ExportedFile:
    """One file of an exported model.

    Args:
        kind: Its format.
        path: From the run folder.
        sha256: Its hash.
        n_bytes: Its size.
        max_difference: The largest difference of outputs seen after loading it again, or None.
        test_accuracy: Accuracy on test after loading it again, in [0, 1], or None.
    """

    kind: str
    path: str
    sha256: str
    n_bytes: int
    max_difference: float | None = None
    test_accuracy: float | None = None


@dataclass(frozen=True)
class ExportedModel:
    """One exported model; ``trial`` is None for a full net that was no trial."""

    trial: int | None
    files: tuple[ExportedFile, ...]


def read_manifest(path: Path, trials: tuple[Trial, ...]) -> tuple[ExportedModel, ...]:
    """Read which models were exported; those of an earlier search's trials are left out.

    Args:
        path: ``exported/manifest.json``.
        trials: The trials of the search.

    Raises:
        CheckpointError: If the file is damaged.
    """
    by_number = {trial.number: trial.widths for trial in trials}
    return tuple(
        ExportedModel(
            trial=inner.optional_integer("trial"),
            files=_read_files(inner.inner("files"), inner.optional_number("max_difference")),
        )
        for inner in Fields.from_file(path).inners("models")
        if not _is_stale(inner, by_number)
    )


def _is_stale(model: Fields, by_number: Mapping[int, Mapping[str, int]]) -> bool:
    number = model.optional_integer("trial")
    if number is None or "widths" not in model.values:
        return False
    return by_number.get(number) != model.inner("widths").values


def _read_files(fields: Fields, difference: float | None) -> tuple[ExportedFile, ...]:
    files = {kind: fields.inner(kind) for kind in fields.values}
    own = {kind: file.optional_number("max_difference") for kind, file in files.items()}
    # Older versions knew one difference for all files of a model. Where files have their own, one
    # without it, such as a card, was never loaded again.
    is_shared = all(value is None for value in own.values())
    return tuple(
        ExportedFile(
            kind=kind,
            path=file.text("path"),
            sha256=file.text("sha256"),
            n_bytes=file.integer("bytes"),
            max_difference=difference if is_shared else own[kind],
            test_accuracy=file.optional_number("test_accuracy"),
        )
        for kind, file in files.items()
    )
