"""The run folder: one process at a time, one study for ever, and a marker for each ended stage."""

from __future__ import annotations

import os
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import contextmanager
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any
from typing import Self

from filelock import FileLock
from filelock import Timeout

from dpod_search.config import StudyConfig
from dpod_search.config import diff
from dpod_search.config import dump_toml
from dpod_search.config import load_study
from dpod_search.errors import RunFolderError
from dpod_search.escaping import spell_name
from dpod_search.files import hash_file
from dpod_search.files import hash_value
from dpod_search.files import write_text
from dpod_search.pipeline.looking import LOCK
from dpod_search.pipeline.looking import OWNER
from dpod_search.pipeline.looking import check_marks
from dpod_search.pipeline.looking import looking_into
from dpod_search.pipeline.tidying import tidy_up
from dpod_search.pipeline.ways import tell_ways
from dpod_search.records.markers import MARKERS
from dpod_search.records.markers import Marker
from dpod_search.records.markers import check_file
from dpod_search.records.markers import check_links
from dpod_search.records.markers import check_run
from dpod_search.records.markers import find_marker
from dpod_search.records.markers import forget_marker
from dpod_search.records.markers import read_marker
from dpod_search.records.markers import write_marker


# What trained weights depend on: once they are there, none of it may change in the same folder.
# What the search depends on is kept, and compared, in the study itself.
TRAINED_FOR = (
    "seed:",
    "device:",
    "data.",
    "task.",
    "model.",
    "supernet.",
    "training.",
    "evaluation.",
    "oneshot.method:",
    "oneshot.n_batches:",
)  # fmt: skip  (a table)
# But for these, which say where the pictures lie (their fingerprint is compared) and how fast
# training goes.
NOT_TRAINED_FOR = (
    "data.root:",
    "data.download:",
    "training.n_workers:",
    "training.checkpoint_seconds:",
)  # fmt: skip  (a table)

_LARGE = 2**20  # bytes; a smaller file is hashed as soon as its time is looked at

# What a run would write over in a folder of somebody else's.
_RESULTS = (
    "supernet.safetensors",
    "training.json",
    "path.json",
    "environment.json",
    "search.json",
    "trials.csv",
    "front.json",
    "report.html",
)  # fmt: skip  (a table)


