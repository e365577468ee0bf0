"""Commands that run stages, from the command line to what they print; ``mdp`` above all."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from pipeline.clock import LATENCY
from pipeline.clock import FakeClock
from pipeline.tiny import OVERRIDES
from report.run_folder import RunFolder

from dpod_search.errors import SolverError
from dpod_search.files import read_json
from dpod_search.pipeline.stages import oneshot
from dpod_search.programs import solve_budget


SETS = [f"--set={item}" for item in (*OVERRIDES, 'export.formats=["safetensors"]')]


@pytest.fixture
def call(call_main, monkeypatch, tmp_path):
    """Run ``mdp`` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *more: call_main("mdp", "--study", "digits", *SETS, *more)


def check_refused(done, *parts):
    code, _, err = done
    lines = [line for line in err.splitlines() if line.startswith("dpod-search: ")]
    assert (code, len(lines)) == (2, 1), err
    for part in parts:
        assert part in lines[0], lines[0]


def test_a_study_that_is_searched_is_pruned_at_once(call, tmp_path):
    code, out, _ = call("-b", "macs<=25%, macs<=1", "--budget", "params<=50%")
    assert code == 0
    first, second, unmet, *_ = out.splitlines()
    assert first.startswith("mdp macs<=25% of the full net's; macs ")
    assert second.startswith("mdp params<=50% of the full net's; macs ")
    assert "% of the importance; proven optimal in " in first
    assert unmet.startswith("macs<=1: ")
    assert "macs<=25% of the full net's: trial 0" in out
    assert "macs<=1: " in out.split("params<=50% of the full net's: trial")[0]
    run = tmp_path / "runs" / "digits-mdp"
    assert read_json(run / "search.json")["study"] == "digits-mdp"
    code, out, err = call("-b", "macs<=25%,macs<=1", "-b", "params<=50%", "--json", "--quiet")
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert all(stage["was_done"] for stage in told["stages"])
    assert [choice["budget"] for choice in told["choices"]] == ["macs<=25%", "params<=50%"]
    assert told["front"]["unmet_budgets"].keys() == {"macs<=1"}


def test_without_finetuning_repaired_subnets_are_delivered(call, tmp_path):
    code, _, _ = call("-b", "macs<=40%", "--no-finetune")
    assert code == 0
    run = tmp_path / "runs" / "digits-mdp"
    for member in read_json(run / "front.json")["members"]:
        assert read_json(run / "finetuned" / member["folder"] / "result.json")["history"] == []
        assert member["validation_accuracy"] == member["validation_accuracy_before"]
    (trial,) = (m for m in read_json(run / "front.json")["members"] if m["macs_share"] < 1)
    assert trial["validation_accuracy"] == pytest.approx(trial["values"]["accuracy"], abs=0.005)


def test_methods_have_folders_of_their_own(call, tmp_path):
    code, out, _ = call("-b", "macs<=40%", "--method", "uniform")
    assert code == 0
    assert out.startswith("uniform macs<=40% of the full net's; macs ")
    assert "importance" not in out.splitlines()[0]
    assert (tmp_path / "runs" / "digits-uniform" / "front.json").is_file()


def test_quiet_prints_nothing(call, tmp_path):
    assert call("-b", "macs<=40%", "--quiet", "--out", tmp_path / "mine") == (0, "", "")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("-b", "macs<=1"), ("macs<=1: no subnet can meet", "smallest has")),
        (("-b", "macs<50%"), ("must read like",)),
        (("-b", "mac<=50%"), ("did you mean macs",)),
        (("-b", " , "), ("oneshot.budgets is empty",)),
        (("-b", "macs<=50%", "--method", "best"), ("oneshot.method", "mdp, uniform", "'best'")),
        (("-b", "latency<=50%", "--latency-table", "no.json"), ("no.json", "no latency table")),
    ],
)
def test_what_users_get_wrong_is_one_line(call, tmp_path, arguments, parts):
    check_refused(call("--quiet", *arguments), *parts)
    assert not (tmp_path / "runs").exists()


def test_a_solver_without_an_answer_is_one_line(call, monkeypatch):
    def solve(*arguments, **options):
        raise SolverError("in 60 seconds no widths were found")

    monkeypatch.setattr(oneshot, "solve_budget", solve)
    check_refused(call("--quiet", "-b", "macs<=50%"), "in 60 seconds no widths")


def test_a_gap_is_printed(call, monkeypatch):
    def solve(*arguments, **options):
        found = solve_budget(*arguments, **options)
        bound = 1.05 * found.solution.value
        return replace(found, solution=replace(found.solution, bound=bound, is_proven=False))

    monkeypatch.setattr(oneshot, "solve_budget", solve)
    code, out, _ = call("-b", "macs<=50%")
    assert code == 0
    assert "% of the importance; gap 5.0 % in " in out.splitlines()[0]


def test_a_table_of_another_device_is_told_of(call, monkeypatch, tmp_path):
    FakeClock().attach(monkeypatch)
    sets = [f"--set={item}" for item in LATENCY]
    budget = ("-b", "latency<=60%", *sets)
    code, out, _ = call(*budget)
    assert code == 0
    assert " ms modelled; measured " in out.splitlines()[0]
    assert "another device" not in out
    table = read_json(tmp_path / "runs" / "digits-mdp" / "latency_table.json")
    table["device"]["processor"] = "a telephone"
    (tmp_path / "telephone.json").write_text(json.dumps(table))
    code, out, _ = call(*budget, "--latency-table", "telephone.json", "--out", "other")
    assert code == 0
    assert "latencies are those of another device than this one (processor: a telephone" in out
    assert "measured" not in out.splitlines()[0]


def test_pngs_are_refused_before_anything_is_written(call_main, monkeypatch, tmp_path):
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "none"))
    folder = RunFolder(tmp_path).write()
    done = call_main("report", "--study", folder / "config.toml", "--out", folder, "--png")
    check_refused(done, "PNGs need")
    assert not (folder / "report.html").exists()
