from __future__ import annotations

import csv
import html
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from report import run_folder
from report.run_folder import GROUPS
from report.run_folder import RunFolder

import dpod_search.errors
from dpod_search.errors import CheckpointError
from dpod_search.errors import RunFolderError
from dpod_search.figures.hover import describe_trial
from dpod_search.report import FIGURES
from dpod_search.report import read_run
from dpod_search.report import write_report
from dpod_search.report.choices import show_picks
from dpod_search.report.sections import show_finetuned
from dpod_search.report.sections import show_searched


# Latency is left out where it is no objective.
FIGURE_NAMES = {kind.name for kind in FIGURES} - {"latency"}


def read_csv(folder: Path, figure: str) -> list[dict[str, str]]:
    with (folder / "figures" / f"{figure}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_writes_one_page_and_the_numbers_of_every_figure(run: RunFolder) -> None:
    folder = run.write()
    assert write_report(folder) == folder / "report.html"
    assert {path.stem for path in (folder / "figures").iterdir()} == FIGURE_NAMES
    page = (folder / "report.html").read_text()
    assert page.count('<script type="application/json">') == len(FIGURE_NAMES)
    assert not re.findall(r'(?:src|href)="(?!#|\./)', page.split("<script>")[0])


def test_same_folder_gives_the_same_page(run: RunFolder) -> None:
    folder = run.write()
    first = write_report(folder).read_bytes()
    assert write_report(folder).read_bytes() == first


def test_csv_holds_what_the_trials_hold(run: RunFolder) -> None:
    write_report(run.write())
    rows = [row for row in read_csv(run.folder, "front") if row["kind"] == "trial"]
    assert len(rows) == len(run.rows)
    for row, trial in zip(rows, run.rows, strict=True):
        expected = trial["accuracy"] if trial["accuracy"] != "" else trial["predicted_accuracy"]
        assert row["accuracy"] == str(expected)
        assert row["is_predicted"] == str(trial["accuracy"] == "" and expected != "")
        assert int(row["on_front"] == "True") == int(trial["number"] in run.front)
    ratios = read_csv(run.folder, "widths")[1:]
    member = run.documents["front.json"]["members"][0]
    assert [float(row[f"trial_{member['trial']}"]) * int(row["full"]) for row in ratios] == list(
        member["widths"].values()
    )


def test_summary_tells_counts_and_loss_on_test(run: RunFolder) -> None:
    run.documents["front.json"]["members"][3] |= {
        "validation_accuracy": 0.981,
        "test_accuracy": 0.965,
        "macs_share": 0.1106,
    }
    page = write_report(run.write()).read_text()
    counts = run.documents["search.json"]["counts"]
    assert f"{counts['evaluated'] + counts['audited']} subnets evaluated" in page
    assert f"{counts['pruned-surrogate']} pruned by the surrogate" in page
    trial = run.documents["front.json"]["members"][3]["trial"]
    assert f"the subnet of trial {trial} with 11.1\u00a0% of the full net" in page
    assert "96.5\u00a0% on test, the full net 98.0\u00a0%: 1.5 points less accurate." in page
    assert "false-prune rate of 14.3\u00a0%" in page
    assert "They are 87.5\u00a0% of the 8 trials that were drawn not to be screened" in page


def test_summary_tells_what_no_number_of_macs_holds(run: RunFolder) -> None:
    assert "No number of MACs" not in write_report(run.write()).read_text()
    run.documents["search.json"]["uncounted"] = ["rnn (net.py:8)", "<b>", "c", "d", "e"]
    page = write_report(run.write()).read_text()
    assert "holds those of rnn (net.py:8), &lt;b&gt;, c + 2 more: no closed form" in page


def test_a_footprint_that_the_report_never_heard_of_is_shown(run: RunFolder) -> None:
    run.add_footprint("toy_bytes", 10)
    run.add_footprint("n_kernels", 1000)
    run.replace_objectives({"accuracy": "maximize", "toy_bytes": "minimize"})
    run.documents["search.json"]["constraints"] = {"n_kernels": "<= 80%"}
    page = write_report(run.write()).read_text()
    assert "minimize toy bytes" in page
    assert "Constraints: n kernels &lt;= 80%." in page
    tables = re.findall("<caption>(.*?)</caption>(.*?)</thead>", page, flags=re.DOTALL)
    for words, heads in (
        ("cheapest finetuned", ("toy (KiB)", "n kernels")),
        ("finetuned members", ("toy (KiB)", "n kernels", "weights (KiB)")),
        ("before finetuning", ("toy bytes", "n kernels", "weight bytes")),
    ):
        (found,) = [columns for caption, columns in tables if words in caption]
        assert all(f">{head}</th>" in found for head in heads)
    full = run.documents["front.json"]["full"]
    assert f'<td class="number">{full["toy_bytes"] / 1024:,.1f}</td>' in page


@pytest.mark.parametrize(
    ("test_accuracy", "told"),
    [
        (0.965, "98.0\u00a0%: 1.5 points less accurate."),
        (0.98, "98.0\u00a0%: equally accurate."),
        (0.99, "98.0\u00a0%: 1.0 point more accurate."),
    ],
)
def test_summary_tells_losses_and_gains(run: RunFolder, test_accuracy: float, told: str) -> None:
    for member in run.documents["front.json"]["members"]:
        member["test_accuracy"] = test_accuracy
    assert told in write_report(run.write()).read_text()


def test_a_full_net_that_was_no_trial_is_called_by_its_name(run: RunFolder) -> None:
    front = run.documents["front.json"]
    full = {"trial": None, "folder": "full", "widths": dict(GROUPS), "macs_share": 1.0}
    front["members"].append(front["members"][0] | front["full"] | full)
    model = run.documents["exported/manifest.json"]["models"][0] | {"trial": None}
    run.documents["exported/manifest.json"]["models"].append(model)
    page = write_report(run.write()).read_text()
    assert "None" not in re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert read_csv(run.folder, "widths")[1]["full_net"] == "1.0"
    assert page.count('<th scope="row" class="text">full net</th>') == 3


def test_without_members_or_audits_or_constraints(run: RunFolder) -> None:
    run.documents["front.json"]["members"] = []
    counts = dict.fromkeys(("n_audited", "n_wrong", "n_drawn"), 0)
    nothing = dict.fromkeys(run.documents["search.json"]["audit"]) | counts
    run.documents["search.json"] |= {"audit": nothing, "constraints": {}}
    page = write_report(run.write()).read_text()
    assert "No subnet was finetuned." in page
    assert "No pruned trial was audited" in page
    assert "There were no constraints." in page


@pytest.mark.parametrize(
    ("missing", "command"),
    [
        ("training.json", "dpod-search train --run {folder}"),
        ("path.json", "dpod-search train --run {folder}"),
        ("front.json", "dpod-search finetune --run {folder}"),
        ("exported/manifest.json", "dpod-search export --run {folder}"),
        ("environment.json", "dpod-search run writes it"),
    ],
)
def test_a_stage_that_has_not_run_is_named(run: RunFolder, missing: str, command: str) -> None:
    folder = run.write()
    command = command.format(folder=folder)
    assert command not in write_report(folder).read_text()
    (folder / missing).unlink()
    assert command in write_report(folder).read_text()


def test_only_the_search_is_needed(run: RunFolder) -> None:
    folder = run.write()
    write_report(folder)
    for name in ("config.toml", "environment.json", "training.json", "path.json", "front.json"):
        (folder / name).unlink()
    shutil.rmtree(folder / "exported")
    page = write_report(folder).read_text()
    assert page.count("dpod-search finetune --study digits --out") == 4
    # The numbers of figures that are gone must be gone as well.
    assert {path.stem for path in (folder / "figures").iterdir()} == FIGURE_NAMES - {
        "training",
        "path",
        "finetuned",
    }


@pytest.mark.parametrize("name", ["search.json", "trials.csv"])
def test_without_a_search_there_is_no_report(run: RunFolder, name: str) -> None:
    folder = run.write()
    (folder / name).unlink()
    with pytest.raises(RunFolderError, match="the search stage has not run there") as caught:
        write_report(folder)
    assert "\n" not in str(caught.value)
    assert not (folder / "report.html").exists()


def test_names_cannot_leave_their_place(run: RunFolder, hostile: str) -> None:
    search = run.documents["search.json"]
    search["study"] = hostile
    search["constraints"] = {hostile: hostile}
    run.documents["environment.json"] |= {"processor": hostile, "versions": {hostile: hostile}}
    run.documents["training.json"]["policy"] = hostile
    run.documents["exported/manifest.json"]["models"][0]["files"]["safetensors"]["path"] = hostile
    run.config = f"name = {json.dumps(hostile)}\n"
    run.rename_group("stem", hostile)
    for row in run.rows:
        row["reason"] = row["source"] = hostile
    page = write_report(run.write()).read_text()
    assert "owned</script>" not in page
    assert "<script>document" not in page
    assert html.escape(hostile) in page
    for block in re.findall(r'<script type="application/json">(.*?)</script>', page, re.DOTALL):
        assert json.loads(block)["layout"]
        assert "<" not in block


def test_names_that_are_no_text_are_shown_all_the_same(run: RunFolder) -> None:
    name = "\x1b[31m \u202egpj"
    run.documents["search.json"]["study"] = "caf\udce9"
    run.documents["training.json"]["policy"] = name
    run.rename_group("stem", name)
    for row in run.rows:
        row["reason"] = name
    page = write_report(run.write()).read_text(encoding="utf-8")
    assert "<h1>caf\\xe9</h1>" in page
    assert "\\x1b[31m \\u202egpj" in page
    assert not set(page) & set("\x1b\u202e")


def test_only_its_own_scripts_may_run(run: RunFolder) -> None:
    page = write_report(run.write()).read_text()
    policy = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    assert len(policy) == 1
    assert policy[0].startswith("default-src 'none'; script-src 'sha256-")
    assert "script-src 'unsafe" not in policy[0]
    assert "http" not in policy[0]


def test_neither_torch_nor_optuna_is_imported(run: RunFolder) -> None:
    # The package's own __init__ offers every room; it is left out to see this room alone.
    script = (
        "import pathlib, sys, types\n"
        "package = types.ModuleType('dpod_search')\n"
        "package.__path__ = [sys.argv[2]]\n"
        "sys.modules['dpod_search'] = package\n"
        "import dpod_search.report as report\n"
        "report.write_report(pathlib.Path(sys.argv[1]))\n"
        "assert not {'torch', 'optuna', 'sklearn'} & set(sys.modules)\n"
    )
    package = Path(dpod_search.errors.__file__).parent
    subprocess.run([sys.executable, "-c", script, str(run.write()), str(package)], check=True)


def test_2000_trials_over_20_groups_stay_below_8_mb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = {f"layer{i // 4}.{i % 4}.conv1": 16 * 2 ** (i // 5) for i in range(20)}
    monkeypatch.setattr(run_folder, "GROUPS", groups)
    monkeypatch.setattr(run_folder, "FULL_MACS", sum(groups.values()) * 4000)
    monkeypatch.setattr(
        run_folder, "SHARES", {name: {"macs": 0.1, "params": 0.1} for name in groups}
    )
    folder = RunFolder(tmp_path, n_trials=2000).write()
    assert write_report(folder).stat().st_size <= 8_000_000


def test_a_modelled_latency_is_never_0(run: RunFolder) -> None:
    run.model_latency()
    for holder in (*run.rows, *run.documents["front.json"]["members"]):
        holder["latency"] = 0.19
    run.documents["search.json"]["full"]["latency"] = 0.21
    read = read_run(run.write())
    assert "latency (ms, modelled): 0.19<br>" in describe_trial(read.trials[0], read.search)
    for shown in (show_finetuned(read), show_searched(read), show_picks(read)):
        assert "latency (ms, modelled)" in shown
        assert '<td class="number">0.19</td>' in shown


def test_what_was_measured_besides_stands_with_the_finetuned(run: RunFolder) -> None:
    run.replace_objectives({"accuracy": "maximize", "latency_ms": "minimize"})
    run.documents["search.json"]["full"]["latency_ms"] = 0.5
    for member in run.documents["front.json"]["members"]:
        member["values_after"] = {"accuracy": 0.9, "latency_ms": 0.0312}
    read = read_run(run.write())
    for shown in (show_finetuned(read), show_picks(read)):
        assert "latency (ms)</th>" in shown
        assert '<td class="number">0.0312</td>' in shown
    run.documents["front.json"]["members"][0]["values_after"]["latency_ms"] = "fast"
    with pytest.raises(CheckpointError, match="latency_ms"):
        read_run(run.write())


def test_a_share_below_the_last_digit_is_not_0(run: RunFolder) -> None:
    for group in run.documents["search.json"]["groups"]:
        group["shares"] = {"macs": 0.0004, "params": 0.0004}
    read = read_run(run.write())
    drawing = next(kind for kind in FIGURES if kind.name == "footprint").draw(read)
    assert all("0.04" in text for trace in drawing.figure.data for text in trace.hovertext)


def test_what_is_foretold_stands_between_before_and_after(run: RunFolder) -> None:
    assert "foretold" not in write_report(run.write()).read_text()
    members = run.documents["front.json"]["members"]
    members[0]["foretold"] = [0.9312, 0.9111, 0.9555]
    page = write_report(run.write()).read_text()
    heads = page[page.index("validation, before") :][:200]
    assert heads.index("validation, foretold") < heads.index("validation, after")
    assert ">93.1\u00a0% (91.1\u00a0% to 95.5\u00a0%)<" in page
