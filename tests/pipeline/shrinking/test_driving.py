from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from pipeline import shrunk_net
from pipeline.clock import LATENCY
from pipeline.clock import FakeClock
from pipeline.shrunk_net import QUICK

from dpod_search.errors import CheckpointError
from dpod_search.errors import ConfigError
from dpod_search.errors import InfeasibleError
from dpod_search.files import hash_file
from dpod_search.files import read_json
from dpod_search.goals import SizeBound
from dpod_search.pipeline import run_stages
from dpod_search.pipeline.drafting import DraftedSetting
from dpod_search.pipeline.drafting import draft_settings
from dpod_search.pipeline.shrinking import ShrinkRequest
from dpod_search.pipeline.shrinking import judging
from dpod_search.pipeline.shrinking import plan_shrinking
from dpod_search.pipeline.shrinking import planning
from dpod_search.pipeline.shrinking import read_shrunk
from dpod_search.pipeline.shrinking import shrink
from dpod_search.pipeline.shrinking.ladder import N_DOUBLINGS
from dpod_search.pipeline.stages import finetuning
from dpod_search.records.shrink import Shrink


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "net.pth"
    shrunk_net.train_weights(path)
    return path


def ask(goal: str, weights: Path | None, *sets: str, **options) -> ShrinkRequest:
    return ShrinkRequest(
        model="pipeline.shrunk_net:make_net",
        data="digits",
        goal=goal,
        weights=None if weights is None else str(weights),
        formats=("safetensors",),
        sets=(*QUICK, *sets),
        **options,
    )


@pytest.fixture
def run(tmp_path: Path, weights: Path):
    """Shrink to a goal, in a folder of the test's own."""

    def shrink_to(goal: str, *sets: str, **options) -> tuple[Shrink, list[str]]:
        told: list[str] = []
        plan = plan_shrinking(ask(goal, weights, *sets))
        return shrink(plan, tmp_path / "run", tell=told.append, **options), told

    return shrink_to


def list_exported(folder: Path) -> list[str]:
    return sorted(path.parent.name for path in (folder / "exported").glob("*/model.safetensors"))


def test_a_budget_and_a_loss_are_reached_at_once(run, tmp_path) -> None:
    found, told = run("macs<=60%, accuracy>=-30pt")
    assert (found.state, found.way, found.chosen) == ("met", "mdp", "macs<=60%")
    (item,) = found.tried
    assert item.shares["macs"] <= 0.6
    front = read_json(tmp_path / "run" / "front.json")
    member = next(m for m in front["members"] if m["folder"] == item.folder)
    lost = front["full"]["validation_accuracy"] - member["validation_accuracy"]
    assert item.lost["accuracy"] == pytest.approx(lost)
    assert list_exported(tmp_path / "run") == [item.folder]
    assert (tmp_path / "run" / "report.html").is_file()
    assert told[0].startswith("goal: macs<=60%, accuracy>=-30pt; prune at once, for the weights")
    assert " if this machine does nothing else" in told[1]
    assert "up to 4 more finetunings" in told[1]
    assert told[2].startswith("macs<=60%: against the full net ")
    assert told[2].endswith(" accurate on validation, as the goal wants")

    before = {p: hash_file(p) for p in (tmp_path / "run").rglob("*.json")}
    again, told = run("macs<=60%, accuracy>=-30pt")
    assert again == found
    assert before == {p: hash_file(p) for p in (tmp_path / "run").rglob("*.json")}


def test_the_summary_says_what_was_reached_of_what_and_how_to_load_it(run, tmp_path, weights):
    goal = "macs<=60%, accuracy>=-30pt"
    found, _ = run(goal)
    lines = read_shrunk(tmp_path / "run", found).describe(plan_shrinking(ask(goal, weights)).goal)
    text = "\n".join(lines)
    assert "reached by trial" in lines[0]
    assert "% of the full net's (macs<=60%)" in text
    assert "may be chance" not in text
    assert re.search(r"accurate \([0-9.]+ %, the full net [0-9.]+ %\) on validation, which", text)
    loader = text.split("load it:\n")[1].replace("\n  ", "\n").replace("model(images)", "model")
    names: dict[str, object] = {"images": None}
    exec(loader.strip(), names)  # noqa: S102  (what a reader would run)
    assert names["logits"] is names["model"]


