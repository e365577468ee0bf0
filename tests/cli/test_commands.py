from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pipeline.tiny import OVERRIDES
from typer.testing import CliRunner

import dpod_search
from dpod_search.cli import app
from dpod_search.config import list_studies
from dpod_search.config import load_study
from dpod_search.errors import DpodSearchError
from dpod_search.pipeline import STAGES
from dpod_search.pipeline import RunFolder


STAGE_NAMES = [stage.name for stage in STAGES]
COMMANDS = [
    *STAGE_NAMES,
    "run",
    "worker",
    "mdp",
    "shrink",
    "latency",
    "compare",
    "dashboard",
    "inspect",
    "status",
    "studies",
    "init",
]
TINY = [f"--set={item}" for item in OVERRIDES]


@pytest.fixture
def call(call_main):
    return call_main


def run_in(folder, *more, command="run"):
    return [command, "--study", "digits", "--out", folder, *TINY, *more]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command):
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert any(line.strip().endswith(".") for line in lines[:4])
    assert "--help" in result.output


def test_the_help_lists_every_command_with_what_it_does():
    result = CliRunner().invoke(app, ["--help"])
    assert result.exit_code == 0
    for command in COMMANDS:
        (line,) = [t for t in result.output.splitlines() if t.split()[:1] == [command]]
        assert line.endswith(".")


def test_without_arguments_the_help_is_shown(call):
    _, out, err = call()
    assert "Commands:" in out + err


def test_the_version_is_the_packages(call):
    assert call("--version") == (0, f"{dpod_search.__version__}\n", "")


