"""Widths chosen at once: the train stage, the choices, and what a run makes of them."""

from __future__ import annotations

import json
import logging
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pipeline.clock import LATENCY
from pipeline.clock import FakeClock
from pipeline.tiny import copy_run
from pipeline.tiny import load_tiny

from dpod_search.errors import ConfigError
from dpod_search.errors import InfeasibleError
from dpod_search.errors import RunFolderError
from dpod_search.errors import SolverError
from dpod_search.evaluation import Evaluator
from dpod_search.files import hash_file
from dpod_search.files import read_json
from dpod_search.oneshot import METHODS
from dpod_search.pipeline import RunFolder
from dpod_search.pipeline import run_stages
from dpod_search.pipeline import work
from dpod_search.pipeline.session import Session
from dpod_search.pipeline.stages import importance as importance_file
from dpod_search.pipeline.stages import oneshot
from dpod_search.pipeline.stages import training
from dpod_search.pipeline.status import read_status
from dpod_search.programs import solve_budget
from dpod_search.progress import SilentProgress
from dpod_search.supernet import Subnet
from dpod_search.weights import load_weights


DENSE = ('training.policy="dense"', "training.policy_options={}")
ALL = ["train", "search", "finetune"]
BUDGETS = ("macs<=25%", "macs<=50% and params<=60%")


def load_oneshot(*more: str, method: str = "mdp", budgets: tuple[str, ...] = BUDGETS):
    chosen = (f'oneshot.method="{method}"', f"oneshot.budgets={json.dumps(budgets)}")
    return load_tiny(*DENSE, *chosen, *more)


def open_session(folder: Path, config=None) -> Session:
    return Session(config or load_oneshot(), RunFolder(folder), SilentProgress())


def read_log(folder: Path, level: str) -> list[str]:
    lines = map(json.loads, (folder / "log.jsonl").read_text().splitlines())
    return [line["message"] for line in lines if line["level"] == level]


@pytest.fixture(scope="module")
def finished_oneshot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the width program, shared: read it, never change it."""
    folder = tmp_path_factory.mktemp("oneshot") / "run"
    run_stages(load_oneshot('export.formats=["safetensors"]'), folder)
    return folder


@pytest.fixture
def chosen(finished_oneshot: Path, tmp_path: Path) -> Path:
    """A finished run of one's own."""
    return copy_run(finished_oneshot, tmp_path / "run")


def test_choices_meet_their_budgets_and_are_finetuned_exported_and_reported(finished_oneshot):
    content = read_json(finished_oneshot / "oneshot.json")
    front = read_json(finished_oneshot / "front.json")
    assert (content["method"], content["unmet"]) == ("mdp", {})
    first, second = content["choices"]
    full = front["full"]
    assert (first["budget"], second["budget"]) == BUDGETS
    assert first["footprint"]["macs"] <= 0.25 * full["macs"]
    assert second["footprint"]["macs"] <= 0.5 * full["macs"]
    assert second["footprint"]["params"] <= 0.6 * full["params"]
    assert 0 < first["importance"] < second["importance"] < 1
    assert all(choice["is_proven"] and choice["gap"] < 1e-8 for choice in (first, second))
    assert front["budgets"] == list(BUDGETS)
    by_budget = {b: m for m in front["members"] for b in m["budgets"]}
    for choice in content["choices"]:
        assert by_budget[choice["budget"]]["widths"] == choice["widths"]
        assert by_budget[choice["budget"]]["macs"] == choice["footprint"]["macs"]
    assert [m["folder"] for m in front["members"]] == ["0", "1", "full"]
    exported = read_json(finished_oneshot / "exported" / "manifest.json")
    assert len(exported["models"]) == 3
    assert (finished_oneshot / "report.html").is_file()
    header, *rows = (finished_oneshot / "trials.csv").read_text().splitlines()
    sources = [row.split(",")[header.split(",").index("source")] for row in rows]
    assert sources == ["mdp", "mdp"]


def test_a_second_run_finds_all_stages_done(chosen):
    before = hash_file(chosen / "oneshot.json")
    outcomes = run_stages(load_oneshot('export.formats=["safetensors"]'), chosen)
    assert [outcome.was_done for outcome in outcomes] == [True] * 5
    assert hash_file(chosen / "oneshot.json") == before


