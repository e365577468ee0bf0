from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from report.run_folder import GROUPS
from report.run_folder import RunFolder

from dpod_search.errors import CheckpointError
from dpod_search.errors import RunFolderError
from dpod_search.report import read_run


def test_reads_back_what_was_written(run: RunFolder) -> None:
    read = read_run(run.write())
    assert read.search.study == "digits"
    assert [objective.name for objective in read.search.objectives] == ["accuracy", "macs"]
    assert len(read.trials) == len(run.rows)
    for trial, row in zip(read.trials, run.rows, strict=True):
        assert trial.fate == row["fate"]
        assert trial.values.get("accuracy", "") == row["accuracy"]
        assert trial.values["params"] == row["params"]
        assert trial.on_front == (row["number"] in run.front)
        assert ("accuracy" in trial.predicted) == (row["predicted_accuracy"] != "")
    assert read.front is not None
    assert [member.trial for member in read.front.members] == run.front
    assert read.environment is not None
    shown = {"python": "3.11", "versions.numpy": "2.4", "n_threads": "2"}
    assert read.environment == read.environment | shown


def test_footprints_may_be_whole_floats(run: RunFolder) -> None:
    run.documents["search.json"]["full"]["macs"] = 640000.0
    for row in run.rows:
        row["macs"] = float(row["macs"])
    assert read_run(run.write()).search.full["macs"] == 640000


