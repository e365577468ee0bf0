"""A disk that is full in the middle of a run: one line that names the file, and the run goes on later."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pipeline.tiny import load_tiny

from dpod_search.errors import CheckpointError
from dpod_search.errors import DpodSearchError
from dpod_search.errors import RunFolderError
from dpod_search.pipeline import run_stages
from dpod_search.pipeline.logs import log_to
from dpod_search.search import open_storage


resource = pytest.importorskip("resource", reason="no file size limits here")


@contextmanager
def full_disk(n_bytes: int) -> Iterator[None]:
    """Let no file of this process grow beyond a size inside the block."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def searched(run: Path) -> Path:
    """A run whose study is to be searched on; its log is long already."""
    with (run / "log.jsonl").open("a") as file:
        file.write(" " * 100_000 + "\n")
    return run


@pytest.mark.parametrize("limit", [9_000, 16_000])
def test_a_search_names_its_journal_and_goes_on_when_there_is_space(
    finished: Path, searched: Path, capfd: pytest.CaptureFixture[str], limit: int
) -> None:
    for name in ("study.journal", "search.json", ".stages/search.json"):
        (searched / name).unlink()
    with (
        full_disk(limit),
        pytest.raises(CheckpointError, match=r"study\.journal: File too large") as caught,
    ):
        run_stages(load_tiny(), searched, stages=["search"])
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")

    run_stages(load_tiny(), searched)
    for name in ("front.json", "exported/manifest.json"):
        assert (searched / name).read_bytes() == (finished / name).read_bytes()


@pytest.mark.parametrize("limit", [4096, 200_000])
def test_a_search_in_a_database_says_so_in_one_line(searched: Path, limit: int) -> None:
    storage = f"sqlite:///{searched}/study.db"
    with full_disk(limit), pytest.raises(DpodSearchError) as caught:
        run_stages(load_tiny(), searched, stages=["search"], storage=storage)
    assert "\n" not in str(caught.value)


def test_what_optuna_itself_writes_in_a_database_says_so_too(searched: Path) -> None:
    storage = f"sqlite:///{searched}/study.db"
    open_storage(storage)._backend.engine.dispose()
    with (
        full_disk(40_000),  # the log of SQLite: enough for the study's name, not for all of it
        pytest.raises(RunFolderError, match="database cannot be read or written") as caught,
    ):
        run_stages(load_tiny(), searched, stages=["search"], storage=storage)
    assert "\n" not in str(caught.value)


def test_a_log_that_cannot_be_written_is_quiet(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    logger = logging.getLogger("dpod_search")
    for limit, path in ((0, tmp_path / "log.jsonl"), (10, tmp_path / "log.jsonl"), (0, tmp_path)):
        with full_disk(limit), pytest.raises(ZeroDivisionError), log_to(path):
            logger.info("lost")
            _ = 1 // 0
    with log_to(tmp_path / "log.jsonl"):
        logger.info("kept")
    assert "kept" in (tmp_path / "log.jsonl").read_text()
    assert capfd.readouterr() == ("", "")
