"""Modelled latency in a run: its table measured once, kept, given by the user, or refused."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from pipeline.clock import LATENCY
from pipeline.clock import FakeClock
from pipeline.tiny import copy_run
from pipeline.tiny import load_tiny
from pipeline.tiny import put_in_marker

from dpod_search.errors import ConfigError
from dpod_search.errors import DataError
from dpod_search.errors import DpodSearchError
from dpod_search.errors import InfeasibleError
from dpod_search.errors import RunFolderError
from dpod_search.files import hash_file
from dpod_search.files import read_json
from dpod_search.latency import read_table
from dpod_search.pipeline import run_stages
from dpod_search.pipeline import work


SEARCHED = (
    *LATENCY,
    'search.objectives=["accuracy", "latency"]',
    'search.constraints={latency="<= 60%"}',
)


def load_timed(*more: str):
    return load_tiny(*SEARCHED, *more)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    return FakeClock().attach(monkeypatch)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was searched for latency, shared: read it, never change it."""
    folder = tmp_path_factory.mktemp("latency") / "run"
    with pytest.MonkeyPatch.context() as monkeypatch:
        FakeClock().attach(monkeypatch)
        run_stages(load_timed(), folder, stages=["train", "search"])
    return folder


@pytest.fixture
def timed(searched: Path, tmp_path: Path) -> Path:
    """A run of one's own that was searched for latency."""
    return copy_run(searched, tmp_path / "run")


def read_trials(run: Path) -> list[dict[str, str]]:
    header, *rows = (line.split(",") for line in (run / "trials.csv").read_text().splitlines())
    return [dict(zip(header, row, strict=True)) for row in rows]


def write_other(run: Path, **device: object) -> Path:
    """Write a run's table as one of another device."""
    table = read_json(run / "latency_table.json")
    table["device"].update(device)
    file = run.parent / "given.json"
    file.write_text(json.dumps(table))
    return file


def test_latency_is_searched_and_bounded(searched):
    summary = read_json(searched / "latency.json")
    assert summary["mape"] < 0.05
    assert not summary["is_other_device"]
    assert summary["table"] == hash_file(searched / "latency_table.json")
    assert len(read_table(searched / "latency_table.json").nets) == 12
    trials = read_trials(searched)
    evaluated = [float(t["latency"]) for t in trials if t["fate"] == "evaluated"]
    assert len(evaluated) > 3
    assert max(evaluated) <= 0.6 * summary["full_ms"]
    assert read_json(searched / "search.json")["constraints"] == {"latency": "<= 60%"}


def test_a_second_run_measures_nothing(timed, clock):
    before = hash_file(timed / "latency_table.json")
    outcomes = run_stages(load_timed(), timed, stages=["train", "search"])
    assert [outcome.was_done for outcome in outcomes] == [True, True]
    assert clock.timed == []
    assert hash_file(timed / "latency_table.json") == before


def test_more_nets_are_measured_besides_those_that_are_there(timed, clock):
    before = read_table(timed / "latency_table.json")
    # A study whose trials were bounded by another table is another one.
    with pytest.raises(RunFolderError, match="another latency table.*--out") as error:
        run_stages(load_timed("latency.n_fit=10"), timed, stages=["search"])
    assert "\n" not in str(error.value)
    after = read_table(timed / "latency_table.json")
    assert {net.widths for net in before.nets} <= {net.widths for net in after.nets}
    assert len(after.nets) > 12
    assert after.reference_ms == before.reference_ms
    assert set(after.layers) == set(before.layers)
    n_new = len(after.nets) - len(before.nets)
    assert 0 < len(clock.timed) <= 4 * n_new  # each a few times


def test_other_settings_measure_anew(timed, clock):
    with pytest.raises(RunFolderError, match="another latency table"):
        run_stages(load_timed("latency.batch_size=2"), timed, stages=["search"])
    assert read_table(timed / "latency_table.json").device.batch_size == 2
    assert len(clock.timed) > 12


