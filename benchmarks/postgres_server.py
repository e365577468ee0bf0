"""A PostgreSQL server for the length of a ``with`` block: own folder, own port, nobody else's data."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


USER = "dpod"


class ServerUnavailableError(Exception):
    """Why there is no server."""


@contextmanager
def serving_postgres() -> Iterator[str]:
    """Start a server, and stop it and delete its data at the end.

    Yields:
        URL of its database, for Optuna.

    Raises:
        ServerUnavailableError: If its programs or the driver are not installed, or it does not start.
    """
    try:
        import psycopg  # noqa: F401
    except ImportError as error:
        raise ServerUnavailableError("psycopg is not installed") from error
    programs = _find_programs()
    with tempfile.TemporaryDirectory(prefix="dpod-postgres-") as text:
        folder, port, prefix = Path(text), _find_port(), _step_down(Path(text))
        data = str(folder / "data")
        _run([*prefix, str(programs / "initdb"), "-D", data, "-U", USER, "-A", "trust", "-N"])
        # Reached through a socket in its own folder, which nobody else may enter.
        options = f"-p {port} -k {folder} -c listen_addresses=''"
        control = [*prefix, str(programs / "pg_ctl"), "-D", data]
        log = str(folder / "log")
        _run([*control, "-w", "-l", log, "-o", options, "start"])
        try:
            yield f"postgresql+psycopg://{USER}@/postgres?host={folder}&port={port}"
        finally:
            _run([*control, "-m", "fast", "-w", "stop"])


def _find_programs() -> Path:
    # Debian keeps them out of the PATH, one folder a version.
    found = shutil.which("pg_ctl")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for folder in folders:
        if all((folder / name).exists() for name in ("initdb", "pg_ctl", "postgres")):
            return folder
    raise ServerUnavailableError("the programs of a PostgreSQL server are not installed")


def _step_down(folder: Path) -> list[str]:
    # The server refuses to run as root; it gets the folder and runs as a user without rights.
    if os.geteuid() != 0:
        return []
    names = {user.pw_name: user for user in pwd.getpwall()}
    user = names.get("postgres") or names.get("nobody")
    if user is None or shutil.which("setpriv") is None:
        raise ServerUnavailableError("PostgreSQL does not run as root, and there is no setpriv")
    os.chown(folder, user.pw_uid, user.pw_gid)
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]


def _find_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _run(command: list[str]) -> None:
    # The server inherits what it is given as output, so a pipe would be waited for in vain.
    with tempfile.TemporaryFile("w+") as output:
        done = subprocess.run(
            command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, cwd="/", check=False
        )
        if done.returncode != 0:
            output.seek(0)
            words = output.read().strip().splitlines()
            raise ServerUnavailableError(
                f"{Path(command[-1]).name}: {words[-1] if words else 'failed'}"
            )