def test_out_of_reach_more_is_spent_and_the_nearest_is_told(run, tmp_path, weights) -> None:
    goal = "macs<=6%, accuracy>=-0pt"
    found, told = run(goal)
    assert found.state == "unmet"
    assert found.n_doublings == N_DOUBLINGS
    assert found.epochs == 2**N_DOUBLINGS
    assert [item.kind for item in found.tried] == ["goal", "wider", "wider"]
    assert len(told) == 2 + N_DOUBLINGS + 3
    assert not (tmp_path / "run" / "exported").exists()
    shrunk = read_shrunk(tmp_path / "run", found)
    text = "\n".join(shrunk.describe(plan_shrinking(ask(goal, weights)).goal))
    assert "not reached" in text
    assert "nearest within macs<=6%: trial" in text
    assert "points may be chance, more than accuracy>=-0pt allows" in text
    assert ("smallest that keeps accuracy>=-0pt" in text) == (found.chosen is not None)
    assert (
        f"nothing was exported; all that was tried is in the report, and `dpod-search export --run {tmp_path / 'run'}` exports it"
        in text
    )


def test_the_smallest_within_a_loss_descends_the_ladder(run, tmp_path) -> None:
    found, _ = run("smallest, accuracy>=-4pt")
    assert found.state == "met"
    kept = [item for item in found.tried if item.keeps]
    chosen = found.find(found.chosen)
    assert chosen is not None
    assert chosen.shares["weight_bytes"] == min(item.shares["weight_bytes"] for item in kept)
    assert chosen.lost["accuracy"] <= 0.04 + 1e-9
    assert len({item.budget for item in found.tried}) == len(found.tried) > 1
    assert list_exported(tmp_path / "run") == [chosen.folder]


