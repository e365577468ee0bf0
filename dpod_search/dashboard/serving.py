"""Serving the dashboard: to this machine unless told otherwise, and so that nothing is lost.

Optuna's dashboard has no login, and whoever reaches it may delete studies. Here it shows
everything and changes nothing, but for notes that are written on this machine.
"""

from __future__ import annotations

import errno
import io
import ipaddress
import json
import re
import signal
import socket
import threading
from collections.abc import Callable
from collections.abc import Iterable
from pathlib import Path
from socketserver import ThreadingMixIn
from types import FrameType
from typing import TYPE_CHECKING
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler
from wsgiref.simple_server import WSGIServer
from wsgiref.simple_server import make_server

from optuna.artifacts import FileSystemArtifactStore
from optuna.storages import BaseStorage

from dpod_search.dashboard.studies import need_dashboard
from dpod_search.errors import ConfigError


if TYPE_CHECKING:
    from wsgiref.types import StartResponse
    from wsgiref.types import WSGIApplication
    from wsgiref.types import WSGIEnvironment

_NOTE = re.compile(r"/api/studies/\d+(/\d+)?/note/?")
# Addresses that name a study, and a trial if a number and more follow.
_PLACE = re.compile(r"/(?:api/studies|artifacts|csv)/(\d+)(?:/(\d+)(?=/)|(?=/|$)).*")
_FILE = re.compile(r"/artifacts/.+/([^/]+)/?")
_LARGEST_ID = 2**31 - 1  # of databases
_READING = ("GET", "HEAD")
_BAD, _FORBIDDEN, _NOT_FOUND = "400 Bad Request", "403 Forbidden", "404 Not Found"


class Server(ThreadingMixIn, WSGIServer):
    """A server whose open connections do not keep it from ending."""

    daemon_threads = True
    block_on_close = False

    @property
    def address(self) -> str:
        """The address to open in a browser."""
        host, port = self.server_address[0], self.server_address[1]
        host = host.decode() if isinstance(host, bytes | bytearray) else str(host)
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Server6(Server):
    address_family = socket.AF_INET6


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing of requests."""


def is_loopback(host: str) -> bool:
    """Say whether an address can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def open_server(
    storage: BaseStorage,
    artifacts: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    allow_remote: bool = False,
) -> Server:
    """Listen on a port; :func:`serve` answers.

    Args:
        storage: Where the studies are kept; all of them can be seen.
        artifacts: The folder of attached files.
        host: The address to listen on.
        port: The port; 0 is any that is free.
        allow_remote: Listen on an address that other machines can reach. There is no login.

    Raises:
        ConfigError: If optuna-dashboard is missing, the port is taken, the host is none of this
            machine, or others can reach it and ``allow_remote`` is not given.
    """
    need_dashboard()
    if not (allow_remote or is_loopback(host)):
        raise ConfigError(
            f"--host {host} can be reached by other machines, and the dashboard has no login; "
            "add --allow-remote if that is meant, or forward the port by ssh"
        )
    from optuna_dashboard import wsgi

    app = wsgi(storage, FileSystemArtifactStore(artifacts))
    app = guard(guard_files(app, artifacts), storage, is_local=is_loopback(host))
    kind = _Server6 if ":" in host else Server
    try:
        return make_server(host, port, app, server_class=kind, handler_class=_Quiet)
    except (OSError, OverflowError) as error:
        taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        why = "is in use" if taken else f"cannot be used ({_reason(error)})"
        raise ConfigError(f"port {port} of {host} {why}; give another --port or --host") from error


def serve(server: Server, announce: Callable[[], None] | None = None) -> None:
    """Answer requests until Ctrl-C, which ends it without an error.

    Args:
        server: From :func:`open_server`; it is closed afterwards.
        announce: Called once Ctrl-C would end it.
    """
    previous: Any = None

    def stop(number: int, frame: FrameType | None) -> None:
        # It waits for the loop that this handler interrupts, so not in this thread.
        threading.Thread(target=server.shutdown, daemon=True).start()

    is_main = threading.current_thread() is threading.main_thread()
    listens = is_main and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
    try:
        if listens:
            previous = signal.signal(signal.SIGINT, stop)
        if announce is not None:
            announce()
        server.serve_forever(poll_interval=0.1)
    finally:
        if listens:
            signal.signal(signal.SIGINT, previous)
        server.server_close()


