from __future__ import annotations

import csv
import html
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from browser import open_page
from report.run_folder import RunFolder

from dpod_search.errors import ConfigError
from dpod_search.errors import RunFolderError
from dpod_search.report import Drawing
from dpod_search.report import write_comparison
from dpod_search.report.comparison.figures import draw_finetuned
from dpod_search.report.comparison.figures import draw_growth
from dpod_search.report.comparison.runs import read_runs


def make_run(folder: Path, n_trials: int) -> RunFolder:
    folder.mkdir()
    return RunFolder(folder, n_trials)


@pytest.fixture
def runs(tmp_path: Path) -> list[RunFolder]:
    """Two runs of the same data and objectives, one of them shorter."""
    return [make_run(tmp_path / name, n) for name, n in (("first", 120), ("second", 60))]


def compare(runs: list[RunFolder]) -> Path:
    folders = [run.write() for run in runs]
    return write_comparison(folders, runs[0].folder.parent / "out" / "compare.html")[0]


def read_csv(page: Path, part: str) -> list[dict[str, str]]:
    with page.with_name(f"compare-{part}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_fronts_are_those_of_the_runs(runs: list[RunFolder]) -> None:
    page = compare(runs)
    for part, key in (("searched", "accuracy"), ("finetuned", "test_accuracy")):
        rows = read_csv(page, part)
        for run in runs:
            found = {
                int(row["trial"]): float(row[key]) for row in rows if row["run"] == run.folder.name
            }
            members = {m["trial"]: m for m in run.documents["front.json"]["members"]}
            by_number = {row["number"]: row for row in run.rows}
            expected = (
                {number: by_number[number]["accuracy"] for number in run.front}
                if part == "searched"
                else {number: member["test_accuracy"] for number, member in members.items()}
            )
            assert found == pytest.approx(expected)


def test_hypervolumes_share_one_scale(runs: list[RunFolder]) -> None:
    # The short run is the start of the long one: on one scale they agree as far as it goes.
    runs[1].rows = runs[0].rows[:60]
    runs[1].documents["search.json"]["front"] = []
    runs[1].documents["front.json"]["members"] = []
    rows = read_csv(compare(runs), "growth")
    long, short = (
        [float(row["hypervolume"]) for row in rows if row["run"] == run.folder.name]
        for run in runs
    )
    assert 0 < len(short) < len(long)
    assert short == pytest.approx(long[: len(short)])


def test_picks_are_the_best_within_the_same_budget(runs: list[RunFolder]) -> None:
    rows = read_csv(compare(runs), "picks")
    assert len(rows) == 10
    for row in rows:
        (run,) = [run for run in runs if run.folder.name == row["run"]]
        members = run.documents["front.json"]["members"]
        within = [m for m in members if m["macs"] <= int(row["budget"])]
        best = max(within, key=lambda m: m["validation_accuracy"], default={"trial": ""})
        assert row["trial"] == str(best["trial"])


def test_what_differs_is_listed_and_nothing_else(runs: list[RunFolder]) -> None:
    runs[1].config = runs[1].config.replace("n_trials = 120", "n_trials = 60")
    settings = {row["setting"]: row for row in read_csv(compare(runs), "settings")}
    assert settings["search.n_trials"] == {
        "setting": "search.n_trials",
        "first": "120",
        "second": "60",
    }
    assert set(settings) == {"search.n_trials", "trials"}


def test_the_stairs_join_what_validation_chose(runs: list[RunFolder]) -> None:
    members = runs[0].documents["front.json"]["members"]
    members[2]["on_front"] = False
    drawing = draw_finetuned(read_runs([run.write() for run in runs]))
    assert isinstance(drawing, Drawing)
    stairs = drawing.figure.data[0]
    assert members[2]["macs"] not in stairs.x
    assert list(stairs.x) == sorted(m["macs"] for m in members if m["on_front"])


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda run: run.replace_objectives({"macs": "minimize"}), "their objectives differ"),
        (
            lambda run: setattr(
                run,
                "config",
                run.config.replace('name = "digits"\nroot', 'name = "cifar10"\nroot'),
            ),
            "their data differ",
        ),
        (
            lambda run: run.documents["training.json"]["data"]["sizes"].update(test=40),
            "their data differ",
        ),
        (
            lambda run: run.documents["training.json"]["data"].update(fingerprint="beef"),
            "their samples differ",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_line(
    runs: list[RunFolder], spoil: Callable[[RunFolder], object], told: str
) -> None:
    spoil(runs[1])
    with pytest.raises(
        ConfigError, match=f"first and second cannot be compared: {told}"
    ) as caught:
        compare(runs)
    assert "\n" not in str(caught.value)
    assert not (runs[0].folder.parent / "out").exists()


def test_another_seed_is_compared_and_told(runs: list[RunFolder]) -> None:
    runs[1].config = runs[1].config.replace("seed = 0", "seed = 1")
    runs[1].documents["training.json"]["data"]["fingerprint"] = "beef"
    assert "split the data differently" in compare(runs).read_text()


def test_runs_of_one_name_are_told_apart(runs: list[RunFolder], tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    twin = make_run(tmp_path / "a" / "first", 40)
    page = write_comparison([runs[0].write(), twin.write()], tmp_path / "compare.html")[0]
    assert {row["run"] for row in read_csv(page, "picks")} == {
        f"{tmp_path.name}/first",
        "a/first",
    }


@pytest.mark.parametrize("n", [0, 1, 7])
def test_two_to_six_runs(tmp_path: Path, n: int) -> None:
    with pytest.raises(ConfigError, match="2 to 6 run folders"):
        write_comparison([tmp_path / str(i) for i in range(n)], tmp_path / "compare.html")


def test_a_run_is_not_compared_with_itself(runs: list[RunFolder]) -> None:
    with pytest.raises(ConfigError, match="named twice"):
        write_comparison([runs[0].write()] * 2, runs[0].folder / "compare.html")


def test_a_folder_without_a_search_is_told(runs: list[RunFolder], tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="the search stage has not run there"):
        write_comparison([runs[0].write(), tmp_path / "empty"], tmp_path / "compare.html")


def test_before_finetuning_the_searched_fronts_are_left(runs: list[RunFolder]) -> None:
    for run in runs:
        del run.documents["front.json"]
    text = compare(runs).read_text()
    assert "None of the runs has finetuned its front yet." in text
    assert text.count('<script type="application/json">') == 2


def test_runs_without_a_search_carry_their_method(runs: list[RunFolder]) -> None:
    runs[1].rows = runs[0].rows
    runs[1].front = runs[0].front
    for name in ("search.json", "front.json"):
        runs[1].documents[name] = json.loads(json.dumps(runs[0].documents[name]))
    for run, method in zip(runs, ("mdp", "uniform"), strict=True):
        run.skip_search(method)
    page = compare(runs)
    text = page.read_text()
    names = ["first (mdp, no search)", "second (uniform, no search)"]
    assert " and ".join(names) in text
    assert "2 subnets for 2 of 3 budgets, 2 finetuned" in text
    # Nothing grew, so nothing is said of it.
    assert "How the fronts grew" not in text
    assert not page.with_name("compare-growth.csv").exists()
    picks = read_csv(page, "picks")
    assert [row["run"] for row in picks[:2]] == names
    given = [row["budget"] for row in picks if "<=" in row["budget"]]
    assert given == [b for b in ("macs<=10%", "macs<=60%", "params<=9") for _ in names]
    assert picks[0]["trial"] == str(runs[0].rows[0]["number"])
    assert picks[4]["trial"] == ""
    # A subnet that another one beats was chosen all the same.
    assert len(read_csv(page, "searched")) == 4


def test_growth_is_that_of_the_runs_that_searched(runs: list[RunFolder]) -> None:
    runs[1].skip_search("taylor")
    page = compare(runs)
    assert {row["run"] for row in read_csv(page, "growth")} == {"first"}
    assert "Left out, as nothing grew there: second (taylor, no search)." in page.read_text()


@pytest.mark.e2e
@pytest.mark.parametrize("is_dark", [False, True])
def test_the_page_is_drawn_in_silence_and_without_a_network(
    runs: list[RunFolder], tmp_path: Path, is_dark: bool, hostile: str
) -> None:
    for run in runs:
        run.rename_group("stem", hostile)
        run.config = run.config.replace("[search]", f"[search]\nsampler = {json.dumps(hostile)}")
    runs[1].config += "refit_every = 9\n"
    page = open_page(compare(runs).as_uri(), tmp_path / "out", is_dark=is_dark)
    for figure in ("finetuned", "searched", "growth"):
        section = page.dom.partition(f'<section id="figure-{figure}"')[2].partition("</section>")[
            0
        ]
        assert len(re.findall(r'class="(?:point|js-line)"', section)) >= 2, figure
    assert html.escape("first and second") in page.dom
    assert "owned</title>" not in page.dom
    assert page.console == ()
    assert page.requests == ()


def test_a_name_is_no_part_of_a_template(runs: list[RunFolder], tmp_path: Path) -> None:
    folder = runs[0].write().rename(tmp_path / "%{x} %{y}")
    drawing = draw_growth(read_runs([folder, runs[1].write()]))
    named = next(trace for trace in drawing.figure.data if trace.name == "%{x} %{y}")
    assert "%{x} %{y}" not in named.hovertemplate
    assert "%{fullData.name}" in named.hovertemplate
