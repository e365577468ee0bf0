"""The two ways out where a folder holds another study: to go on as it was, or to begin anew."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dpod_search.config import StudyConfig
from dpod_search.config import diff
from dpod_search.config import load_study
from dpod_search.errors import DpodSearchError
from dpod_search.errors import RunFolderError
from dpod_search.search.identity import OtherStudyError


def tell_ways(folder: Path, restore: str | None = None, *, renamed: str | None = None) -> str:
    """Say how to go on in a run folder, and how to begin another one.

    Args:
        folder: The run folder.
        restore: What to do to go on as it was; a command with the folder's own settings by default.
        renamed: A name for the study in the new folder, where a storage holds the old name.
    """
    go_on = restore or f"to go on as it was: `dpod-search run --run {shlex.quote(str(folder))}`"
    name = f" --set name={shlex.quote(renamed)}" if renamed else ""
    fresh = shlex.quote(str(find_fresh(folder)))
    return f"{go_on}; to begin anew: the same command with `--out {fresh}{name}`"


def find_fresh(folder: Path) -> Path:
    """Return a folder beside a run folder that is not there yet: the name with a number."""
    number = 2
    while (found := folder.parent / f"{folder.resolve().name}-{number}").exists():
        number += 1
    return found


@contextmanager
def telling_ways(folder: Path, config: StudyConfig, storage: str | None) -> Iterator[None]:
    """Tell both ways of a run whose search was begun otherwise, inside the block.

    Args:
        folder: The run folder.
        config: The study that was asked for.
        storage: Where the study is kept; None is the journal in the run folder.
    """
    try:
        yield
    except OtherStudyError as error:
        # With the folder's own settings it is the same again, unless they are what differs.
        restore = None if _has_other_settings(folder, config) else error.restore
        renamed = find_fresh(Path(config.name)).name if storage else None
        raise RunFolderError(f"{error.told}; {tell_ways(folder, restore, renamed=renamed)}") from (
            error
        )


def _has_other_settings(folder: Path, config: StudyConfig) -> bool:
    try:
        return bool(diff(load_study(folder / "config.toml"), config))
    except DpodSearchError:
        return False