def test_the_run_says_which_footprints_there_are(run: RunFolder) -> None:
    run.add_footprint("toy_bytes", 10)
    run.replace_objectives({"accuracy": "maximize", "toy_bytes": "minimize"})
    read = read_run(run.write())
    names = ("macs", "params", "weight_bytes", "toy_bytes")
    assert read.search.footprints == names
    assert [objective.is_footprint for objective in read.search.objectives] == [False, True]
    assert read.trials[0].values["toy_bytes"] == run.rows[0]["macs"] // 10
    assert read.front is not None
    assert read.front.footprints == names
    assert all(m.footprint["toy_bytes"] == m.macs // 10 for m in read.front.members)


def test_an_interval_may_have_no_ends(run: RunFolder) -> None:
    guessed = [row for row in run.rows if row["predicted_accuracy"] != ""]
    guessed[0] |= {"predicted_accuracy_low": "-inf", "predicted_accuracy_high": "inf"}
    guessed[1] |= {"predicted_accuracy_low": "", "predicted_accuracy_high": ""}
    trials = {trial.number: trial for trial in read_run(run.write()).trials}
    for row in guessed[:2]:
        assert trials[row["number"]].predicted["accuracy"].covers(-1e9)


def test_a_card_was_never_loaded_and_has_no_difference(run: RunFolder) -> None:
    files = run.documents["exported/manifest.json"]["models"][0]["files"]
    files["card"] = {"path": "0/README.md", "sha256": "0f" * 32, "bytes": 900}
    exported = read_run(run.write()).exported
    assert exported is not None
    found = {kind: file.max_difference for kind, file in exported[0].files.items()}
    assert found == {"safetensors": 1.2e-6, "card": None}


def test_what_an_earlier_search_left_is_left_out(run: RunFolder) -> None:
    front = run.documents["front.json"]
    stale, gone = front["members"][2], front["members"][3]
    stem = 2 if stale["widths"]["stem"] != 2 else 4
    stale["widths"] = {**stale["widths"], "stem": stem}
    gone["trial"] = 999
    kept = [m["trial"] for m in front["members"] if m is not stale and m is not gone]
    full = {"trial": 998, "folder": "998", "widths": dict(GROUPS), "macs_share": 1.0}
    front["members"].append(front["members"][0] | front["full"] | full)
    models = run.documents["exported/manifest.json"]["models"]
    models[2]["widths"], models[3]["trial"] = stale["widths"], 999
    read = read_run(run.write())
    assert read.front is not None
    assert [m.trial for m in read.front.members if not m.is_full] == kept
    # The full net is the same one, but that trial is not.
    assert [m.trial for m in read.front.members if m.is_full] == [None]
    assert read.front.n_stale == 2
    assert read.exported is not None
    assert [model.trial for model in read.exported] == kept
    for member in front["members"]:
        member["trial"] = 999
    assert read_run(run.write()).front is None


def test_latency_and_one_shot_choices_are_optional(run: RunFolder) -> None:
    read = read_run(run.write())
    assert read.latency is None
    assert read.oneshot is None
    assert read.front is not None
    assert all(m.measured_latency_share is None for m in read.front.members)


def test_reads_the_error_and_the_device_of_modelled_latency(run: RunFolder) -> None:
    written = run.model_latency()
    read = read_run(run.write())
    assert read.latency is not None
    assert read.latency.mape == written["mape"]
    assert read.latency.n_held_out == 16
    assert "Toy 9000" in read.latency.describe_device()
    assert read.front is not None
    for member, document in zip(
        read.front.members, run.documents["front.json"]["members"], strict=True
    ):
        assert member.measured_latency_share == document["measured_latency_share"]
        share = read.front.find_latency_share(member)
        assert share == pytest.approx(document["measured_latency_share"] - 0.03, abs=1e-4)


def test_a_latency_model_of_an_earlier_search_is_not_this_one_s(run: RunFolder) -> None:
    run.model_latency()
    for name in ("search.json", "front.json"):
        run.documents[name]["footprints"].remove("latency")
    assert read_run(run.write()).latency is None


def test_reads_what_was_chosen_at_once(run: RunFolder) -> None:
    written = run.skip_search()
    read = read_run(run.write()).oneshot
    assert read is not None
    assert read.method == "mdp"
    assert read.budgets == ("macs<=10%", "macs<=60%", "params<=9")
    assert [choice.is_proven for choice in read.choices] == [True, False]
    assert [dict(c.widths) for c in read.choices] == [c["widths"] for c in written["choices"]]
    assert read.choices[0].measured_share is None


def test_choices_of_a_run_that_searches_by_now_are_not_its_own(run: RunFolder) -> None:
    run.skip_search()
    run.config = run.config.replace('method = "mdp"', 'method = ""')
    assert read_run(run.write()).oneshot is None


@pytest.mark.parametrize(
    ("name", "old", "new", "told"),
    [
        ("latency.json", '"mape": 0.043', '"mape": NaN', "mape must be a finite number"),
        ("latency.json", '"n_threads": 1', '"n_threads": 0', "device.n_threads must be a whole"),
        ("latency.json", "{", "", "latency.json is damaged"),
        ("latency.json", '"device": {', '"machine": {', "device must be an object"),
        (
            "front.json",
            '"measured_latency_share": ',
            '"measured_latency_share": [], "x": ',
            "a number",
        ),
        ("oneshot.json", '"method": "mdp"', '"method": 7', "method must be text"),
        ("oneshot.json", '"stem": ', '"stem": -', "widths.stem must be a whole number"),
        ("oneshot.json", '"is_proven": true', '"is_proven": 1', "is_proven must be true or false"),
        ("oneshot.json", "{", "", "oneshot.json is damaged"),
    ],
)
def test_damaged_latencies_and_choices_give_one_clear_line(
    run: RunFolder, name: str, old: str, new: str, told: str
) -> None:
    run.model_latency()
    run.skip_search()
    folder = run.write()
    replace(name, old, new)(folder)
    with pytest.raises(CheckpointError) as caught:
        read_run(folder)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def spoil_json(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text("{")


def replace(name: str, old: str, new: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))

    return spoil


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (spoil_json("search.json"), "search.json is damaged"),
        (spoil_json("training.json"), "training.json is damaged"),
        (spoil_json("front.json"), "front.json is damaged"),
        (spoil_json("exported/manifest.json"), "manifest.json is damaged"),
        (spoil_json("config.toml"), "config.toml is damaged"),
        (lambda f: (f / "path.json").write_text("[]"), "the file must be a JSON object"),
        (lambda f: (f / "config.toml").write_bytes(b"\xff"), "config.toml is damaged"),
        (lambda f: (f / "config.toml").write_text("a = " + "[" * 3_000), "config.toml is damaged"),
        (lambda f: (f / "front.json").write_text("[" * 100_000), "front.json is damaged"),
        (replace("search.json", '"maximize"', '"up"'), "objectives[0].direction must be one of"),
        (replace("search.json", '"maximize"', '["up"]'), "objectives[0].direction must be one of"),
        (replace("search.json", '"study": "digits"', '"study": 3'), "study must be text, got 3"),
        (replace("search.json", '"macs": 640000', '"macs": 0'), "full.macs must be a whole"),
        (replace("search.json", '["macs", "params"', '["params"'), "with macs among them"),
        (replace("front.json", '"footprints": ["macs"', '"footprints": [3'), "a list of texts"),
        (replace("trials.csv", "weight_bytes", "toy_bytes"), "with 'weight_bytes' among them"),
        (replace("search.json", '"accuracy": 0.965', '"accuracy": NaN'), "a finite number"),
        (replace("search.json", '"failed": 1', '"failed": -1'), "counts.failed must be a whole"),
        (replace("search.json", '"front": [', '"front": ["a", '), "front must be a list of whole"),
        (replace("search.json", '"front": [', '"front": [9999, '), "front must be trials of"),
        (replace("search.json", '"objectives"', '"aims"'), "objectives must be a list, got"),
        (replace("search.json", '"audit": {', '"audit": 3, "was": {'), "audit must be an object"),
        (replace("training.json", '"history": [', '"history": [3, '), "a list of objects"),
        (
            replace("training.json", '"seconds": 31.5', '"seconds": "x"'),
            "seconds must be a number",
        ),
        (replace("front.json", '"on_front": true', '"on_front": 1'), "must be true or false"),
        (replace("front.json", '"knee": false', '"knee": 1'), "knee must be true or false"),
        (replace("front.json", '"budgets": []', '"budgets": [3]'), "budgets must be a list of te"),
        (replace("search.json", '"stem": 0.2', '"stem": "x"'), "importance.accuracy.stem must"),
        (replace("search.json", '"macs": 0.1', '"macs": null'), "shares.macs must be a number"),
        (replace("training.json", '"test": 400', '"test": "x"'), "data.sizes.test must be"),
        (
            replace("exported/manifest.json", '"bytes"', '"test_accuracy": "x", "bytes"'),
            "safetensors.test_accuracy must be a number",
        ),
        (replace("front.json", '"stem": 16', '"stem": 0'), "widths.stem must be a whole number"),
        (replace("trials.csv", ",evaluated,", ",lost,"), "line 2, fate must be one of"),
        (replace("trials.csv", "0,evaluated,", "x,evaluated,"), "line 2, number must be a number"),
        (replace("trials.csv", "0,evaluated,", ",evaluated,"), "number must be a whole number"),
        (replace("trials.csv", "0,evaluated,", "1.5,evaluated,"), "must be a whole number"),
        (replace("trials.csv", "0,evaluated,", "1,evaluated,"), "number must be different on"),
        (replace("trials.csv", "path,0,False", "path,0,maybe"), "on_front must be true or false"),
        (replace("trials.csv", "path,0,True", "path,0"), "as many cells as the first line has"),
        (replace("trials.csv", "width:stem", "stem"), "with 'width:stem' among them"),
        (replace("trials.csv", "evaluated,path", 'evaluated,"path'), "trials.csv is damaged"),
        (lambda f: (f / "trials.csv").write_bytes(b"\xff\n"), "trials.csv is damaged"),
        (lambda f: (f / "trials.csv").write_text(""), "the first line must be the columns"),
    ],
)
def test_a_damaged_file_gives_one_clear_line(
    run: RunFolder, spoil: Callable[[Path], None], told: str
) -> None:
    folder = run.write()
    spoil(folder)
    with pytest.raises(CheckpointError) as caught:
        read_run(folder)
    message = str(caught.value)
    assert told in message
    assert "\n" not in message
    assert str(folder) in message


