"""The latency of a run's subnets: its table read or measured, its model fitted."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from dpod_search.bounds import split_bounds
from dpod_search.config import StudyConfig
from dpod_search.errors import DataError
from dpod_search.errors import RunFolderError
from dpod_search.files import expand_path
from dpod_search.files import hash_file
from dpod_search.files import hash_value
from dpod_search.files import write_json
from dpod_search.latency import LatencyModel
from dpod_search.latency import LatencyRequest
from dpod_search.latency import LatencyTable
from dpod_search.latency import fit_latency
from dpod_search.latency import make_request
from dpod_search.latency import measure_request
from dpod_search.latency import read_table
from dpod_search.latency import take_fingerprint
from dpod_search.latency.footprint import NAME
from dpod_search.latency.layers import hash_model


if TYPE_CHECKING:
    from dpod_search.pipeline.session import Session


TABLE = "latency_table.json"
SUMMARY = "latency.json"

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


def find_table(session: Session) -> tuple[Path, LatencyTable]:
    """Return the table of a run, measured now if there is none.

    One that the study names comes first, then that of the run folder. What the latter lacks is
    measured on this machine, but for guests, who only read.

    Raises:
        DataError: If a table is damaged, or the run folder's lacks something and was measured
            elsewhere.
        RunFolderError: If a guest finds none.
    """
    settings = session.config.latency
    if settings.table is not None:
        path = expand_path(settings.table)
        return path, read_table(path)
    path = session.path / TABLE
    known = _read_own(path) if path.is_file() else None
    if known is not None and not _is_as_set(session, known):
        _logger.info("latency: the table of the run folder is for other settings; measured anew")
        known = None
    request = make_request(session.blank_supernet, settings, seed=session.seed)
    if known is None or not request.is_held_by(known):
        if session.is_guest:
            raise RunFolderError(
                f"{path} is not there, or not what this study asks for; measure it with "
                "`dpod-search search` and the same --study and --out first"
            )
        known = _measure(session, request, known, path)
    return path, known


def _read_own(path: Path) -> LatencyTable:
    try:
        return read_table(path)
    except DataError as error:
        raise DataError(f"{error}: delete the file, and the same command does that") from error


def _measure(
    session: Session, request: LatencyRequest, known: LatencyTable | None, path: Path
) -> LatencyTable:
    try:
        table = measure_request(
            request,
            supernet=session.blank_supernet,
            device=session.device,
            known=known,
            progress=session.progress,
            keep=lambda table: table.write(path),
        )
    except DataError as error:
        raise DataError(f"{path}: {error}, or delete it to measure here") from error
    table.write(path)
    return table


def _is_as_set(session: Session, table: LatencyTable) -> bool:
    settings, device = session.config.latency, table.device
    return (
        device.backend == settings.backend
        and device.batch_size == settings.batch_size
        and device.n_threads == settings.n_threads
        and device.device == session.device.type
        and table.space == hash_model(session.blank_supernet)
    )


def fit_model(session: Session) -> LatencyModel:
    """Return the model of a run's subnets, and say in its folder how right it is.

    Raises:
        DataError: If the table is damaged or of another model, or the model is too wrong.
    """
    settings = session.config.latency
    path, table = session.latency_table
    try:
        model = fit_latency(
            session.blank_supernet,
            table,
            n_held_out=settings.n_held_out,
            max_error=settings.max_error,
        )
    except DataError as error:
        fix = "" if settings.table else "; what is measured again has to be deleted before"
        raise DataError(f"{path}: {error}{fix}") from error
    difference = find_difference(session, table)
    if difference:
        _logger.warning("latency: the table is of another device (%s)", difference)
    _logger.info("latency: the model is %s", model.error.describe())
    if session.path.is_dir() and not session.is_guest:
        full = model.measure(session.blank_supernet.space.full)
        summary = {
            "table": hash_file(path),
            "device": table.device.to_json(),
            "is_other_device": bool(difference),
            "difference": difference,
            "full_ms": float(f"{full:.4g}"),
            **model.to_json(),
        }
        write_json(session.path / SUMMARY, summary)
    return model


def find_difference(session: Session, table: LatencyTable) -> str:
    """Say in what this machine differs from that of a table; empty if in nothing that counts."""
    device = table.device
    try:
        own = take_fingerprint(
            device.backend,
            session.device,
            n_threads=device.n_threads,
            batch_size=device.batch_size,
        )
    except ValueError as error:  # the backend is not known or not installed here
        return str(error)
    return device.describe_difference(own)


def describe_inputs(session: Session) -> dict[str, str]:
    """Return what modelled latencies depend on; nothing if none are asked for."""
    if not is_asked(session.config):
        return {}
    path, _ = session.latency_table
    # Of one table other nets may be held out, and what is left fitted to.
    return {"latency": hash_value([hash_file(path), session.config.latency.n_held_out])}
