"""Which study and which run folder a command is about, of what was given of the two."""

from __future__ import annotations

import shlex
from pathlib import Path

from dpod_search.errors import ConfigError
from dpod_search.errors import RunFolderError
from dpod_search.escaping import spell_name
from dpod_search.shipped import list_studies


CONFIG = "config.toml"  # the study of a run folder, as the pipeline writes it


def find_folder(run: Path | None, out: Path | None) -> Path | None:
    """Return the run folder that was named, or None; ``--out`` says where, if both are given."""
    return out if out is not None else run


def find_study_of(study: str | None, run: Path | None, out: Path | None) -> str:
    """Return the study that a command is about: the one that was named, or that of a folder.

    Args:
        study: A study file or the name of a shipped study, if one was given.
        run: The folder of a run that was begun, if one was given.
        out: The run folder, if one was given.

    Returns:
        What :func:`dpod_search.config.load_study` reads.

    Raises:
        ConfigError: If neither a study nor a folder was given.
        RunFolderError: If the folder has no study.
        CheckpointError: If a file of the run was changed since it was written.
    """
    folder = run if run is not None else out
    if run is not None:
        _check_held(run)
    if study is not None:
        return study
    if folder is None:
        begun = _list_runs(Path("runs"))
        such = f", --run {shlex.quote(str(begun[0]))} for instance" if begun else ""
        raise ConfigError(
            "nothing says which study; give --study (`dpod-search studies` lists those that ship), "
            f"or --run with the folder of a run that was begun{such}"
        )
    _check_held(folder)
    from dpod_search.records.markers import check_run

    check_run(folder)
    return str(folder / CONFIG)


def complete_study(incomplete: str) -> list[str]:
    """Return what a study may be called that begins so: shipped ones, and files here."""
    names = [name for name, _, _ in list_studies()]
    folder, _, begin = incomplete.rpartition("/")
    place = Path(folder) if folder else Path()
    if place.is_dir():
        files = [path for path in place.iterdir() if path.name.startswith(begin)]
        names += [
            f"{path}/" if path.is_dir() else str(path)
            for path in sorted(files)
            if path.suffix == ".toml" or (path.is_dir() and not path.name.startswith("."))
        ]
    return [name for name in names if name.startswith(incomplete)]


def _check_held(folder: Path) -> None:
    if (folder / CONFIG).is_file():
        return
    shown = spell_name(str(folder))
    if folder.is_file():
        raise RunFolderError(
            f"{shown} is a file, not a run folder; give a folder such as runs/digits, and a study "
            "file with --study"
        )
    runs = _list_runs(folder)
    if runs:
        raise RunFolderError(
            f"{shown} holds {len(runs)} runs; give one of them: --run {shlex.quote(str(runs[0]))}"
        )
    raise RunFolderError(
        f"{shown} holds no run; begin one with `dpod-search run --study <study> --out "
        f"{shlex.quote(shown)}`"
    )


def _list_runs(folder: Path) -> list[Path]:
    return [path.parent for path in sorted(folder.glob(f"*/{CONFIG}"))]
