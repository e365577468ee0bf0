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
    assert lines[at + 2] == f"params <= 100%: trial {best}, params {member['params']:,}"
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
