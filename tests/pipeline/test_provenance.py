"""A study in a storage of its own is not searched on with another supernet or other pictures."""

from __future__ import annotations

from pathlib import Path

import pytest
from pipeline.tiny import load_tiny

from dpod_search.errors import RunFolderError
from dpod_search.pipeline import run_stages


STAGES = ["train", "search"]


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study of three trials, and the run folder that it was made in."""
    folder = tmp_path_factory.mktemp("searched")
    run_stages(load_tiny("search.n_trials=3"), folder / "run", stages=STAGES, storage=url(folder))
    return folder


def url(folder: Path) -> str:
    return f"sqlite:///{folder}/study.db"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("training.lr=0.01", "other weights of the supernet: it was [0-9a-f]{64}, now"),
        ("data.validation_share=0.25", "other data: it was [0-9a-f]{64}, now"),
    ],
)
def test_another_supernet_is_refused(
    searched: Path, tmp_path: Path, change: str, message: str
) -> None:
    with pytest.raises(RunFolderError, match=message):
        run_stages(load_tiny(change), tmp_path, stages=STAGES, storage=url(searched))


def test_another_sampler_is_refused_and_the_same_one_goes_on(searched: Path) -> None:
    run, storage = searched / "run", url(searched)
    with pytest.raises(
        RunFolderError, match="another sampler: it was nsga2, now random; to go on"
    ):
        run_stages(load_tiny('search.sampler="random"'), run, stages=["search"], storage=storage)
    outcomes = run_stages(load_tiny("search.n_trials=4"), run, stages=["search"], storage=storage)
    assert [outcome.was_done for outcome in outcomes] == [False]