def guard(app: WSGIApplication, storage: BaseStorage, *, is_local: bool) -> WSGIApplication:
    """Let a dashboard show everything and change nothing but notes.

    What is asked of a study or a trial that does not exist is answered with 404: Optuna's dashboard
    keeps a note of any trial, and breaks at some studies.

    Args:
        app: The dashboard.
        storage: What it shows.
        is_local: It is for this machine only: notes may be written, and a page that another
            name leads here (DNS rebinding) is refused.
    """

    def guarded(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        if is_local and not _is_own(environ.get("HTTP_HOST", "")):
            return _refuse(start, "the dashboard answers to this machine's own names only")
        method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO", "")
        is_note = is_local and method == "PUT" and _NOTE.fullmatch(path)
        if not (method in _READING or is_note):
            reason = "dpod-search shows studies here; nothing can be changed but notes"
            return _refuse(start, reason)
        if missing := _find_missing(storage, path):
            return _refuse(start, missing, _NOT_FOUND)
        if is_note and not _is_note(environ):
            reason = 'a note is {"version": <whole number>, "body": <text>}'
            return _refuse(start, reason, _BAD)
        return app(environ, start)

    return guarded


def guard_files(app: WSGIApplication, artifacts: Path) -> WSGIApplication:
    """Let a dashboard give no file but those that lie in a folder: what is a link there is not found.

    Args:
        app: The dashboard.
        artifacts: The folder of attached files.
    """

    def guarded(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        match = _FILE.fullmatch(environ.get("PATH_INFO", ""))
        if match is not None:
            file = artifacts / match[1]
            if artifacts.is_symlink() or file.is_symlink() or not file.is_file():
                return _refuse(start, f"there is no file {match[1]}", _NOT_FOUND)
        return app(environ, start)

    return guarded


def _is_note(environ: WSGIEnvironment) -> bool:
    """Say whether a note can be shown again; Optuna's dashboard keeps lists too, and breaks."""
    length = environ.get("CONTENT_LENGTH") or "0"
    sent = environ["wsgi.input"].read(int(length) if length.isdecimal() else 0)
    environ["wsgi.input"] = io.BytesIO(sent)  # for the dashboard
    try:
        note = json.loads(sent)
    except (ValueError, RecursionError):
        return False
    if not isinstance(note, dict):
        return False
    version, body = note.get("version"), note.get("body")
    return type(version) is int and isinstance(body, str)


def _find_missing(storage: BaseStorage, path: str) -> str:
    """Say which study or trial of an address does not exist; empty if all do."""
    match = _PLACE.fullmatch(path)
    if match is None:
        return ""
    study_id, trial_id = (None if text is None else int(text) for text in match.groups())
    assert study_id is not None
    try:
        _check_id(study_id)
        storage.get_study_name_from_id(study_id)
    except KeyError:
        return f"there is no study {study_id}"
    try:
        if trial_id is not None:
            _check_id(trial_id)
            number = storage.get_trial(trial_id).number
            if storage.get_trial_id_from_study_id_trial_number(study_id, number) != trial_id:
                raise KeyError(trial_id)
    except KeyError:
        return f"study {study_id} has no trial {trial_id}"
    return ""


def _check_id(number: int) -> None:
    if number > _LARGEST_ID:  # a database would break at it
        raise KeyError(number)


def _is_own(host: str) -> bool:
    name = re.sub(r":\d+$", "", host)
    return is_loopback(name)


def _refuse(start: Callable[..., Any], reason: str, status: str = _FORBIDDEN) -> list[bytes]:
    start(status, [("Content-Type", "application/json")])
    return [json.dumps({"reason": reason}).encode()]


def _reason(error: BaseException) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
