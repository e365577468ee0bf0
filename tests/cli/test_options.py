"""Options that several commands have: what becomes of ``--budgets``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pipeline.tiny import OVERRIDES

from dpod_search.cli.options import load_config
from dpod_search.cli.options import set_budgets
from dpod_search.files import read_json


@pytest.fixture
def call(call_main, run: Path):
    """Run a command on a finished run; return exit code, output and error lines."""

    def run_main(command, *more):
        sets = [f"--set={item}" for item in OVERRIDES if command != "status"]
        return call_main(command, "--study", "digits", "--out", run, *more, *sets)

    return run_main


def test_budgets_of_the_command_line_are_those_of_the_study_file():
    text = 'macs<=2M, "odd" <= 25% and params<=50k'
    sets = set_budgets(["finetune.budgets=['macs<=9']", "finetune.epochs=3"], text)
    settings = load_config("digits", sets, seed=None).finetune
    assert settings.budgets == ("macs<=2M", '"odd" <= 25% and params<=50k')
    assert settings.epochs == 3
    assert set_budgets(None, None) == []
    assert load_config("digits", set_budgets(None, ""), seed=None).finetune.budgets == ()


@pytest.mark.parametrize("command", ["run", "finetune"])
def test_each_budget_is_told_with_its_trial(call, run, command):
    code, out, _ = call(command, "--budgets", "macs<=1G,macs<=1,params <= 100%")
    assert code == 0
    front = read_json(run / "front.json")
    (member,) = (m for m in front["members"] if m["budgets"])
    best = member["trial"]
    lines = out.splitlines()
    told = f"macs<=1G: trial {best}, macs {member['macs']:,}"
    at = lines.index(told)
    assert lines[at + 1].startswith(
        "no member of the front meets the budget macs<=1: the smallest"
    )
    assert (
        lines[at + 2]
        == f"params <= 100% of the full net's: trial {best}, params {member['params']:,}"
    )
    code, out, _ = call("status")
    assert f"best under {told}\nbest under macs<=1: no member of the front" in out
    code, out, _ = call("status", "--json")
    assert json.loads(out)["budgets"] == {
        "macs<=1G": best,
        "macs<=1": None,
        "params <= 100%": best,
    }


def test_budgets_that_are_not_met_or_not_read_are_one_line(call):
    code, out, err = call("finetune", "--quiet", "--budgets", "macs<=1")
    assert (code, out) == (2, "")
    assert err.startswith("dpod-search: no member of the front meets the budget macs<=1:")
    assert err.count("\n") == 1
    code, _, err = call("finetune", "--quiet", "--budgets", "mac<=1")
    assert code == 2
    assert "did you mean macs?" in err


def test_the_storage_may_stand_in_the_environment(call, run, tmp_path, monkeypatch):
    url = f"sqlite:///{tmp_path}/hidden.db"
    assert json.loads(call("status", "--json")[1])["trials"]
    monkeypatch.setenv("DPOD_STORAGE", url)
    assert json.loads(call("status", "--json")[1])["trials"] == {}
    told = json.loads(call("status", "--json", "--storage", str(run / "study.journal"))[1])
    assert told["trials"]
    monkeypatch.setenv("DPOD_STORAGE", "")
    assert json.loads(call("status", "--json")[1])["trials"]


def test_the_help_names_the_variable_and_not_what_is_in_it(call_main, monkeypatch):
    monkeypatch.setenv("DPOD_STORAGE", "postgresql://me:hidden@host/db")
    code, out, _ = call_main("search", "--help")
    assert code == 0
    assert "DPOD_STORAGE" in out
    assert "hidden" not in out


@pytest.mark.parametrize("command", ["run", "search", "worker", "status", "dashboard", "report"])
@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg:me:hidden@host/db",
        "postgresql+psycopg://me:hid@den@host/db",
        "postgresql+psycopg://me:hidden@127.0.0.1:1/db",
        "postgresql+psycopg://me@127.0.0.1:1/db?password=hidden",
    ],
)
def test_no_command_shows_a_password(call_main, run, url, command):
    before = set(run.rglob("*"))
    sets = [f"--set={item}" for item in OVERRIDES if command not in ("status", "dashboard")]
    words = ("--study", "digits", "--out", run, "--storage", url, *sets)
    code, out, err = call_main(command, *words)
    assert "hid" not in out + err
    if code:
        assert len(err.splitlines()) == 1
    assert "hid" not in (run / "log.jsonl").read_text()
    names = {path.name for path in set(run.rglob("*")) - before}
    assert not any("postgresql" in name for name in names)
