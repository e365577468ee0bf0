"""A PostgreSQL server for tests: its own folder, its own port, gone when the block ends."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


_OPTIONS = ("-c", "listen_addresses=127.0.0.1", "-c", "fsync=off")


def find_programs() -> Path | None:
    """Return the folder of the server's programs; Debian keeps them out of the PATH."""
    on_path = shutil.which("initdb")
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    if on_path is not None:
        folders.append(Path(on_path).resolve().parent)
    return next(
        (f for f in folders if (f / "initdb").exists() and (f / "postgres").exists()), None
    )


def why_absent() -> str | None:
    """Return why no server can be started here, or None."""
    if find_programs() is None:
        return "PostgreSQL's server programs are not installed"
    if importlib.util.find_spec("psycopg") is None:
        return "psycopg is not installed"
    if os.name != "posix":
        return "tests start PostgreSQL on Unix only"
    return None


@contextmanager
def run_server() -> Iterator[str]:
    """Start a server and yield the URL of an empty database."""
    programs = find_programs()
    assert programs is not None
    folder = Path(tempfile.mkdtemp(prefix="dpod-pg-"))
    user = _become(folder)
    data = folder / "data"
    subprocess.run(
        [programs / "initdb", "-D", data, "-U", "dpod", "--auth=trust", "--no-sync"],
        check=True,
        stdout=subprocess.DEVNULL,
        cwd=folder,
        **user,
    )
    port = _find_port()
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            # What is never to survive a power cut need not wait for the disk.
            [programs / "postgres", "-D", data, "-p", str(port), "-k", folder, *_OPTIONS],
            stdout=subprocess.DEVNULL,
            stderr=log,
            cwd=folder,
            **user,
        )
    try:
        url = f"postgresql+psycopg://dpod@127.0.0.1:{port}/postgres"
        _wait_for(port, server, folder / "log")
        yield url
    finally:
        server.terminate()
        server.wait(timeout=30)
        shutil.rmtree(folder, ignore_errors=True)


def _become(folder: Path) -> dict[str, object]:
    # The server refuses to run as root.
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            continue
        os.chown(folder, found.pw_uid, found.pw_gid)
        return {"user": found.pw_uid, "group": found.pw_gid, "extra_groups": []}
    raise RuntimeError("no user to run PostgreSQL as")


def _find_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    import psycopg

    for _ in range(300):
        if server.poll() is not None:
            raise RuntimeError(log.read_text())
        try:
            psycopg.connect(host="127.0.0.1", port=port, user="dpod", dbname="postgres").close()
        except psycopg.OperationalError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError("PostgreSQL does not answer")
