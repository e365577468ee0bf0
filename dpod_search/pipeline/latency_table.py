"""The latency of a run's subnets: its table read or measured, its model fitted."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

import torch

from dpod_search.bounds import split_bounds
from dpod_search.config import StudyConfig
from dpod_search.errors import DataError
from dpod_search.errors import RunFolderError
from dpod_search.files import hash_file
from dpod_search.latency import LatencyModel
from dpod_search.latency import LatencyRequest
from dpod_search.latency import LatencySettings
from dpod_search.latency import LatencyTable
from dpod_search.latency import fit_latency
from dpod_search.latency import measure_request
from dpod_search.latency import read_table
from dpod_search.latency import take_fingerprint
from dpod_search.latency.model import NAME
from dpod_search.pipeline.folder import RunFolder
from dpod_search.progress import Progress
from dpod_search.records.latency import LatencyDevice
from dpod_search.records.latency import LatencyFit
from dpod_search.supernet import Supernet


TABLE = "latency_table.json"

_logger = logging.getLogger(__name__)


def is_asked(config: StudyConfig) -> bool:
    """Say whether a study asks for the modelled latency of its subnets."""
    is_budget = NAME in _list_bounded(config.finetune.budgets)
    return is_searched(config) or is_budget or config.latency.table is not None


def is_searched(config: StudyConfig) -> bool:
    """Say whether the trials of a study depend on the modelled latency."""
    search = config.search
    return NAME in {
        *search.objectives,
        *search.constraints,
        *_list_bounded(config.oneshot.budgets),
    }  # fmt: skip  (a list)


def _list_bounded(budgets: Iterable[str]) -> Iterable[str]:
    for budget in budgets:
        yield from split_bounds(budget)


def find_table(
    folder: RunFolder,
    request: LatencyRequest,
    supernet: Supernet,
    *,
    device: torch.device,
    progress: Progress,
    is_guest: bool,
) -> LatencyTable:
    """Return the table of a run folder, measured now if there is none.

    What it lacks is measured on this machine, but for guests, who only read.

    Args:
        folder: The run folder.
        request: What it is to hold.
        supernet: Whose layers and nets.
        device: Where they run.
        progress: Who is told.
        is_guest: The folder is another process's.

    Raises:
        DataError: If the table is damaged, or lacks something and was measured elsewhere.
        RunFolderError: If a guest finds none.
    """
    path = folder.path / TABLE
    known = _read_own(path) if path.is_file() else None
    if known is not None and not _is_as_set(known, request, device):
        _logger.info("latency: the table of the run folder is for other settings; measured anew")
        known = None
    if known is not None and request.is_held_by(known):
        return known
    if is_guest:
        raise RunFolderError(
            f"{path} is not there, or not what this study asks for; measure it with "
            "`dpod-search search` and the same --study and --out first"
        )
    with folder.noting("latency_table", TABLE):
        try:
            table = measure_request(
                request,
                supernet=supernet,
                device=device,
                known=known,
                progress=progress,
                keep=lambda table: table.write(path),
            )
        except DataError as error:
            raise DataError(f"{path}: {error}, or delete it to measure here") from error
        table.write(path)
    return table


def _read_own(path: Path) -> LatencyTable:
    try:
        return read_table(path)
    except DataError as error:
        raise DataError(f"{error}: delete the file, and the same command does that") from error


def _is_as_set(table: LatencyTable, request: LatencyRequest, device: torch.device) -> bool:
    settings, own = request.settings, table.device
    return (
        own.backend == settings.backend
        and own.batch_size == settings.batch_size
        and own.n_threads == settings.n_threads
        and own.device == device.type
        and table.space == request.space
    )


def fit_model(
    supernet: Supernet,
    path: Path,
    table: LatencyTable,
    settings: LatencySettings,
    *,
    device: torch.device,
    folder: RunFolder | None,
) -> LatencyModel:
    """Return the model of a run's subnets, and say how right it is.

    Args:
        supernet: The net.
        path: The table's file.
        table: What the model is fitted to.
        settings: How.
        device: Where the run works.
        folder: The run folder to say it in, if any.

    Raises:
        DataError: If the table is of another model, or the model is too wrong.
    """
    try:
        model = fit_latency(
            supernet, table, n_held_out=settings.n_held_out, max_error=settings.max_error
        )
    except DataError as error:
        fix = "" if settings.table else "; what is measured again has to be deleted before"
        raise DataError(f"{path}: {error}{fix}") from error
    difference = find_difference(table, device)
    if difference:
        _logger.warning("latency: the table is of another device (%s)", difference)
    _logger.info("latency: the model is %s", model.error.describe())
    if folder is not None:
        full = model.measure(supernet.space.full)
        told = LatencyFit(
            table=hash_file(path),
            device=LatencyDevice(**table.device.to_json()),
            is_other_device=bool(difference),
            difference=difference,
            full_ms=float(f"{full:.4g}"),
            **model.to_json(),
        )
        with folder.noting("latency", LatencyFit.FILE):
            told.write(folder.path)
    return model


def find_difference(table: LatencyTable, device: torch.device) -> str:
    """Say in what this machine differs from that of a table; empty if in nothing that counts."""
    other = table.device
    try:
        own = take_fingerprint(
            other.backend, device, n_threads=other.n_threads, batch_size=other.batch_size
        )
    except ValueError as error:  # the backend is not known or not installed here
        return str(error)
    return other.describe_difference(own)