def test_the_module_can_be_run():
    done = subprocess.run(
        [sys.executable, "-m", "dpod_search", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{dpod_search.__version__}\n"
    assert done.stderr == ""


def test_studies_are_listed(call):
    code, out, err = call("studies")
    assert (code, err) == (0, "")
    names = [line.split()[0] for line in out.splitlines()]
    assert names == [name for name, _, _ in list_studies()]
    assert "digits" in names
    assert all(len(line.split()) > 3 for line in out.splitlines())
    code, out, _ = call("studies", "--json")
    found = json.loads(out)
    assert [item["name"] for item in found] == names
    assert all(Path(item["file"]).is_file() for item in found)


@pytest.mark.parametrize(
    "arguments",
    [[], ["--model", "resnet20"], ["--data", "cifar10", "--model", "torchvision:resnet18"]],
)
def test_a_printed_study_loads(call, tmp_path, arguments):
    code, out, err = call("init", *arguments)
    assert (code, err) == (0, "")
    path = tmp_path / "mine.toml"
    path.write_text(out)
    study = load_study(path)
    assert study.name == "mine"
    if "--model" in arguments:
        assert study.model.name == arguments[arguments.index("--model") + 1]
    if "--data" in arguments:
        assert study.data.name == "cifar10"


def test_a_study_is_inspected(call):
    code, out, err = call("inspect", "--study", "digits")
    assert (code, err) == (0, "")
    assert "channel groups" in out
    assert "frozen dimensions" in out
    assert "full net: macs" in out
    code, out, err = call("inspect", "--study", "digits", "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert set(found) == {
        "groups",
        "frozen",
        "uncounted",
        "full",
        "smallest",
        "n_subnets",
    }  # fmt: skip  (a table)
    for group in found["groups"]:
        assert group["rungs"][-1] == group["full"]
        for shares in (group["in_layers"], group["saves"]):
            assert all(0 < shares[cost] < 1 for cost in ("macs", "params"))
        assert group["members"]
    assert all(item["reasons"] for item in found["frozen"])
    assert found["smallest"]["macs"] < found["full"]["macs"]


def test_the_graph_is_drawn_into_one_file(call, tmp_path):
    page = tmp_path / "new" / "graph.html"
    code, out, err = call("inspect", "--study", "digits", "--html", page)
    assert (code, err) == (0, "")
    assert f"picture: {page}" in out
    assert "channel groups" in out
    text = page.read_text()
    code, out, err = call("inspect", "--study", "digits", "--html", page, "--json")
    assert (code, err) == (0, "")
    for group in json.loads(out)["groups"]:
        assert group["name"].replace(".", ".<wbr>") in text
    assert page.read_text() == text
    assert [file.name for file in page.parent.iterdir()] == ["graph.html"]


def test_a_graph_that_cannot_be_written_is_one_line(call, tmp_path):
    (tmp_path / "file").touch()
    for page in (tmp_path / "file" / "graph.html", tmp_path):
        check_refused(
            call("inspect", "--study", "digits", "--html", page), "--html", "cannot be written"
        )


def test_inspect_says_about_how_long_the_stages_of_a_study_take(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ("inspect", "--study", "digits", "--times", *TINY)
    code, out, err = call(*arguments)
    assert (code, err) == (0, "")
    assert " if this machine does nothing else" in out.splitlines()[-1]
    assert ": train " in out.splitlines()[-1]
    code, out, err = call(*arguments, "--json")
    assert (code, err) == (0, "")
    seconds = json.loads(out)["seconds"]
    assert set(seconds) == {*STAGE_NAMES, "scoring"}
    assert all(value > 0 for name, value in seconds.items() if name != "scoring")
    assert not list(tmp_path.iterdir())
    check_refused(call("inspect", "--model", "resnet8", "--times"), "--times", "--study")


def test_a_stage_says_before_it_begins_about_how_long_it_takes(call, tmp_path, monkeypatch):
    code, _, err = call(*run_in(tmp_path / "run", "--set=training.epochs=1", command="train"))
    assert code == 0
    told, done = err.splitlines()
    assert " if this machine does nothing else" in told
    assert done.startswith("train: ")

    def measure(session, stages):
        raise AssertionError("nobody is told")

    monkeypatch.setattr("dpod_search.pipeline.pacing.estimate_stages", measure)
    for word in ("--quiet", "--json"):
        folder = tmp_path / word
        code, _, err = call(*run_in(folder, word, "--set=training.epochs=1", command="train"))
        assert (code, err) == (0, "")


def test_a_study_is_inspected_as_it_is_set(call):
    _, out, _ = call("inspect", "--study", "digits", "--json", "--set=supernet.ratios=[0.5]")
    assert all(len(group["rungs"]) == 2 for group in json.loads(out)["groups"])


def test_a_model_is_inspected_without_a_study(call):
    arguments = ("inspect", "--model", "resnet20", "--input-shape", "3,32,32")
    code, out, err = call(*arguments, "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    # 40.81 M for 10 classes; the head of 1,000 adds 64 x 990.
    assert found["full"]["macs"] == pytest.approx(40.81e6 + 64 * 990, rel=1e-3)
    code, out, _ = call(*arguments)
    assert code == 0
    assert f"macs {found['full']['macs']:,}" in out


def test_a_model_is_inspected_as_it_is_set(call, tmp_path, monkeypatch):
    source = (
        "from torch import nn\n\ndef net(n):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(48, 8), nn.ReLU(), nn.Linear(8, n))\n"
    )
    (tmp_path / "own_inspected.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    arguments = (
        "inspect",
        "--model",
        "own_inspected:net",
        "--input-shape",
        "3,4,4",
        "--set",
        "model.arguments={ n = 5 }",
        "--set",
        "supernet.ratios=[0.5]",
    )  # fmt: skip  (a table)
    code, out, err = call(*arguments, "--classes", "5", "--json")
    assert (code, err) == (0, "")
    assert [group["rungs"] for group in json.loads(out)["groups"]] == [[4, 8]]
    check_refused(call(*arguments), "got (1, 5)", "--input-shape 3,4,4 --classes 1000")


OWN_LAYERS = """
import torch
from dpod_search.supernet import carry

class Wave(torch.nn.Module):
    def forward(self, x):
        return x + torch.special.i0(x)

def make():
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 1), Wave(), torch.nn.Conv2d(8, 4, 1), torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(4, 5),
    )

HANDLERS = {Wave: carry}
WRONG = {Wave: lambda discovery, node: 3 / 0}
NUMBER = 3
"""


def test_inspect_with_handlers_of_the_users(call, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_layers_of_mine.py").write_text(OWN_LAYERS)
    name = "own_layers_of_mine"
    model = ("inspect", "--model", f"{name}:make", "--input-shape", "3,4,4", "--classes", "5")

    def groups(*more):
        code, out, err = call(*model, "--json", *more)
        assert (code, err) == (0, "")
        return [group["name"] for group in json.loads(out)["groups"]]

    assert groups() == ["2"]
    assert groups("--set", f"supernet.handlers={name}:HANDLERS") == ["0", "2"]
    for value, *parts in (
        ("HANDLERS", "supernet.handlers", "package.module:name", "'HANDLERS'"),
        (f"{name}:NUMBER", "must name a dictionary of handlers", "int"),
        (f"{name}:NOTHING", "has no 'NOTHING'"),
        ("nowhere:HANDLERS", "no module 'nowhere'"),
        (f"{name}:WRONG", "the handler of 1 failed with ZeroDivisionError"),
    ):
        check_refused(call(*model, "--set", f"supernet.handlers={value}"), *parts)


def check_refused(result, *parts):
    code, out, err = result
    assert code == 2
    assert out == ""
    assert err.startswith("dpod-search: ")
    assert err.count("\n") == 1
    for part in parts:
        assert part in err


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["run", "--study", "digit"], ["no study 'digit'", "digits"]),
        (["train", "--study", "digits", "--set", "training.epoch=1"], ["training.epochs"]),
        (["train", "--study", "digits", "--set", "epochs"], ["section.key=value"]),
        (["train", "--study", "digits", "--seed", "-1"], ["seed", ">= 0", "-1"]),
        (["inspect"], ["--study", "--model"]),
        (["inspect", "--study", "digits", "--model", "resnet8"], ["--study", "--model"]),
        (["inspect", "--model", "resnet9"], ["resnet9"]),
        (["inspect", "--model", "resnet8", "--input-shape", "3,32"], ["channels,height,width"]),
        (["inspect", "--model", "resnet8", "--input-shape", "a,b,c"], ["'a,b,c'"]),
        (["inspect", "--model", "resnet8", "--input-shape", "0,8,8"], ["'0,8,8'"]),
        (
            ["inspect", "--model", "resnet8", "--input-shape", "3,99999,9"],
            ["16,384", "'3,99999,9'"],
        ),
        (["inspect", "--model", "resnet8", "--input-shape", f"{'9' * 5000},9,9"], ["at most"]),
        (["run", "--study", "digits", "--seed", "9" * 4000], ["seed must be a number", "64 bits"]),
        (
            ["run", "--study", "digits", "--jobs", "1000"],
            ["--jobs must be <=", "cores, got 1,000"],
        ),
        (["run", "--study", "digits", "--set", "threads=1000"], ["threads must be <=", "cores"]),
        (
            ["run", "--study", "digits", "--set", "training.n_workers=1000"],
            ["n_workers must be <="],
        ),
        (["search", "--study", "digits", "--set", "seed=" + "[" * 3000], ["cannot be read"]),
        (["status", "--study", "digits", "--out", "nothing/here"], ["holds no run"]),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(call, monkeypatch, tmp_path, arguments, parts):
    monkeypatch.chdir(tmp_path)
    check_refused(call(*arguments), *parts)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["run"],
        ["nothing"],
        ["run", "--nothing"],
        ["dashboard", "--study", "digits", "--port", "http"],
        ["dashboard", "--study", "digits", "--port", "65536"],
        ["run", "--study", "digits", "--jobs", "9" * 5000],
        ["inspect", "--model", "resnet8", "--classes", "9999999999"],
    ],
)
def test_unknown_commands_and_options_are_exit_code_2(call, arguments):
    code, out, err = call(*arguments)
    assert code == 2
    assert out == ""
    assert err


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (DpodSearchError("two\nlines  of words"), "dpod-search: two lines of words\n"),
        (OSError(28, "No space left on device", "x.bin"), "x.bin: No space left on device\n"),
        (FileNotFoundError("odd"), "dpod-search: FileNotFoundError: odd\n"),
        (OSError(36, "File name too long", "a" * 4000), "aaa: File name too long\n"),
        (MemoryError("Unable to allocate 1 TiB"), "take smaller batches, pictures or models\n"),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
            "take smaller batches, pictures or models\n",
        ),
    ],
)
def test_errors_of_a_stage_are_one_line(call, monkeypatch, tmp_path, error, words):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("dpod_search.cli.stages.run_stages", fail)
    code, out, err = call(*run_in(tmp_path))
    assert (code, out) == (2, "")
    assert err.endswith(words)
    assert err.count("\n") == 1
    assert len(err) < 1100