def test_a_kill_while_measuring_goes_on_with_what_was_kept(tmp_path, clock):
    clock.fails_at = 10**9
    first = tmp_path / "first"
    with pytest.raises(InfeasibleError):  # everything is measured, and nothing trained
        run_stages(load_timed('search.constraints={latency="<= 1%"}'), first)
    n_all = len(clock.timed)
    clock.timed.clear()
    clock.fails_at = n_all - 3
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run_stages(load_timed(), run, stages=["train", "search"])
    assert (run / "latency_table.json").is_file()
    clock.timed.clear()
    run_stages(load_timed(), run, stages=["train", "search"])
    assert 0 < len(clock.timed) < 0.5 * n_all
    assert len(read_table(run / "latency_table.json").nets) == 12


def test_budgets_on_latency_go_by_the_clock(timed, clock):
    clock.truth = lambda ms: ms**1.2
    budgets = json.dumps(["latency<=50%", "latency<=0.01%"])
    run_stages(load_timed(f"finetune.budgets={budgets}"), timed, stages=["finetune"])
    front = read_json(timed / "front.json")
    chosen = [m for m in front["members"] if m["budgets"] == ["latency<=50%"]]
    assert [m["measured_latency_share"] <= 0.5 for m in chosen] == [True]
    assert "smallest latency is" in front["unmet_budgets"]["latency<=0.01%"]
    of_full = next(m for m in front["members"] if m["folder"] == "full")
    assert of_full["measured_latency_share"] == 1
    # The best of those that the clock lets through, though the model refuses it.
    full = read_json(timed / "latency.json")["full_ms"]
    met = [
        float(t["accuracy"])
        for t in read_trials(timed)
        if t["on_front"] == "1" and (float(t["latency"]) / full) ** 1.2 <= 0.5
    ]
    assert max(met) == pytest.approx(chosen[0]["values"]["accuracy"])


def test_a_budget_on_latency_can_be_asked_of_a_search_without_it(run, clock):
    config = load_tiny(*LATENCY, 'finetune.budgets=["latency<=60%"]')
    outcomes = run_stages(config, run, stages=["finetune"])
    assert not outcomes[0].was_done
    members = read_json(run / "front.json")["members"]
    (chosen,) = [m for m in members if m["budgets"]]
    assert chosen["latency"] <= 0.62 * read_json(run / "latency.json")["full_ms"]
    # The search has ended, and stays so.
    assert run_stages(config, run, stages=["search"])[0].was_done
    assert run_stages(load_tiny(), run, stages=["search"])[0].was_done


# Tables that the user gives.


def refuse(run: Path, file: Path, match: str, *more: str, error=DataError) -> None:
    with pytest.raises(error, match=match) as caught:
        run_stages(load_timed(f'latency.table="{file}"', *more), run)
    assert isinstance(caught.value, DpodSearchError)
    assert "\n" not in str(caught.value)
    assert str(file) in str(caught.value)
    assert not (run / "supernet.safetensors").exists()


def test_a_table_of_another_device_is_used_and_told_of(searched, tmp_path, clock, caplog):
    file = write_other(copy_run(searched, tmp_path / "old"), processor="a telephone", n_cores=3)
    config = load_timed(f'latency.table="{file}"', "search.n_trials=4", "finetune.n_subnets=1")
    with caplog.at_level(logging.WARNING):
        run_stages(config, tmp_path / "run", stages=["train", "search", "finetune"])
    assert clock.timed == []
    summary = read_json(tmp_path / "run" / "latency.json")
    assert summary["is_other_device"]
    assert summary["difference"].startswith("processor: a telephone -> ")
    assert summary["device"]["processor"] == "a telephone"
    assert "latency: the table is of another device (processor: a telephone" in caplog.text
    front = read_json(tmp_path / "run" / "front.json")
    assert all("measured_latency_share" not in m for m in front["members"])
    assert not (tmp_path / "run" / "latency_table.json").exists()


def test_a_table_of_another_model_is_refused(searched, tmp_path):
    file = write_other(copy_run(searched, tmp_path / "old"))
    match = "of another model.*latency request"
    refuse(tmp_path / "run", file, match, "supernet.ratios=[0.5, 1.0]")


