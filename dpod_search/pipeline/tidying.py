"""What a kill leaves half written in a run folder: deleted, or completed where it is whole."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from dpod_search.files import finish_folder
from dpod_search.files import remove_leftovers


# Where files are written aside, and which: a clean-up looks at nothing else. What the dashboard
# puts into `artifacts` is left alone, for it takes no lock.
_WRITTEN = {
    "": ("config.toml", ".owner", "*.json", "*.safetensors", "trials.csv", "report.html"),
    ".stages": ("*.json",),
    "finetuned": (".*.checkpoint.safetensors",),
    "exported": ("manifest.json",),
    "exported/*": ("model.*", "README.md"),
    "figures": ("*.csv", "*.png"),
}
_SUBNET_ASIDE = re.compile(r"\.(\d+|full)\.(part|old)")  # by `whole_folder`


def tidy_up(run: Path) -> None:
    """Delete what killed processes left half written, and complete what only lacks its name.

    Args:
        run: A run folder that is known to be one, and in which nobody else works.
    """
    for place, names in _WRITTEN.items():
        for folder in run.glob(place) if place else [run]:
            inside = (folder, *folder.parents)[: len(Path(place).parts)]
            if folder.is_dir() and not any(path.is_symlink() for path in inside):
                remove_leftovers(folder, names)
                if place == "finetuned":
                    _finish_subnets(folder)


def _finish_subnets(finetuned: Path) -> None:
    found = {m[1] for path in finetuned.iterdir() if (m := _SUBNET_ASIDE.fullmatch(path.name))}
    for name in sorted(found):
        with suppress(OSError):  # finetuning meets it again, and says so
            finish_folder(finetuned / name)
