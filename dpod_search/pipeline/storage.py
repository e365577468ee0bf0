"""Where a run's study is kept: as it is told, or as the run folder remembers it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import make_url

from dpod_search.environment import STORAGE_VARIABLE
from dpod_search.errors import ConfigError
from dpod_search.records.storage import KeptStorage
from dpod_search.search.store import check_lasting
from dpod_search.search.store import check_url
from dpod_search.search.store import find_file
from dpod_search.search.store import hide_password
from dpod_search.search.store import is_url
from dpod_search.search.store import leave_out_secrets


_DRIVERS_VARIABLE = "PGPASSWORD"  # where PostgreSQL's own drivers look for a password


@dataclass(frozen=True)
class StudyStorage:
    """A storage of Optuna's.

    Args:
        url: Its URL or path; None is the journal in the run folder.
        spelling: How it was spelled when it was given first, its password hidden: what stages
            depend on, wherever they are run from.
    """

    url: str | None = None
    spelling: str | None = None


def find_storage(folder: Path, given: str | None, *, is_opened: bool = True) -> StudyStorage:
    """Return where the study of a run is kept.

    Args:
        folder: The run folder.
        given: URL or path of the storage; None is the one that the folder remembers.
        is_opened: Whether it will be opened. A password that is missing matters only then.

    Raises:
        ConfigError: If it was kept with a password that nothing tells now.
        CheckpointError: If what the folder remembers is damaged.
        RunFolderError: If there is a link in its place.
    """
    if given:
        return StudyStorage(given, hide_password(given))
    kept = KeptStorage.read_if_there(folder)
    if kept is None:
        return StudyStorage()
    if kept.has_secret:
        is_told = kept.url.startswith("postgres") and os.environ.get(_DRIVERS_VARIABLE)
        if is_told:
            return StudyStorage(leave_out_secrets(kept.url), kept.url)
        if is_opened:
            raise ConfigError(
                f"the study of {folder} is in {kept.url}, and its password is not kept; set "
                f"{STORAGE_VARIABLE} to the whole URL"
            )
        return StudyStorage(None, kept.url)
    return StudyStorage(_find_again(folder, kept), kept.url)


def keep_storage(folder: Path, storage: StudyStorage) -> bool:
    """Let a run folder remember where its study is, without a password.

    Args:
        folder: The run folder.
        storage: Where the study is; the journal in the folder is not written down.

    Returns:
        Whether there is anything to remember.
    """
    if storage.spelling is None:
        return False
    if storage.url is None:
        return True  # what was remembered stays
    has_secret = "***" in storage.spelling
    file = None if has_secret else find_file(storage.url)
    place = None
    if file is not None:
        whole, home = file.resolve(), folder.resolve()
        is_inside = whole.is_relative_to(home)
        place = whole.relative_to(home).as_posix() if is_inside else str(whole)
    KeptStorage(url=storage.spelling, has_secret=has_secret, file=place).write(folder)
    return True


def check_storage(storage: StudyStorage) -> None:
    """Check the spelling of a storage; errors as of ``check_url`` and ``check_lasting``."""
    if storage.url:
        check_url(storage.url)
        check_lasting(storage.url)


def _find_again(folder: Path, kept: KeptStorage) -> str:
    """Return a storage as it is reached from here: a relative path may have been another folder's."""
    if kept.file is None:
        return kept.url
    place = folder.resolve() / kept.file
    file = find_file(kept.url)
    if file is not None and file.resolve() == place:
        return kept.url
    if not is_url(kept.url):
        return str(place)
    return make_url(kept.url).set(database=str(place)).render_as_string(hide_password=False)
