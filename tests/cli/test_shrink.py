from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from pipeline import shrunk_net
from pipeline.shrunk_net import QUICK


SETS = [f"--set={item}" for item in QUICK]
MODEL = ("--model", "pipeline.shrunk_net:make_net", "--data", "digits")


@pytest.fixture
def call(call_main, monkeypatch, tmp_path):
    """Run ``shrink`` in a folder that has weights."""
    monkeypatch.chdir(tmp_path)
    shrunk_net.train_weights(tmp_path / "net.pth", epochs=4)
    return lambda *more: call_main("shrink", *MODEL, *SETS, *more)


def test_what_was_reached_is_printed_and_given_as_json(call, call_main, tmp_path):
    goal = ("--weights", "net.pth", "--goal", "macs<=60%, accuracy>=-60pt", "--formats")
    code, out, err = call(*goal, "torch_export")
    assert code == 0, err
    assert "prune at once, for the weights are trained" in err
    lines = out.splitlines()
    assert lines[0].startswith("goal: macs<=60%, accuracy>=-60pt: reached by trial ")
    run = tmp_path / "runs" / "make_net-shrink"
    assert lines[-1] == f"report: {run.relative_to(tmp_path) / 'report.html'}"
    (place,) = re.findall(r"  (runs/\S+model.pt2) \(", out)
    assert (tmp_path / place).is_file()
    assert f'  model = torch.export.load("{place}").module()' in lines
    code, status, _ = call_main("status", "--study", run / "config.toml", "--out", run)
    assert "goal: macs<=60%, accuracy>=-60pt: reached, 1 budget tried" in status.splitlines()
    code, out, err = call(*goal, "torch_export", "--json", "--quiet")
    told = json.loads(out)
    assert (code, err, told["state"], told["chosen"]) == (0, "", "met", "macs<=60%")
    assert told["files"]["torch_export"] == place


def test_a_goal_out_of_reach_ends_with_one(call):
    goal = ("--weights", "net.pth", "--goal", "macs<=6%, accuracy>=-0pt", "--quiet")
    assert call(*goal, "--set=finetune.epochs=0") == (1, "", "")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("--goal", "fastets within 1 point"), "did you mean fastest within 1 point?"),
        (("--goal", "macs<=50%, mac>=-1pt"), "did you mean macs?"),
        (("--goal", "macs<=50%", "--formats", "onx"), "export.formats knows"),
        (("--goal", "macs<=50%", "--data", "nothing"), "data.name 'nothing' is not known"),
        (("--goal", "macs<=50%", "--weights", "no.pth"), "no.pth"),
        (("--goal", "macs<=50%", "--model", "/a/b.py:make"), "there is no file /a/b.py"),
    ],
)
def test_what_users_get_wrong_is_one_line(call_main, monkeypatch, tmp_path, arguments, part):
    monkeypatch.chdir(tmp_path)
    code, _, err = call_main("shrink", *MODEL, *arguments, "--quiet")
    lines = err.splitlines()
    assert (code, len(lines)) == (2, 1), err
    assert part in lines[0]
    assert not (tmp_path / "runs").exists()


def test_a_goal_that_cannot_be_read_waits_for_no_pytorch() -> None:
    script = (
        "import sys\n"
        "from dpod_search.cli import main\n"
        "sys.argv[1:] = 'shrink --model m:f --data x --goal fastets'.split()\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as end:\n"
        "    assert end.code == 2\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert "did you mean fastest?" in done.stderr