def test_our_own_mistakes_are_not_dressed_up(call, monkeypatch, tmp_path):
    def fail(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr("dpod_search.cli.stages.run_stages", fail)
    with pytest.raises(ZeroDivisionError):
        call(*run_in(tmp_path))


@pytest.mark.usefixtures("listening")
def test_ctrl_c_is_exit_code_130_and_says_that_nothing_is_lost(call, monkeypatch, tmp_path):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("dpod_search.cli.stages.run_stages", interrupt)
    code, out, err = call(*run_in(tmp_path))
    assert (code, out) == (130, "")
    assert err == "dpod-search: interrupted; the same command goes on where it stopped\n"


def press_ctrl_c():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(5)  # it arrives at once


def swallow():
    with contextlib.suppress(KeyboardInterrupt):
        press_ctrl_c()


def turn_into_another():
    try:
        press_ctrl_c()
    except KeyboardInterrupt:
        raise ImportError("failed to import") from None


class Dying:
    def __del__(self):
        press_ctrl_c()


SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.fixture
def listening():
    """Let signals do what they do by default, and put back what they did."""
    defaults = [signal.default_int_handler, signal.SIG_DFL, signal.SIG_DFL]
    before = [signal.signal(*pair) for pair in zip(SIGNALS, defaults, strict=True)]
    yield defaults
    for pair in zip(SIGNALS, before, strict=True):
        signal.signal(*pair)


@pytest.mark.usefixtures("listening")
@pytest.mark.parametrize("press", [press_ctrl_c, swallow, turn_into_another, Dying])
def test_ctrl_c_is_never_lost(call, monkeypatch, tmp_path, press):
    def run_stages(*_, progress, **__):
        press()
        progress.start("train", 1)
        raise AssertionError("it went on")

    monkeypatch.setattr("dpod_search.cli.stages.run_stages", run_stages)
    code, out, err = call(*run_in(tmp_path))
    assert (code, out) == (130, "")
    assert err == "dpod-search: interrupted; the same command goes on where it stopped\n"
    # The process is to end now.
    assert [signal.getsignal(number) for number in SIGNALS] == [signal.SIG_IGN] * 3


@pytest.mark.usefixtures("listening")
def test_a_command_without_a_bar_does_not_lose_ctrl_c_either(call, monkeypatch):
    monkeypatch.setattr("dpod_search.cli.looking.list_studies", lambda: swallow() or [])
    code, _, err = call("studies")
    assert (code, err.count("\n")) == (130, 1)


def send(*numbers):
    for number in numbers:
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), number)
            time.sleep(5)  # it arrives at once
    raise KeyboardInterrupt


