"""Every file of a run folder: who writes it, and whether it is still what they wrote.

A stage ends with a marker, ``.stages/<stage>.json``, that holds the hashes of its files; what is
written at other times has a marker of its own. Whoever writes a file deletes its marker before,
so that a kill leaves a file that nothing is known of, and none that seems changed.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path

from pydantic import TypeAdapter
from pydantic import ValidationError
from pydantic.dataclasses import dataclass

from dpod_search.errors import CheckpointError
from dpod_search.files import hash_file
from dpod_search.files import read_json
from dpod_search.files import write_json
from dpod_search.records.front import FULL
from dpod_search.records.record import Name
from dpod_search.records.record import Record
from dpod_search.records.record import Text
from dpod_search.records.record import locate


MARKERS = ".stages"
_MAX_BYTES = 2**24  # of a marker; of a thousand subnets it has a hundredth

# Every file, and the marker that knows it; an empty one for what holds its own hash, or tells
# nothing. `#` is the folder of a subnet: the number of its trial, or `full`.
FILES: Mapping[str, str] = {
    "config.toml": "run",
    "environment.json": "run",
    "storage.json": "run",
    "log.jsonl": "",
    ".lock": "",
    ".owner": "",
    f"{MARKERS}/*.json": "",
    "training.checkpoint.safetensors": "",
    "supernet.safetensors": "train",
    "training.json": "train",
    "path.json": "train",
    "study.journal": "",
    "study.journal.lock": "",
    "study.journal.locks/*": "",
    "latency_table.json": "latency_table",
    "latency.json": "latency",
    "importance.json": "importance",
    "seeds.json": "seeds",
    "oneshot.json": "search",
    "shrink.json": "shrink",
    "search.json": "search",
    "trials.csv": "search",
    "finetuned/.*.checkpoint.safetensors": "",
    "finetuned/#/model.safetensors": "finetune",
    "finetuned/#/result.json": "finetune",
    "front.json": "finetune",
    "exported/#/model.*": "export",
    "exported/#/README.md": "export",
    "exported/manifest.json": "export",
    "artifacts/*": "",
    "logs/*": "",
    "figures/*.csv": "report",
    "figures/*.png": "",
    "report.html": "report",
}

# What every command sees to. Weights and pages are seen to by whoever reads them; what is measured
# and chosen before a search is made again if it is not what it was.
_SEEN_TO = tuple(
    name
    for name, marker in FILES.items()
    if marker not in ("", "importance", "seeds")
    and "#" not in name
    and name.endswith((".json", ".toml", "trials.csv"))
)


@dataclass(frozen=True, kw_only=True)
class Marker(Record):
    """What a stage, or whoever else writes files, has left.

    Args:
        stage: The command that wrote the files.
        inputs: The hash of all that they depend on.
        outputs: The hash of each of them, by its name in the run folder.
    """

    stage: Text
    inputs: Text
    outputs: Mapping[Name, Text]

    def check(self, run: Path, name: str, compute: Callable[[Path], str] = hash_file) -> None:
        """Check a file, if it is there and known here; arguments as of :func:`check_file`."""
        file, digest = locate(run, name), self.outputs.get(name)
        if digest is not None and file.is_file() and compute(file) != digest:
            raise CheckpointError(
                f"{file} is damaged or was changed since `{self.stage}` wrote it; "
                "put it back, or delete it to have it made again"
            )


def find_marker(run: Path, name: str) -> Path:
    """Return where a marker lies, whether or not it is there.

    Raises:
        RunFolderError: If there is a link in its place.
    """
    return locate(run, f"{MARKERS}/{name}.json")


def read_marker(run: Path, name: str) -> Marker | None:
    """Read a marker, or return None if there is none.

    Raises:
        CheckpointError: If it is damaged.
        RunFolderError: If there is a link in its place.
    """
    path = find_marker(run, name)
    if not path.exists():
        return None
    try:
        marker: Marker = TypeAdapter(Marker).validate_python(read_json(path, _MAX_BYTES))
    except ValidationError as error:
        raise CheckpointError(
            f"{path} is damaged; delete it and run the same command again"
        ) from error
    return marker


def write_marker(run: Path, name: str, marker: Marker) -> None:
    """Write a marker; errors as of :func:`read_marker`, and if it cannot be written."""
    write_json(find_marker(run, name), marker.to_json())


def forget_marker(run: Path, name: str) -> None:
    """Delete a marker, if it is there, before its files are written again."""
    find_marker(run, name).unlink(missing_ok=True)


def check_run(run: Path) -> None:
    """Check that no file of a run is a link, and that those which tell of it are as written.

    Raises:
        CheckpointError: If a file was changed, or is of another run.
        RunFolderError: If there is a link in the place of a file or a folder.
    """
    check_links(run)
    for name in _SEEN_TO:
        check_file(run, name, FILES[name])


def check_links(run: Path) -> None:
    """Check that nothing in the place of a file or a folder of a run is a link.

    The run folder may be one, and so may what others have put beside a run's own files.

    Raises:
        RunFolderError: If something is.
    """
    for pattern in FILES:
        for name in list_places(run, pattern):
            locate(run, name)


def check_file(
    run: Path, name: str, marker: str, compute: Callable[[Path], str] = hash_file
) -> None:
    """Check that a file is as its marker says, if both are there.

    Args:
        run: The run folder.
        name: The file's name in it, with slashes.
        marker: The marker's name.
        compute: Hashes a file.

    Raises:
        CheckpointError: If it is not, or its marker is damaged.
        RunFolderError: If there is a link in its place.
    """
    while (kept := read_marker(run, marker)) is not None:
        try:
            kept.check(run, name, compute)
        except CheckpointError:
            # Who writes it in this moment has deleted the marker before.
            if read_marker(run, marker) == kept:
                raise
        else:
            return


def list_places(run: Path, pattern: str, inside: str = "") -> Iterator[str]:
    """Yield the names of a pattern of :data:`FILES`, and of the links on the way to them.

    Args:
        run: The run folder.
        pattern: Names with slashes between them. Where it has none to choose, the file need not
            be there.
        inside: The folder that the pattern begins in; empty is the run folder.
    """
    head, _, rest = pattern.partition("/")
    names = [head]
    if head == "#" or "*" in head:
        there = sorted((run / inside).iterdir()) if (run / inside).is_dir() else []
        names = [path.name for path in there if _is_of(path.name, head)]
    for name in names:
        found = f"{inside}/{name}".lstrip("/")
        if rest and not (run / found).is_symlink():
            yield from list_places(run, rest, found)
        else:
            yield found


def _is_of(name: str, pattern: str) -> bool:
    if pattern == "#":
        return name == FULL or name.isdecimal()
    return fnmatchcase(name, pattern)