@dataclass
class RunFolder:
    """A folder that holds one run, locked while this process works in it.

    Args:
        path: The folder; made if it is missing.
    """

    path: Path

    def __post_init__(self) -> None:
        """Prepare the lock; nothing is touched yet."""
        self._lock = FileLock(self.path / LOCK)
        self._made: list[Path] = []
        self._brings_lock = False
        self._hashes: dict[tuple[Path, int, int, int], str] = {}

    def __enter__(self) -> Self:
        """Take the folder, or say who has it.

        Raises:
            RunFolderError: If another process works in it, it cannot be made, its name is not
                text, or it has files of the user's where the lock is to be, or links where a run
                has files.
        """
        shown = spell_name(str(self.path))
        if shown != str(self.path):  # safetensors could write there, and not read
            raise RunFolderError(
                f"cannot use {shown} as a run folder: its name is not UTF-8; choose another --out"
            )
        try:
            check_marks(self.path)
            check_links(self.path)
            self._made = [p for p in (self.path, *self.path.parents) if not p.exists()]
            self._brings_lock = not (self.path / LOCK).exists()
            self.path.mkdir(parents=True, exist_ok=True)
            # The kernel frees this lock when its process dies, however it dies.
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise self._in_use() from error
        except OSError as error:
            raise RunFolderError(
                f"cannot use {self.path} as a run folder: {error.strerror or error}; "
                "choose another --out"
            ) from error
        write_text(self.path / OWNER, f"{os.getpid()}\n")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Free the folder, and take away what was made for nothing."""
        with suppress(OSError):  # or who is refused later, by a report, is told of this process
            (self.path / OWNER).unlink(missing_ok=True)
        if error is not None and self._brings_lock and not (self.path / "config.toml").exists():
            with suppress(OSError):  # a folder that holds something is left as it was
                (self.path / LOCK).unlink(missing_ok=True)
                for made in self._made:
                    made.rmdir()
        self._lock.release()

    @contextmanager
    def looked_into(self) -> Iterator[Self]:
        """Look into the folder inside the block, and leave no trace of it.

        Raises:
            RunFolderError: If another process works in it.
        """
        with looking_into(self.path) as is_used:
            if is_used:
                raise self._in_use()
            yield self

    def check_study(self, config: StudyConfig) -> None:
        """Check that the folder may hold a study.

        Args:
            config: The study.

        Raises:
            RunFolderError: If the folder holds another study, or weights that were trained
                otherwise; names the first differences. If it holds no run, but files of the
                names that a run would write. If there are links where a run has files.
            CheckpointError: If a file was changed since it was written.
        """
        check_run(self.path)
        file = self.path / "config.toml"
        if not file.exists():
            self._check_foreign()
            return
        held = load_study(file)
        changed = [] if held.name == config.name else [f"name: {held.name} -> {config.name}"]
        if self.has_ended("train"):
            changed += [
                item
                for item in diff(held, config)
                if item.startswith(TRAINED_FOR) and not item.startswith(NOT_TRAINED_FOR)
            ]
        if changed:
            shown = "; ".join(changed[:3]) + ("; ..." if len(changed) > 3 else "")
            raise RunFolderError(
                f"{self.path} holds a different study ({shown}); {tell_ways(self.path)}"
            )

    def recover(self) -> None:
        """Delete what killed processes left half written, and complete what only lacks its name.

        A folder without a study is not ours to tidy, and neither is what a link leads to. Call
        it inside the lock, after :meth:`check_study`.
        """
        if (self.path / "config.toml").is_file():
            tidy_up(self.path)

    def claim(self, config: StudyConfig) -> None:
        """Write down which study the folder holds."""
        write_text(self.path / "config.toml", dump_toml(config))

    @contextmanager
    def noting(self, marker: str, *names: str) -> Iterator[None]:
        """Let a marker know the files that the block writes, which are of no stage.

        Args:
            marker: Its name.
            names: The files, relative to the folder.
        """
        self.unmark(marker)
        yield
        self._mark(marker, "run", {}, names)

    def is_done(self, stage: str, inputs: Mapping[str, Any]) -> bool:
        """Say whether a stage ended with just these inputs and its files are still there.

        Raises:
            CheckpointError: If one of its files is not what the stage wrote.
        """
        kept = read_marker(self.path, stage)
        if kept is None or kept.inputs != hash_value(dict(inputs)) or not self.is_whole(stage):
            return False
        for name in kept.outputs:
            kept.check(self.path, name, self._hash)
        return True

    def has_other_inputs(self, stage: str, inputs: Mapping[str, Any]) -> bool:
        """Say whether a stage ended, but with other inputs than these."""
        kept = read_marker(self.path, stage)
        return kept is not None and kept.inputs != hash_value(dict(inputs))

    def unmark(self, stage: str) -> None:
        """Forget that a stage ended, before it runs again."""
        forget_marker(self.path, stage)

    def mark_done(self, stage: str, inputs: Mapping[str, Any], outputs: Sequence[str]) -> None:
        """Note that a stage ended.

        Args:
            stage: Its name.
            inputs: All it depends on, as JSON values.
            outputs: Files it wrote, relative to the folder.
        """
        self._mark(stage, stage, inputs, outputs)

    def _mark(
        self, marker: str, stage: str, inputs: Mapping[str, Any], outputs: Sequence[str]
    ) -> None:
        hashes = {name: self._hash(self.path / name) for name in sorted(outputs)}
        kept = Marker(stage=stage, inputs=hash_value(dict(inputs)), outputs=hashes)
        write_marker(self.path, marker, kept)

    def has_ended(self, stage: str) -> bool:
        """Say whether a stage has ever ended, whatever its inputs were."""
        return find_marker(self.path, stage).exists()

    def is_whole(self, stage: str) -> bool:
        """Say whether a stage has ever ended and its files are still there, changed or not.

        Raises:
            CheckpointError: If its marker is damaged.
        """
        kept = read_marker(self.path, stage)
        return kept is not None and all((self.path / name).is_file() for name in kept.outputs)

    def require(self, name: str, stage: str) -> Path:
        """Return a file that an earlier stage has written.

        Raises:
            RunFolderError: If it is missing, or the stage has not ended; names the stage to run.
            CheckpointError: If it is not what the stage wrote.
        """
        file = self.path / name
        check_file(self.path, name, stage, self._hash)
        if not file.is_file() or not self.has_ended(stage):
            raise RunFolderError(
                f"{file} is missing or not finished; run `dpod-search {stage}` with the same "
                "--study and --out, or --run, first"
            )
        return file

    def require_hash(self, name: str, stage: str) -> str:
        """Return the hash of a file that an earlier stage wrote; errors as in :meth:`require`."""
        file = self.require(name, stage)
        return self._hash(file)

    def require_stage(self, stage: str, inputs: Mapping[str, Any]) -> None:
        """Check that an earlier stage ended with just these inputs.

        Raises:
            RunFolderError: If it did not; names the stage to run.
        """
        if not self.is_done(stage, inputs):
            raise RunFolderError(
                f"{self.path} does not hold the results of this {stage}; run `dpod-search {stage}` "
                "with the same --study, --out, --set and --storage first"
            )

    def _check_foreign(self) -> None:
        foreign = [name for name in _RESULTS if (self.path / name).exists()]
        if foreign and not (self.path / MARKERS).exists():
            raise RunFolderError(
                f"{self.path} holds no run, and a run would write over {foreign[0]} in it; "
                "choose another --out, or move it away"
            )

    def _hash(self, file: Path) -> str:
        """Hash a file; one that may have gigabytes once, for as long as it stays the same one."""
        status = file.stat()
        if status.st_size < _LARGE:
            return hash_file(file)
        key = (file, status.st_ino, status.st_size, status.st_mtime_ns)
        if key not in self._hashes:
            self._hashes[key] = hash_file(file)
        return self._hashes[key]

    def _in_use(self) -> RunFolderError:
        return RunFolderError(
            f"{self.path} is in use by another process{self._owner()}; "
            "wait for it, or choose another --out"
        )

    def _owner(self) -> str:
        try:
            return f" (process {int((self.path / OWNER).read_text())})"
        except (OSError, ValueError):
            return ""