def test_the_status_counts_the_choices(chosen):
    status = read_status(chosen)
    assert (status["trials"], status["n_trials"], status["limits"]) == ({"complete": 2}, 2, {})
    assert status["budgets"] == {BUDGETS[0]: 0, BUDGETS[1]: 1}
    (chosen / "oneshot.json").unlink()
    (chosen / "study.journal").unlink()
    assert read_status(chosen)["n_trials"] == 2


def test_the_full_net_alone_is_trained_and_its_units_put_in_order(chosen):
    kept = read_json(chosen / "training.json")
    path = read_json(chosen / "path.json")["profiles"]
    assert (kept["policy"], len(path)) == ("dense", 1)
    session = open_session(chosen)
    supernet = session.supernet
    assert path[0]["widths"] == dict(supernet.space.full)
    batch_size = session.config.evaluation.batch_size
    evaluator = Evaluator(supernet, session.calibration_images, batch_size=batch_size)
    accuracy = evaluator.evaluate(supernet.space.full, session.validation_batches).first
    assert accuracy == pytest.approx(kept["full"]["accuracy"], abs=1e-6)
    for scores in importance_file.find_importance(session).by_group():
        if scores is not None and len(scores) > 1:
            assert np.all(np.diff(scores) <= 1e-3 * scores[0])


def test_putting_units_in_order_leaves_the_full_net_as_it_is(tmp_path, monkeypatch):
    found = []

    def order(session):
        supernet = session.blank_supernet.eval()
        images = session.calibration_images[:64]
        with torch.no_grad():
            before = supernet.net(images)
            weights = [p.clone() for p in supernet.net.parameters()]
            left = order_units(session)
            after = supernet.net(images)
        moved = [not torch.equal(a, b) for a, b in zip(weights, supernet.net.parameters())]  # noqa: B905  (the same net)
        found.append((left, float((before - after).abs().max()), any(moved)))
        return left

    order_units = oneshot.order_units
    monkeypatch.setattr(training.oneshot, "order_units", order)
    run_stages(load_oneshot(), tmp_path / "run", stages=["train"])
    ((left, difference, is_moved),) = found
    assert left == {}
    assert difference < 1e-4
    assert is_moved


@pytest.mark.parametrize("method", [m for m in METHODS if m != "mdp"])
def test_every_method_chooses_within_the_budgets(method, tmp_path):
    run_stages(load_oneshot(method=method), tmp_path, stages=["train", "search"])
    content = read_json(tmp_path / "oneshot.json")
    full = open_session(tmp_path).footprint.measure(open_session(tmp_path).supernet.space.full)
    assert content["method"] == method
    first, second = content["choices"]
    assert 0.05 * full["macs"] < first["footprint"]["macs"] <= 0.25 * full["macs"]
    assert 0.25 * full["macs"] < second["footprint"]["macs"] <= 0.5 * full["macs"]
    criterion = read_json(tmp_path / "importance.json")["criterion"]
    assert criterion == ("magnitude" if method == "magnitude" else "taylor")


def test_the_program_keeps_more_importance_than_the_others(chosen):
    session = open_session(chosen)
    space = session.supernet.space
    tables = importance_file.make_tables(session, importance_file.find_importance(session))

    def measure(widths):
        return float(tables.value.at(np.array([space.to_rungs(widths)]))[0])

    best = read_json(chosen / "oneshot.json")["choices"][0]
    assert measure(space.make(best["widths"])) == pytest.approx(best["importance"])
    limit = best["footprint"]["macs"]
    rng = np.random.default_rng(0)
    drawn = [space.sample(rng) for _ in range(500)]
    within = [w for w in drawn if session.footprint.measure(w)["macs"] <= limit]
    assert len(within) > 20
    assert max(map(measure, within)) <= best["importance"] + 1e-9