def spoil(table: dict, how: str) -> str:
    """Return the text of a table that something is wrong with."""
    text = json.dumps(table)
    if how == "cut":
        return text[: len(text) // 2]
    if how == "empty":
        return ""
    if how == "a list":
        return "[]"
    if how == "no nets":
        table["nets"] = table["nets"][:5]
    elif how == "a lost row":
        table["layers"][0]["ms"].pop()
    else:
        value = float(how)
        table["layers"][0]["ms"][0][0] = value
    return json.dumps(table)


@pytest.mark.parametrize(
    ("how", "match"),
    [
        ("cut", "cut off"),
        ("empty", "cut off"),
        ("a list", "format"),
        ("a lost row", "cut off"),
        ("no nets", "5 measured nets and 12 are due"),
        ("-0.5", "above 0 and finite, got -0.5"),
        ("0", "above 0 and finite, got 0"),
        ("nan", "above 0 and finite, got nan"),
        ("inf", "above 0 and finite, got inf"),
    ],
)
def test_a_spoilt_table_is_refused_before_the_training(searched, tmp_path, how, match):
    file = tmp_path / "given.json"
    file.write_text(spoil(read_json(searched / "latency_table.json"), how))
    refuse(tmp_path / "run", file, match)


def test_a_missing_table_is_refused(tmp_path):
    refuse(tmp_path / "run", tmp_path / "none.json", "there is no latency table")


def test_a_spoilt_table_of_the_run_says_how_to_mend_it(timed, clock):
    file = timed / "latency_table.json"
    file.write_text(spoil(read_json(file), "-1"))
    put_in_marker(timed, "latency_table", file.name)
    with pytest.raises(DataError, match="got -1.0; measure it again: delete the file"):
        run_stages(load_timed(), timed, stages=["search"])
    file.unlink()
    # It is measured again, but the trials that are there were bounded by another one.
    with pytest.raises(RunFolderError, match="another latency table.*restore it"):
        run_stages(load_timed(), timed, stages=["search"])
    assert len(read_table(file).nets) == 12


def test_a_model_that_is_too_wrong_is_refused_with_its_figure(tmp_path, clock):
    clock.truth = lambda ms: 1 + (ms * 7919) % 1  # as good as random
    with pytest.raises(DataError, match=r"too wrong.*\d % off.*limit 1\.0 %") as error:
        run_stages(load_timed("latency.max_error=0.01"), tmp_path / "run")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run" / "supernet.safetensors").exists()
    # Once it is allowed, what was measured is used.
    clock.timed.clear()
    config = load_timed("latency.max_error=10", "search.constraints={}")
    run_stages(config, tmp_path / "run", stages=["train"])
    assert clock.timed == []


def test_a_device_that_is_not_here_cannot_be_grown_upon(timed, clock):
    file = timed / "latency_table.json"
    file.write_text(write_other(timed, processor="a telephone").read_text())
    put_in_marker(timed, "latency_table", file.name)
    with pytest.raises(DataError, match="telephone.*delete it to measure here"):
        run_stages(load_timed("latency.n_fit=20"), timed, stages=["search"])


def test_too_few_subnets_are_told_of(tmp_path):
    with pytest.raises(ConfigError, match="latency model is fitted to at least 12 subnets"):
        run_stages(load_timed("supernet.ratios=[1.0]"), tmp_path / "run")


# Other processes.


def test_a_worker_reads_the_table_and_never_writes(timed, clock):
    before = hash_file(timed / "latency_table.json"), hash_file(timed / "latency.json")
    assert work(load_timed(), timed).counts["evaluated"] > 0
    assert clock.timed == []
    assert before == (hash_file(timed / "latency_table.json"), hash_file(timed / "latency.json"))
    (timed / "latency_table.json").unlink()
    with pytest.raises(RunFolderError, match=r"latency_table.json is not there.*search"):
        work(load_timed(), timed)
    assert clock.timed == []
    assert not (timed / "latency_table.json").exists()


def test_helpers_find_the_table(tmp_path, clock):
    run_stages(load_timed("search.n_trials=6"), tmp_path, stages=["train", "search"], n_jobs=2)
    lines = map(json.loads, (tmp_path / "log.jsonl").read_text().splitlines())
    assert [line for line in lines if line["level"] in ("WARNING", "ERROR")] == []