@pytest.mark.usefixtures("listening")
@pytest.mark.parametrize(
    ("numbers", "why"),
    [
        ([signal.SIGTERM], "told to end (SIGTERM)"),
        ([signal.SIGHUP], "told to end (SIGHUP)"),
        # systemd sends both, a closed terminal the second twice.
        ([signal.SIGTERM, signal.SIGHUP, signal.SIGTERM], "told to end (SIGTERM)"),
        ([signal.SIGINT, signal.SIGTERM], "interrupted"),
    ],
)
def test_a_command_that_is_told_to_end_ends_as_by_ctrl_c(
    call, monkeypatch, tmp_path, numbers, why
):
    monkeypatch.setattr("dpod_search.cli.stages.run_stages", lambda *_, **__: send(*numbers))
    line = f"dpod-search: {why}; the same command goes on where it stopped\n"
    assert call(*run_in(tmp_path)) == (128 + numbers[0], "", line)


class Mourning:
    def __del__(self):
        raise RuntimeError("DataLoader worker is killed by signal: Terminated.")


@pytest.mark.usefixtures("listening")
def test_what_is_taken_down_after_a_signal_has_nothing_to_add(call, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("dpod_search.cli.stages.run_stages", lambda *_, **__: send(signal.SIGTERM))
    call(*run_in(tmp_path))
    Mourning()
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("listening")
def test_where_the_terminal_is_closed_nobody_is_told(call, monkeypatch, tmp_path):
    def fail(*_, **__):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("dpod_search.cli.stages.run_stages", lambda *_, **__: send(signal.SIGHUP))
    monkeypatch.setattr(sys.stderr, "write", fail)
    assert call(*run_in(tmp_path))[0] == 129


def test_afterwards_signals_do_what_they_did(call, listening):
    assert call("studies")[0] == 0
    assert [signal.getsignal(number) for number in SIGNALS] == listening


@pytest.mark.parametrize("number", SIGNALS)
def test_a_command_stays_deaf_to_what_it_was_told_to_ignore(call, number):
    before = signal.signal(number, signal.SIG_IGN)  # in the background, or by nohup
    try:
        assert call("studies")[0] == 0
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)


def test_torchrun_tells_its_ranks_in_its_own_way(call, monkeypatch, listening):
    found = []
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(
        "dpod_search.cli.looking.list_studies",
        lambda: found.append(signal.getsignal(signal.SIGTERM)) or [],
    )
    assert call("studies")[0] == 0
    assert found == [signal.SIG_DFL]