def test_a_kill_in_the_middle_goes_on(tmp_path, finished_oneshot, monkeypatch):
    run, config = tmp_path / "run", load_oneshot()

    def fail(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(oneshot, "choose_widths", fail)
        patched.setattr(oneshot, "solve_budget", fail)
        with pytest.raises(KeyboardInterrupt):
            run_stages(config, run, stages=ALL)
    assert not (run / "oneshot.json").exists()
    outcomes = run_stages(config, run, stages=["train", "search"])
    assert [outcome.was_done for outcome in outcomes] == [True, False]
    run_stages(config, run, stages=["finetune"])
    for name in ("oneshot.json", "front.json"):
        mine, other = read_json(run / name), read_json(finished_oneshot / name)
        for choice in (*mine.get("choices", ()), *other.get("choices", ())):
            choice.pop("seconds")
        assert mine == other


def test_other_budgets_in_the_same_folder_keep_what_is_there(chosen):
    files = {name: chosen / "finetuned" / name / "model.safetensors" for name in "01"}
    before = {name: hash_file(file) for name, file in files.items()}
    config = load_oneshot(budgets=(BUDGETS[0], "macs<=70%"))
    outcomes = run_stages(config, chosen, stages=ALL)
    assert [outcome.was_done for outcome in outcomes] == [True, False, False]
    front = read_json(chosen / "front.json")
    assert front["budgets"] == [BUDGETS[0], "macs<=70%"]
    assert {m["folder"]: m["budgets"] for m in front["members"]} == {
        "0": [BUDGETS[0]],
        "2": ["macs<=70%"],
        "full": [],
    }  # fmt: skip  (a table)
    # That of the smaller budget is now cut from another one, the other is left alone.
    assert hash_file(files["1"]) == before["1"]
    assert read_status(chosen)["n_trials"] == 3
    # And back again: nothing is evaluated that was.
    run_stages(load_oneshot(), chosen, stages=ALL)
    assert read_status(chosen)["trials"] == {"complete": 3}
    assert [m["folder"] for m in read_json(chosen / "front.json")["members"]] == ["0", "1", "full"]
    assert {name: hash_file(file) for name, file in files.items()} == before


def test_another_method_in_the_same_folder_is_refused(chosen):
    with pytest.raises(RunFolderError, match='oneshot.method: "mdp" -> "uniform".*--out'):
        run_stages(load_oneshot(method="uniform"), chosen)


def test_given_weights_are_not_trained(chosen, tmp_path):
    session = open_session(chosen)
    weights = tmp_path / "given.safetensors"
    weights.write_bytes((chosen / "supernet.safetensors").read_bytes())
    config = load_oneshot(
        f'model.weights="{weights}"',
        "finetune.epochs=1",
        "finetune.lr=1e-12",
        "finetune.repair_steps=0",
        "finetune.chain=false",  # whose units are put in order anew
    )
    run = tmp_path / "other"
    run_stages(config, run, stages=ALL)
    kept = read_json(run / "training.json")
    assert (kept["n_steps"], kept["macs"]) == (0, 0)
    images = session.calibration_images[:64]
    given, own = session.supernet, open_session(run, config).supernet
    with torch.no_grad():
        torch.testing.assert_close(given.net(images), own.net(images), atol=1e-4, rtol=1e-3)
    # With a learning rate of next to nothing what is delivered is what was cut out of them.
    (member, *_) = read_json(run / "front.json")["members"]
    subnet = Subnet(own, own.space.make(member["widths"])).extract()
    cut = {name: value.clone() for name, value in subnet.named_parameters()}
    load_weights(subnet, run / "finetuned" / member["folder"] / "model.safetensors")
    for name, value in subnet.named_parameters():
        torch.testing.assert_close(value, cut[name], atol=1e-5, rtol=1e-3)


def test_unmet_budgets_are_told_and_the_others_go_on(tmp_path, caplog):
    config = load_oneshot(budgets=("macs<=1", "macs<=40%", "params<=1"))
    with caplog.at_level(logging.WARNING):
        run_stages(config, tmp_path, stages=ALL)
    front = read_json(tmp_path / "front.json")
    assert list(front["unmet_budgets"]) == ["macs<=1", "params<=1"]
    # What can be reached is named, and nobody can reach less.
    session = open_session(tmp_path, config)
    smallest = session.footprint.measure(session.supernet.space.smallest)
    assert f"{smallest['macs']:,}" in front["unmet_budgets"]["macs<=1"]
    assert "macs<=1" in caplog.text
    assert [m["budgets"] for m in front["members"]] == [["macs<=40%"], []]


@pytest.mark.parametrize("method", METHODS)
def test_budgets_that_none_can_meet_are_refused_before_the_training(method, tmp_path):
    config = load_oneshot(method=method, budgets=("macs<=1", "params<=0.001%"))
    with pytest.raises(InfeasibleError, match=r"macs<=1: .*smallest has [\d,]+.*params<=0.001%: "):
        run_stages(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("budget", "match"),
    [
        ("mac<=50%", "'mac<=50%'.*did you mean macs"),
        ("macs>=50%", "'macs>=50%'.*minimised"),
        ("accuracy>=0.9", "'accuracy>=0.9': accuracy is known only when a subnet is measured"),
    ],
)
def test_budgets_that_cannot_be_read_are_refused_before_the_training(tmp_path, budget, match):
    with pytest.raises(ConfigError, match=match) as error:
        run_stages(load_oneshot(budgets=(budget,)), tmp_path / "run")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_a_measured_latency_cannot_be_a_budget_and_the_modelled_one_is_named(tmp_path):
    config = load_oneshot(
        'search.objectives=["accuracy", "latency_ms"]', budgets=("latency_ms<=50%",)
    )
    with pytest.raises(ConfigError, match="latency_ms is known only.*bound latency, which"):
        run_stages(config, tmp_path / "run")


def test_the_studys_own_constraints_hold_too(tmp_path):
    config = load_oneshot('search.constraints={params="<= 30%", macs="<= 90%"}')
    run_stages(config, tmp_path, stages=["train", "search"])
    content = read_json(tmp_path / "oneshot.json")
    session = open_session(tmp_path, config)
    full = session.footprint.measure(session.supernet.space.full)
    first, second = (choice["footprint"] for choice in content["choices"])
    assert first["params"] <= 0.3 * full["params"]
    # Of a budget and a constraint on one footprint the lower one counts.
    assert second["params"] <= 0.3 * full["params"]


def test_a_program_without_a_proof_tells_its_gap(chosen, monkeypatch, caplog):
    def solve(*arguments, **options):
        found = solve_budget(*arguments, **options)
        bound = 1.25 * found.solution.value
        return replace(found, solution=replace(found.solution, bound=bound, is_proven=False))

    monkeypatch.setattr(oneshot, "solve_budget", solve)
    with caplog.at_level(logging.WARNING):
        run_stages(load_oneshot("oneshot.seconds=59"), chosen, stages=["search"])
    assert "at most 25.0 % below the optimum; raise oneshot.seconds" in caplog.text
    content = read_json(chosen / "oneshot.json")
    assert [round(choice["gap"], 6) for choice in content["choices"]] == [0.25, 0.25]
    assert not any(choice["is_proven"] for choice in content["choices"])
    # And raising them does something about it.
    monkeypatch.undo()
    run_stages(load_oneshot("oneshot.seconds=61"), chosen, stages=["search"])
    assert read_json(chosen / "oneshot.json")["choices"][0]["is_proven"]


def test_a_program_without_any_widths_is_an_error(chosen, monkeypatch):
    def solve(*arguments, **options):
        raise SolverError("in 1 seconds no widths were found")

    monkeypatch.setattr(oneshot, "solve_budget", solve)
    before = hash_file(chosen / "oneshot.json")
    with pytest.raises(SolverError):
        run_stages(load_oneshot("oneshot.seconds=1"), chosen, stages=["search"])
    assert hash_file(chosen / "oneshot.json") == before


def test_several_processes_choose_once(tmp_path):
    run_stages(load_oneshot(), tmp_path, stages=["train", "search"], n_jobs=2)
    assert read_status(tmp_path)["trials"] == {"complete": 2}
    assert not [m for m in read_log(tmp_path, "INFO") if "joins" in m]


def test_a_worker_reads_the_choices_and_makes_none(chosen):
    result = work(load_oneshot(), chosen)
    assert result.counts["evaluated"] == 2
    before = hash_file(chosen / "oneshot.json")
    with pytest.raises(RunFolderError, match=r"oneshot.json is not there.*dpod-search search"):
        work(load_oneshot(budgets=("macs<=33%",)), chosen)
    assert hash_file(chosen / "oneshot.json") == before


def test_damaged_choices_are_made_again(chosen):
    (chosen / "oneshot.json").write_text("{")
    (chosen / ".stages" / "search.json").unlink()
    run_stages(load_oneshot(), chosen, stages=["search"])
    assert len(read_json(chosen / "oneshot.json")["choices"]) == 2


# Budgets on latency: a model chooses, and the clock has the last word.


def choose_by_latency(run: Path, clock: FakeClock, truth, *wishes: str, method: str = "mdp"):
    """Fit the model as the clock is, change what is true, and choose."""
    config = load_oneshot(*LATENCY, budgets=wishes, method=method)
    with RunFolder(run):
        assert open_session(run, config).latency
    clock.truth = truth
    run_stages(config, run, stages=["search"])
    return read_json(run / "oneshot.json")["choices"]


@pytest.mark.parametrize("power", [0.6, 1.5])
def test_what_is_measured_is_within_the_wish_where_the_model_is_wrong(chosen, monkeypatch, power):
    clock = FakeClock().attach(monkeypatch)
    choices = choose_by_latency(
        chosen, clock, lambda ms: ms**power, "latency<=50%", "latency<=75%"
    )
    full = read_json(chosen / "latency.json")["full_ms"]
    for choice, wished in zip(choices, (0.5, 0.75), strict=True):
        assert 0.85 * wished <= choice["measured_share"] <= wished
        modelled = choice["footprint"]["latency"] / full
        assert choice["measured_share"] == pytest.approx(modelled**power, rel=0.15)
        assert choice["n_corrections"] > 0
    assert read_log(chosen, "WARNING") == []


def test_a_model_that_is_right_is_not_corrected(chosen, monkeypatch):
    clock = FakeClock().attach(monkeypatch)
    (choice,) = choose_by_latency(chosen, clock, lambda ms: ms, "latency<=60%")
    assert 0.9 * 0.6 <= choice["measured_share"] <= 0.6


def test_a_budget_that_is_added_leaves_what_was_chosen_by_the_clock(chosen, monkeypatch):
    clock = FakeClock().attach(monkeypatch)
    (first,) = choose_by_latency(chosen, clock, lambda ms: ms, "latency<=60%")
    config = load_oneshot(*LATENCY, budgets=("latency<=60%", "macs<=40%"))
    clock.truth = lambda ms: ms**0.5  # it would say otherwise now
    run_stages(config, chosen, stages=["search"])
    choices = read_json(chosen / "oneshot.json")["choices"]
    assert [choice["budget"] for choice in choices] == ["latency<=60%", "macs<=40%"]
    assert choices[0] == first


def test_a_wish_that_the_clock_refuses_names_both_figures(chosen, monkeypatch):
    clock = FakeClock().attach(monkeypatch)
    (choice,) = choose_by_latency(chosen, clock, lambda ms: 9 + ms, "latency<=50%")
    share = choice["measured_share"]
    assert share > 0.9
    (told,) = read_log(chosen, "WARNING")
    assert f"takes {100 * share:.1f} % of the full net's time where 50.0 % were wished" in told


def test_on_another_machine_the_model_is_believed(chosen, monkeypatch):
    clock = FakeClock().attach(monkeypatch)
    config = load_oneshot(*LATENCY, budgets=("latency<=50%",))
    with RunFolder(chosen):
        assert open_session(chosen, config).latency
    table = read_json(chosen / "latency_table.json")
    table["device"]["processor"] = "a telephone"
    file = chosen.parent / "telephone.json"
    file.write_text(json.dumps(table))
    clock.truth = lambda ms: math.nan  # nobody may ask
    config = load_oneshot(*LATENCY, f'latency.table="{file}"', budgets=("latency<=50%",))
    run_stages(config, chosen, stages=["search"])
    (choice,) = read_json(chosen / "oneshot.json")["choices"]
    summary = read_json(chosen / "latency.json")
    assert choice["footprint"]["latency"] <= 0.5 * summary["full_ms"]
    assert "measured_share" not in choice
