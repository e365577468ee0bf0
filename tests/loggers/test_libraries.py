"""Each logger, against its own library: what was written is read back, from a local folder."""

from __future__ import annotations

import importlib
import json
import math
import os
import sqlite3
import struct
import warnings
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from pipeline.tiny import load_tiny

from dpod_search.files import hash_file
from dpod_search.loggers import LOGGER_NAMES
from dpod_search.loggers import Logger
from dpod_search.loggers import MlflowLogger
from dpod_search.loggers import TensorBoardLogger
from dpod_search.loggers import WandbLogger
from dpod_search.pipeline import run_stages


LOSSES = [1.5, 1.0, 0.25]
# Warnings of the libraries about their own parts are not ours to mend.
pytestmark = pytest.mark.filterwarnings("default")


def need(package: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip(package, reason=f"{package} is not installed: tox -e loggers has it")


@pytest.fixture(autouse=True)
def _nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    # What would reach for a server goes nowhere, and what would lie in the home folder is seen.
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")


def tell(logger: Logger) -> None:
    for step, loss in enumerate(LOSSES):
        logger.on_step("train", step, {"loss": loss, "lr": 0.1})
        logger.on_step("finetune/12", step, {"loss": 2 * loss})
    logger.on_trial(4, {"accuracy": 0.5, "macs": 1e6}, "evaluated")
    logger.on_trial(5, {"macs": 2e6}, "infeasible")
    logger.on_stage("train", 7.5, {"n_steps": 3})


def test_tensorboard_shows_what_it_was_told(tmp_path: Path) -> None:
    need("tensorboard")
    with TensorBoardLogger(tmp_path / "tb", name="run", settings={"seed": "3"}) as logger:
        tell(logger)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tb"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("train/loss")] == [*enumerate(LOSSES)]
    assert [e.value for e in events.Scalars("finetune/12/loss")] == [2 * v for v in LOSSES]
    assert [(e.step, e.value) for e in events.Scalars("search/evaluated/accuracy")] == [(4, 0.5)]
    assert [(e.step, e.value) for e in events.Scalars("search/infeasible/macs")] == [(5, 2e6)]
    assert [e.value for e in events.Scalars("stages/train/seconds")] == [7.5]
    (text,) = events.Tensors("run/text_summary")
    assert b"| seed | 3 |" in text.tensor_proto.string_val[0]


def read_records(file: Path) -> Iterator[bytes]:
    """Read a log in LevelDB's format, which W&B's is: parts of records in blocks of 32 KiB."""
    data = file.read_bytes()
    assert data[:4] == b":W&B"
    block, place, whole = 1 << 15, 7, b""
    while place + 7 <= len(data):
        if block - place % block < 7:  # too little for the head of a part
            place += block - place % block
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        whole += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            yield whole
            whole = b""


def read_wandb(file: Path) -> tuple[list[dict[str, object]], dict[str, object]]:
    """Return the history and the summary of an offline run, as `wandb sync` would send them."""
    from wandb.proto import wandb_internal_pb2

    history: list[dict[str, object]] = []
    summary: dict[str, object] = {}
    for data in read_records(file):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        row = {
            item.key or ".".join(item.nested_key): json.loads(item.value_json)
            for item in record.history.item
        }
        history += [row] if row else []
        summary |= {
            item.key or ".".join(item.nested_key): json.loads(item.value_json)
            for item in record.summary.update
        }
    return history, summary


def test_wandb_writes_an_offline_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need("wandb")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with WandbLogger(tmp_path / "wb", name="run", settings={"seed": "3"}) as logger:
        tell(logger)
    # Its service closes the file a moment after the run has ended, at the latest with itself.
    importlib.import_module("wandb").teardown()
    (file,) = (tmp_path / "wb").rglob("*.wandb")
    assert file.parent.name.startswith("offline-run-")
    history, summary = read_wandb(file)
    steps = [row for row in history if "train/loss" in row]
    assert [(row["train/step"], row["train/loss"]) for row in steps] == [*enumerate(LOSSES)]
    (trial,) = (row for row in history if "search/evaluated/accuracy" in row)
    assert (trial["search/evaluated/step"], trial["search/evaluated/macs"]) == (4, 1e6)
    assert summary["stages/train/seconds"] == 7.5
    assert not [p for p in (tmp_path / "wb").glob("*/*") if p.is_symlink()]


def test_mlflow_writes_a_file_that_it_reads(tmp_path: Path) -> None:
    need("mlflow")
    import mlflow

    folder = tmp_path / "ml"
    with MlflowLogger(folder, name="run", settings={"seed": "3"}) as logger:
        tell(logger)
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("run")
    (run,) = client.search_runs([experiment.experiment_id])
    number = run.info.run_id
    assert run.info.status == "FINISHED"
    assert run.data.params == {"seed": "3"}
    losses = client.get_metric_history(number, "train/loss")
    assert sorted((m.step, m.value) for m in losses) == [*enumerate(LOSSES)]
    assert run.data.metrics["search/evaluated/accuracy"] == 0.5
    assert run.data.metrics["stages/train/seconds"] == 7.5
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert {p.name for p in folder.iterdir()} <= {"mlflow.db", "artifacts"}


def test_a_run_logs_to_all_of_them_and_ends_with_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in LOGGER_NAMES:
        need(package)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    named = f"logging.loggers={json.dumps(LOGGER_NAMES)}"
    for folder, overrides in (("with", [named]), ("without", [])):
        run_stages(load_tiny(*overrides), tmp_path / folder, stages=["train", "search"])
    for name in ("supernet.safetensors", "trials.csv", "search.json", "path.json"):
        with_them, without = (tmp_path / f / name for f in ("with", "without"))
        if name != "trials.csv":  # which has the seconds of each
            assert hash_file(with_them) == hash_file(without)
        assert with_them.stat().st_size > 0
    logs = tmp_path / "with" / "logs"
    assert {p.name for p in logs.iterdir()} == set(LOGGER_NAMES)
    client = importlib.import_module("mlflow").MlflowClient(f"sqlite:///{logs}/mlflow/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("digits").experiment_id])
    assert run.data.params["training.epochs"] == "2"
    assert {"train/loss", "search/evaluated/accuracy", "stages/train/n_steps"} <= {
        *run.data.metrics
    }


def test_mlflow_goes_on_with_the_run_and_writes_many_figures(tmp_path: Path) -> None:
    need("mlflow")
    for first in (0, 700):
        with MlflowLogger(tmp_path, name="run", settings={"seed": str(first)}) as logger:
            for step in range(first, first + 700):
                logger.on_step(
                    "train", step, {"loss": math.nan if step == 9 else 1.0 / (1 + step)}
                )
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        assert database.execute("select count(*) from runs").fetchone() == (1,)
        found = database.execute("select count(*), max(step) from metrics").fetchone()
    assert found == (1400, 1399)