@pytest.mark.e2e
def test_a_real_signal_interrupts_a_real_run(tmp_path):
    endless = ("--set=training.epochs=100000", "--set=training.checkpoint_seconds=0.1")
    words = run_in(tmp_path / "run", "--quiet", *endless, command="train")
    # A process started in the background inherits that it is deaf to Ctrl-C.
    listening = "signal.signal(signal.SIGINT, signal.default_int_handler)"
    program = f"import signal; {listening}; from dpod_search.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    # Before its first steps PyTorch imports parts of itself, where it may swallow a signal.
    checkpoint = tmp_path / "run" / "training.checkpoint.safetensors"
    deadline = time.monotonic() + 60
    try:
        while not checkpoint.exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()  # or a failure would leave it training for ever
    assert process.returncode == 130
    assert out == ""
    assert err == "dpod-search: interrupted; the same command goes on where it stopped\n"
    assert checkpoint.exists()
    with RunFolder(tmp_path / "run"):
        pass


def test_a_finished_run_says_what_it_found(call, run):
    code, out, err = call(*run_in(run))
    assert (code, err) == (0, "")
    for name in STAGE_NAMES:
        assert f"{name}: done before" in out
    assert "subnets after finetuning" in out
    assert f"report: {run / 'report.html'}" in out
    assert f"models: {run / 'exported'}" in out


def test_an_empty_front_is_told_in_one_line(call, run):
    (run / "study.journal").unlink()
    empty = "--set=search.constraints={accuracy='>= 1'}"
    code, out, _ = call(*run_in(run, empty))
    assert code == 0
    (line,) = [text for text in out.splitlines() if text.startswith("the front")]
    assert "front is empty: no trial met the bounds accuracy >= 1 (12 evaluated)" in line
    assert "the full net only; loosen search.constraints" in line
    front = json.loads((run / "front.json").read_text())
    assert len(front["members"]) == 1
    log = (run / "log.jsonl").read_text()
    assert sum("the front is empty" in text for text in log.splitlines()) == 1
    _, out, _ = call(*run_in(run, empty, "--json"))
    assert json.loads(out)["warning"] == line
    assert call(*run_in(run, empty, "--quiet")) == (0, "", "")


def test_an_objective_that_raises_is_one_line_and_exit_code_2(call, run):
    own = "--set=search.objectives=['accuracy', 'pipeline.tiny:raise_at_once']"
    check_refused(
        call(*run_in(run, own, "--quiet")),
        "objective raise_at_once raised ZeroDivisionError in line ",
        "tiny.py: odd (widths ",
    )


def test_brackets_in_a_path_are_shown(call, run, tmp_path):
    folder = run.rename(tmp_path / "[bold]mine")
    _, out, _ = call("status", "--study", "digits", "--out", folder)
    assert f"digits in {folder}: no process" in out


def test_work_is_told_in_lines_where_there_is_no_terminal(call, run):
    (run / "front.json").unlink()
    code, out, err = call(*run_in(run, command="finetune"))
    assert code == 0
    assert err.splitlines()[-1].startswith("finetune: ")
    assert "done before" not in out


def test_quiet_prints_nothing(call, run):
    assert call(*run_in(run, "--quiet")) == (0, "", "")
    (run / "front.json").unlink()
    (run / "exported" / "manifest.json").unlink()
    assert call(*run_in(run, "-q")) == (0, "", "")


@pytest.mark.parametrize("stage", STAGE_NAMES)
def test_quiet_stages_print_nothing(call, run, stage):
    assert call(*run_in(run, "--quiet", command=stage)) == (0, "", "")


def test_json_is_the_only_output(call, run):
    (run / "front.json").unlink()
    code, out, err = call(*run_in(run, "--json"))
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert [stage["name"] for stage in found["stages"]] == STAGE_NAMES
    assert not found["stages"][2]["was_done"]
    assert found["stages"][0]["was_done"]
    assert found["front"]["members"]
    assert found["report"] == str(run / "report.html")


def test_the_seed_is_a_setting(call, run):
    check_refused(call(*run_in(run, "--seed", "5")), "seed: 0 -> 5")


def test_the_status_is_shown(call, run):
    code, out, err = call("status", "--study", "digits", "--out", run)
    assert (code, err) == (0, "")
    assert "no process works on it" in out
    assert "trials: 12 complete of 12" in out
    assert "train: ended" in out
    code, out, _ = call("status", "--study", "digits", "--out", run, "--json")
    assert json.loads(out)["stages"]["report"] is True
    with RunFolder(run):
        _, out, _ = call("status", "--study", "digits", "--out", run)
    assert "a process works on it" in out


def test_without_out_the_run_folder_is_named_after_the_study(call, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    check_refused(call("status", "--study", "digits"), "runs/digits holds no run")
