"""Artifacts: files of the run folder that the dashboard offers beside a study or a trial.

Optuna attaches files to trials that are still running only. The dashboard also looks for a
trial's files among the attributes of its study, where version 0.8 kept them, and those can be
written at any time. A file's name in the store follows from its content, so that attaching it
again changes nothing.
"""

from __future__ import annotations

import hashlib
import json
import mimetypes
import os
import shutil
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpod_search.files import hash_file
from dpod_search.files import write_bytes
from dpod_search.files import write_whole


FOLDER = "artifacts"
_OF_STUDY = "artifacts:"
_OF_TRIAL = "dashboard:artifacts:"
_DEFAULT_TYPE = "application/octet-stream"


@dataclass(frozen=True)
class Attachment:
    """A file to attach.

    Args:
        filename: What it is called on the page.
        content: Its bytes, or the file that holds them.
        trial_id: Optuna's id of the trial it belongs to; None is the study.
    """

    filename: str
    content: bytes | Path
    trial_id: int | None = None

    @property
    def artifact_id(self) -> str:
        """Its name in the store: the same for the same content in the same place."""
        if isinstance(self.content, bytes):
            digest = hashlib.sha256(self.content).hexdigest()
        else:
            digest = hash_file(self.content)
        place = f"{self.trial_id}/{self.filename}/{digest}"
        return str(uuid.uuid5(uuid.NAMESPACE_URL, place))


def key_of(attachment: Attachment, artifact_id: str) -> str:
    """Return the study's system attribute that tells the dashboard of a file."""
    if attachment.trial_id is None:
        return _OF_STUDY + artifact_id
    return f"{_OF_TRIAL}{attachment.trial_id}:{artifact_id}"


def describe(attachment: Attachment, artifact_id: str) -> str:
    """Return what the attribute says of the file, as the dashboard reads it."""
    mimetype, encoding = mimetypes.guess_type(attachment.filename)
    return json.dumps(
        {
            "artifact_id": artifact_id,
            "filename": attachment.filename,
            "mimetype": mimetype or _DEFAULT_TYPE,
            "encoding": encoding,
        }
    )


def link_to(study_id: int, attachment: Attachment, artifact_id: str) -> str:
    """Return the address of a file on the dashboard."""
    owner = "" if attachment.trial_id is None else f"{attachment.trial_id}/"
    return f"/artifacts/{study_id}/{owner}{artifact_id}"


def store(folder: Path, attachment: Attachment, artifact_id: str) -> None:
    """Put a file into the store, if it is not there as it is.

    Files of the run folder are linked, for exported models may be large; where the file system
    has no links they are copied.

    Args:
        folder: The store.
        attachment: What to put there.
        artifact_id: Under which name.

    Raises:
        CheckpointError: If it cannot be written.
    """
    target, content = folder / artifact_id, attachment.content
    if target.is_file() and _holds(target, content):
        return
    if isinstance(content, bytes):
        write_bytes(target, content)
        return
    folder.mkdir(parents=True, exist_ok=True)
    with suppress(OSError):  # what was changed since it was put there
        target.unlink(missing_ok=True)
    try:
        os.link(content, target)
    except OSError:
        write_whole(target, lambda aside: _copy(content, aside))


def list_stale(kept: Mapping[str, str], current: Mapping[str, str]) -> dict[str, str]:
    """Return what was attached before and is no longer: keys of attributes, and names."""
    return {key: artifact_id for key, artifact_id in kept.items() if key not in current}


def is_attached(attrs: Mapping[str, Any], key: str) -> bool:
    """Say whether a study knows of a file that nobody has taken away since."""
    return attrs.get(key) not in (None, "null")


def _holds(target: Path, content: bytes | Path) -> bool:
    if isinstance(content, bytes):
        return target.read_bytes() == content
    return target.samefile(content) or hash_file(target) == hash_file(content)


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
