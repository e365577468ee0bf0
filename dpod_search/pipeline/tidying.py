"""What a kill leaves half written in a run folder: deleted, or completed where it is whole."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from dpod_search.files import finish_folder
from dpod_search.files import remove_leftovers
from dpod_search.records.markers import FILES
from dpod_search.records.markers import list_places


# Subnets are written whole. What the dashboard and loggers write is left alone: the one takes no
# lock, and the others are no code of ours.
_LEFT_ALONE = ("finetuned/#", "artifacts", "logs")
_SUBNET_ASIDE = re.compile(r"\.(\d+|full)\.(part|old)")  # by `whole_folder`


def tidy_up(run: Path) -> None:
    """Delete what killed processes left half written, and complete what only lacks its name.

    Args:
        run: A run folder that is known to be one, and in which nobody else works.
    """
    written: dict[str, list[str]] = {}
    for pattern in FILES:
        place, _, name = pattern.rpartition("/")
        written.setdefault(place, []).append(name)
    for place in written.keys() - {*_LEFT_ALONE}:
        for folder in (run / name for name in list_places(run, place)):
            if folder.is_dir():
                remove_leftovers(folder, written[place])
    if (run / "finetuned").is_dir():
        _finish_subnets(run / "finetuned")


def _finish_subnets(finetuned: Path) -> None:
    found = {m[1] for path in finetuned.iterdir() if (m := _SUBNET_ASIDE.fullmatch(path.name))}
    for name in sorted(found):
        with suppress(OSError):  # finetuning meets it again, and says so
            finish_folder(finetuned / name)
