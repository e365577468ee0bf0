"""Asking a dashboard without a network: its application is called as a server would."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from optuna.artifacts import FileSystemArtifactStore
from optuna.storages import BaseStorage
from optuna_dashboard import wsgi


def ask(
    app: Any, path: str, method: str = "GET", body: Any = None, host: str = "127.0.0.1:8080"
) -> tuple[str, bytes]:
    """Return the status and the body of an answer."""
    sent = b"" if body is None else json.dumps(body).encode()
    told: list[str] = []
    environ = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "HTTP_HOST": host,
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8080",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(sent)),
        "wsgi.input": io.BytesIO(sent),
        "wsgi.errors": io.StringIO(),
        "wsgi.url_scheme": "http",
    }
    parts = app(environ, lambda status, headers, *more: told.append(status))
    try:
        return told[0], b"".join(parts)
    finally:
        if hasattr(parts, "close"):
            parts.close()


def make_app(storage: BaseStorage, folder: Path) -> Any:
    """Return the dashboard on a storage, with the files of a run folder."""
    return wsgi(storage, FileSystemArtifactStore(folder / "artifacts"))


def ask_study(storage: BaseStorage, folder: Path, study_id: int = 0) -> dict[str, Any]:
    """Return what the dashboard tells its page of a study."""
    status, body = ask(make_app(storage, folder), f"/api/studies/{study_id}")
    assert status.startswith("200"), body
    return dict(json.loads(body))