def test_a_kill_in_the_ladder_goes_on_and_ends_as_if_there_had_been_none(
    run, tmp_path, weights, monkeypatch
) -> None:
    whole, _ = run("smallest, accuracy>=-4pt")
    plan = plan_shrinking(ask("smallest, accuracy>=-4pt", weights))
    folder, n_kept = tmp_path / "killed", 0
    keep = finetuning._keep

    def fail_at_third(*arguments):
        nonlocal n_kept
        n_kept += 1
        if n_kept == 3:
            raise KeyboardInterrupt
        keep(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(finetuning, "_keep", fail_at_third)
        with pytest.raises(KeyboardInterrupt):
            shrink(plan, folder)
    assert Shrink.read(folder).state == "running"
    assert shrink(plan, folder) == whole
    fronts = [read_json(path / "front.json") for path in (folder, tmp_path / "run")]
    assert fronts[0] == fronts[1]


def test_another_goal_in_the_same_folder_keeps_what_is_finetuned(run, tmp_path) -> None:
    first, _ = run("macs<=60%, accuracy>=-30pt")
    weights = tmp_path / "run" / "finetuned" / str(first.tried[0].folder) / "model.safetensors"
    before = hash_file(weights)
    second, _ = run("macs<=60%, accuracy>=-29pt")
    assert second.state == "met"
    assert hash_file(weights) == before


def test_without_weights_a_supernet_is_trained_and_searched(tmp_path) -> None:
    sets = ("training.epochs=1", "search.n_trials=12", "search.population_size=6")
    request = ask("weight_bytes<=50%, accuracy>=-90pt", None, *sets, "search.min_evaluated=10")
    plan = plan_shrinking(request)
    assert (plan.way, plan.config.search.objectives) == ("search", ("accuracy", "weight_bytes"))
    assert plan.why == "train and search, for there are no trained weights"
    found = shrink(plan, tmp_path)
    assert (found.state, found.tried[0].budget) == ("met", "weight_bytes<=50%")
    assert found.tried[0].shares["weight_bytes"] <= 0.5
    assert list_exported(tmp_path) == [found.tried[0].folder]


def test_a_front_is_searched_and_exported_whole(tmp_path, weights) -> None:
    plan = plan_shrinking(ask("front", weights, "search.n_trials=8", "finetune.n_subnets=2"))
    assert plan.way == "front"
    found = shrink(plan, tmp_path)
    assert found.state == "met"
    front = read_json(tmp_path / "front.json")
    assert list_exported(tmp_path) == sorted(m["folder"] for m in front["members"])
    (line,) = read_shrunk(tmp_path, found).describe(plan.goal)
    assert line.startswith(f"goal: front: {len(front['members'])} nets in ")


@pytest.mark.parametrize("is_trained", [True, False])
def test_a_budget_below_the_smallest_subnet_is_refused_before_anything(
    tmp_path, weights, is_trained
) -> None:
    plan = plan_shrinking(ask("macs<=0.1%, accuracy>=-1pt", weights if is_trained else None))
    with pytest.raises(
        InfeasibleError, match=r"macs<=0.1%: no subnet can meet .* the smallest has"
    ):
        shrink(plan, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("goal", "sets", "part"),
    [
        ("macs<=50%, acuracy>=-1pt", (), "did you mean accuracy?"),
        ("macs<=50%, mae<=+3%", (), "nothing is called 'mae'; the task measures accuracy"),
        ("macs<=50%, macs>=60%", (), "did you mean macs<=60%?"),
        ("macs<=50%", ('oneshot.budgets=["macs<=1"]',), "--set oneshot.budgets is what --goal"),
        ("macs<=50%", ("finetune.epoch=1",), "epoch"),
    ],
)
def test_what_cannot_be_is_refused_before_a_folder_is_made(goal, sets, part, weights) -> None:
    with pytest.raises(ConfigError, match=part.replace("?", r"\?")):
        plan_shrinking(ask(goal, weights, *sets))


def test_what_the_user_sets_wins(weights) -> None:
    plan = plan_shrinking(ask("macs<=50%", weights, 'name="mine"', "data.test_share=0.1"))
    assert (plan.config.name, plan.config.data.test_share) == ("mine", 0.1)
    assert plan_shrinking(ask("macs<=50%", weights, seed=7)).config.seed == 7


def test_data_that_have_come_and_other_processes_are_the_same_goal_still(weights) -> None:
    key = plan_shrinking(ask("macs<=50%", weights)).key
    later = ("threads=2", "training.n_workers=1", "data.download=true")
    assert plan_shrinking(ask("macs<=50%", weights, *later)).key == key
    assert plan_shrinking(ask("macs<=50%", weights, "finetune.lr=0.02")).key != key


def test_what_is_drafted_is_told_unless_the_user_sets_it(weights, monkeypatch) -> None:
    def draft(model: str, data: str, weights: str | None = None):
        more = (DraftedSetting("seed", 3, "a"), DraftedSetting("data.test_share", 0.1, "of it"))
        return (*draft_settings(model, data, weights), *more)

    monkeypatch.setattr(planning, "draft_settings", draft)
    plan = plan_shrinking(ask("macs<=50%", weights, "seed=5", "finetune.lr=0.02"))
    assert [item.key for item in plan.drafted] == ["data.test_share"]
    assert (plan.config.seed, plan.config.data.test_share) == (5, 0.1)


@pytest.mark.parametrize(
    ("goal", "formats", "sets", "backend"),
    [
        ("latency<=50%", ("onnx",), (), "onnxruntime"),
        ("fastest within 1 point", ("safetensors", "onnx_int8"), (), "onnxruntime"),
        ("latency<=50%", ("torch_export",), (), "eager"),
        ("latency<=50%", ("onnx",), ('latency.backend="eager"',), None),
        ("latency<=50%", ("onnx",), ('latency.table="device.json"',), None),
        ("macs<=50%, accuracy>=-1pt", ("onnx",), (), None),
    ],
)
def test_the_clock_times_what_will_run_the_files(goal, formats, sets, backend, weights) -> None:
    plan = plan_shrinking(replace(ask(goal, weights, *sets), formats=formats))
    told = [item.value for item in plan.drafted if item.key == "latency.backend"]
    assert told == ([] if backend is None else [backend])
    config = plan.configure(["latency<=50%"], 0)
    assert config.latency.backend == (backend or "eager")
    assert config.supernet.multiple == (8 if backend == "onnxruntime" else 1)


def test_how_many_channels_go_together_is_the_users_to_say(weights) -> None:
    request = ask("latency<=50%", weights, "supernet.multiple=2")
    plan = plan_shrinking(replace(request, formats=("onnx",)))
    assert plan.config.supernet.multiple == 2
    keys = [item.key for item in plan.drafted]
    assert "latency.backend" in keys
    assert "supernet.multiple" not in keys


def test_a_budget_on_latency_is_met_by_the_clock(run, tmp_path, weights, monkeypatch) -> None:
    FakeClock().attach(monkeypatch)
    goal = "fastest, latency<=80%, accuracy>=-80pt"
    found, told = run(goal, *LATENCY, "finetune.epochs=0", "latency.max_error=1.0")
    assert found.state == "met"
    timed = f"takes minutes: {tmp_path / 'run' / 'latency_table.json'}"
    assert any(line.endswith(timed) for line in told)
    _, told = run(goal, *LATENCY, "finetune.epochs=0", "latency.max_error=1.0")
    assert not any(line.endswith(timed) for line in told)
    kept = [item for item in found.tried if item.keeps]
    chosen = found.find(found.chosen)
    assert chosen is not None
    assert chosen.shares["latency"] == min(item.shares["latency"] for item in kept) < 0.8
    shrunk = read_shrunk(tmp_path / "run", found)
    lines = shrunk.describe(plan_shrinking(ask(goal, weights)).goal)
    said = r"    latency: .* of the full net's by the clock \(latency<=.*; the model has \S+ of \S+ ms"
    assert re.fullmatch(said, lines[1])


@pytest.mark.parametrize(
    ("chosen_by", "timed", "is_within"),
    [(0.49, 0.50, True), (0.49, 0.514, True), (0.49, 0.53, False), (0.505, 0.51, False)],
)
def test_two_readings_of_a_clock_may_differ_a_little(chosen_by, timed, is_within) -> None:
    bound = SizeBound("latency", 0.5, is_share=True)
    readings = [chosen_by, timed]
    assert judging._is_within(bound, {"latency": timed}, readings, {"latency": 2.0}) == is_within


def test_a_model_may_be_named_by_its_file(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "net_of_mine.py").write_text("from pipeline.shrunk_net import make_net as make\n")
    plan = plan_shrinking(replace(ask("macs<=50%", None), model="net_of_mine.py:make"))
    assert (plan.config.model.name, plan.config.name) == ("net_of_mine:make", "net_of_mine-shrink")


def test_another_budget_than_those_of_the_run_is_not_exported(run, tmp_path, weights) -> None:
    run("macs<=60%, accuracy>=-30pt")
    plan = plan_shrinking(ask("macs<=60%, accuracy>=-30pt", weights))
    config = plan.configure(["macs<=60%"], 0, ["macs<=61%"])
    with pytest.raises(ConfigError, match="'macs<=61%', for which no subnet .* run: macs<=60%"):
        run_stages(config, tmp_path / "run", stages=["export"])


def test_a_goal_that_was_changed_by_hand_is_refused(run, tmp_path) -> None:
    found, _ = run("macs<=60%, accuracy>=-30pt")
    replace(found, state="unmet").write(tmp_path / "run")
    with pytest.raises(CheckpointError, match=r"shrink.json is damaged or was changed"):
        run("macs<=60%, accuracy>=-30pt")