@pytest.mark.parametrize(
    "name", ["search.json", "trials.csv", "config.toml", "exported/manifest.json", "path.json"]
)
def test_no_file_of_a_run_is_a_link(run: RunFolder, tmp_path: Path, name: str) -> None:
    file = run.write() / name
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunFolderError, match="is a link, and a run follows none"):
        read_run(run.folder)


@pytest.mark.parametrize(
    ("name", "bound"), [("trials.csv", "trials._MAX_BYTES"), ("config.toml", "run._MAX_CONFIG")]
)
def test_a_file_has_a_bound_before_it_is_read(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, name: str, bound: str
) -> None:
    folder = run.write()
    (folder / name).write_text(" " * 5_001)
    monkeypatch.setattr(f"dpod_search.records.{bound}", 5_000)
    with pytest.raises(CheckpointError, match=f"{name} is damaged .*at most 5,000 are read"):
        read_run(folder)


def test_what_is_not_in_a_file_is_not_believed_of_it(run: RunFolder) -> None:
    run.documents["front.json"] |= {"n_stale": 3}
    run.documents["front.json"]["members"][0]["is_full"] = True
    run.documents["search.json"]["objectives"][0]["is_footprint"] = True
    read = read_run(run.write())
    assert read.front is not None
    assert (read.front.n_stale, read.front.members[0].is_full) == (0, False)
    assert [objective.is_footprint for objective in read.search.objectives] == [False, True]
    assert "is_footprint" not in read.search.to_json()["objectives"][1]


def test_a_search_needs_an_objective(run: RunFolder) -> None:
    run.documents["search.json"]["objectives"] = []
    with pytest.raises(CheckpointError, match="a list of at least one objective"):
        read_run(run.write())
