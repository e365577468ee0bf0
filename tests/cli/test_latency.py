"""The ``latency`` commands: a request, its measurement in another place, and what came of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from pipeline.clock import LATENCY
from pipeline.clock import FakeClock
from pipeline.tiny import OVERRIDES

from dpod_search.files import read_json
from dpod_search.latency import read_request
from dpod_search.latency import read_table


STUDY = ["--study", "digits", *(f"--set={item}" for item in (*OVERRIDES, *LATENCY))]


@pytest.fixture
def call(call_main, monkeypatch, tmp_path):
    """Run a ``latency`` command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: call_main("latency", *arguments)


def check_refused(done, *parts):
    code, out, err = done
    assert (code, out, len(err.splitlines())) == (2, "", 1), (out, err)
    for part in parts:
        assert part in err, err


def test_a_request_is_measured_elsewhere_and_shown(call, tmp_path):
    code, out, _ = call("request", *STUDY)
    assert code == 0
    file = tmp_path / "latency_request.json"
    request = read_request(file)
    assert f"{len(request.layers)} layers at {request.n_cells} widths and 12 nets" in out
    assert "dpod-search latency measure latency_request.json" in out
    assert file.stat().st_size < 2**20
    # Another machine has neither the study nor its pictures.
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    file.rename(elsewhere / "request.json")
    words = [sys.executable, "-m", "dpod_search", "latency", "measure", "request.json"]
    done = subprocess.run(words, cwd=elsewhere, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"{len(request.layers)} layers and 12 nets on " in done.stdout
    table = read_table(elsewhere / "latency_table.json")
    assert [net.widths for net in table.nets] == [net.widths for net in request.nets]
    shown = call("show", *STUDY, "--table", elsewhere / "latency_table.json")
    assert shown[0] == 0
    assert table.device.processor in shown[1]
    assert "on 4 subnets it has not seen" in shown[1]
    code, out, _ = call("show", *STUDY, "--table", elsewhere / "latency_table.json", "--json")
    told = json.loads(out)
    assert told["n_held_out"] == 4
    assert told["smallest_ms"] > 0
    assert told["device"] == table.device.to_json()


def test_measuring_again_measures_what_is_missing(call, monkeypatch, tmp_path):
    clock = FakeClock().attach(monkeypatch)
    assert call("request", *STUDY, "--quiet") == (0, "", "")
    assert call("measure", "latency_request.json", "--quiet") == (0, "", "")
    assert clock.timed
    clock.timed.clear()
    assert call("measure", "latency_request.json", "-q")[0] == 0
    assert clock.timed == []
    more = ("--set=latency.n_fit=9", "--quiet")
    assert call("request", *STUDY, *more)[0] == 0
    assert call("measure", "latency_request.json", "--quiet")[0] == 0
    assert clock.timed
    assert len(read_table(tmp_path / "latency_table.json").nets) > 12
    table = read_json(tmp_path / "latency_table.json")
    table["device"]["processor"] = "a telephone"
    Path("latency_table.json").write_text(json.dumps(table))
    again = call("measure", "latency_request.json", "--quiet")
    check_refused(again, "of another device (processor: a telephone", "another file")


def test_settings_of_the_device_are_options(call, tmp_path):
    assert call("request", *STUDY, "--threads", "2", "-o", "mine.json", "-q")[0] == 0
    assert read_request(tmp_path / "mine.json").settings.n_threads == 2
    check_refused(
        call("request", *STUDY, "--backend", "tflite", "-q"), "latency.backend", "tflite"
    )


def test_a_model_that_would_be_refused_is_shown_with_its_figure(call, monkeypatch, tmp_path):
    clock = FakeClock(truth=lambda ms: 1 + (ms * 7919) % 1).attach(monkeypatch)
    assert call("request", *STUDY, "-q")[0] == 0
    assert call("measure", "latency_request.json", "-q")[0] == 0
    assert clock.timed
    strict = ("--set=latency.max_error=0.01", "--table", "latency_table.json")
    code, out, _ = call("show", *STUDY, *strict)
    assert code == 0
    assert "refused by a run: latency.max_error is 1.0 %" in out


@pytest.mark.parametrize(
    ("content", "part"),
    [(None, "there is no latency request"), ("{", "cut off"), ("{}", "cut off")],
)
def test_a_spoilt_request_is_one_line(call, tmp_path, content, part):
    if content is not None:
        (tmp_path / "request.json").write_text(content)
    check_refused(call("measure", "request.json", "--quiet"), "request.json", part)
    assert not (tmp_path / "latency_table.json").exists()


def test_a_request_that_is_cut_off_is_one_line(call, tmp_path):
    assert call("request", *STUDY, "-q")[0] == 0
    file = tmp_path / "latency_request.json"
    text = file.read_text()
    file.write_text(text[: len(text) // 2])
    check_refused(call("measure", file, "--quiet"), "cut off", "latency request")


def test_a_device_that_is_not_here_is_one_line(call, tmp_path):
    assert call("request", *STUDY, "-q")[0] == 0
    done = call("measure", "latency_request.json", "--device", "xpu:7", "--quiet")
    check_refused(done, "'xpu:7' cannot be used")
    done = call("measure", "latency_request.json", "--device", "toaster", "--quiet")
    check_refused(done, "device must be cpu, cuda, cuda:<n> or mps, got 'toaster'")


def test_a_table_of_another_model_is_one_line(call, monkeypatch, tmp_path):
    FakeClock().attach(monkeypatch)
    assert call("request", *STUDY, "-q")[0] == 0
    assert call("measure", "latency_request.json", "-q")[0] == 0
    other = ("--set=supernet.ratios=[0.5, 1.0]", "--table", "latency_table.json")
    check_refused(call("show", *STUDY, *other), "of another model", "latency request")
