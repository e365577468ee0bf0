"""A run from trained weights: nothing is trained before the search, and the members are a chain."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import pytest
import torch
from pipeline.tiny import copy_run
from pipeline.tiny import find_finished
from pipeline.tiny import load_tiny

from dpod_search.errors import RunFolderError
from dpod_search.evaluation import Evaluator
from dpod_search.models import build_model
from dpod_search.pipeline import run_stages
from dpod_search.search.worker.driving import Driver
from dpod_search.search.worker.running import TrialRunner
from dpod_search.training import CheckpointFile
from dpod_search.weights import load_weights
from dpod_search.weights import save_weights
from dpod_search.widths import Widths
from dpod_search.widths import lies_in


GIVEN = (
    "training.epochs=0",
    "evaluation.repair=true",
    "finetune.chain=true",
    "finetune.tunes_full=false",
    "finetune.n_subnets=4",
    "finetune.checkpoint_seconds=0",
    'export.formats=["safetensors"]',
)
STAGES = ("train", "search", "finetune")


def read(folder, name):
    return json.loads((folder / name).read_text())


def find_full(folder):
    """Return the finetuned full net's folder."""
    members = read(folder, "front.json")["members"]
    name = next(member["folder"] for member in members if member["macs_share"] == 1)
    return folder / "finetuned" / name


def load_net(file):
    """Build the plain model, and load its weights."""
    model = build_model(load_tiny().model, input_shape=(1, 8, 8), n_classes=10, seed=0)
    load_weights(model, file)
    return model


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """The full net of the finished run, as a user has it."""
    file = tmp_path_factory.mktemp("given") / "net.safetensors"
    net = load_net(find_full(find_finished(tmp_path_factory)) / "model.safetensors")
    save_weights(file, net)
    return file


@pytest.fixture(scope="module")
def given_run(weights, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "digits"
    config = load_tiny(f"model.weights={weights}", *GIVEN)
    run_stages(config, folder, stages=STAGES)
    return config, folder


def test_given_weights_are_evaluated_once_before_the_search(weights, tmp_path, monkeypatch):
    seen = []
    evaluate = Evaluator.evaluate

    def watch(self, widths, *arguments, **options):
        seen.append(widths)
        return evaluate(self, widths, *arguments, **options)

    monkeypatch.setattr(Evaluator, "evaluate", watch)
    config = load_tiny(f"model.weights={weights}", *GIVEN)
    run_stages(config, tmp_path / "run", stages=["train"])
    assert len(seen) == 1
    assert read(tmp_path / "run", "path.json")["profiles"][0]["accuracy"] > 0.2


def test_nothing_is_trained_and_the_full_net_is_delivered_as_it_was_given(given_run, weights):
    _, folder = given_run
    assert read(folder, "training.json")["n_steps"] == 0
    full = find_full(folder)
    assert read(full, "result.json")["history"] == []
    # The same numbers: only the order of the units is another.
    kept, given = load_net(full / "model.safetensors"), load_net(weights)
    moved = dict(kept.named_parameters())
    for name, parameter in given.named_parameters():
        assert torch.equal(moved[name].flatten().sort()[0], parameter.flatten().sort()[0]), name
    # Units of large weights come first: one layer makes the inner group, and one reads it.
    squares, before = (
        net.get_parameter("stage1.0.conv1.weight").square().sum((1, 2, 3))
        + net.get_parameter("stage1.0.conv2.weight").square().sum((0, 2, 3))
        for net in (kept, given)
    )
    assert squares.tolist() == sorted(squares.tolist(), reverse=True)
    assert before.tolist() != sorted(before.tolist(), reverse=True)


def read_rows(folder, source):
    return [row for row in read_all(folder) if row["source"] == source]


def read_ladder(folder):
    """Return the accuracy of each subnet of the ladder, which every search begins with."""
    rows = read_rows(folder, "ladder")
    return {
        tuple(value for key, value in row.items() if key.startswith("width:")): float(
            row["accuracy"]
        )
        for row in rows
    }


def test_the_search_measures_repaired_subnets(given_run, weights, tmp_path):
    _, folder = given_run
    plain = load_tiny(f"model.weights={weights}", *GIVEN, "evaluation.repair=false")
    run_stages(plain, tmp_path / "digits", stages=["train", "search"])
    repaired, cut = read_ladder(folder), read_ladder(tmp_path / "digits")
    shared = repaired.keys() & cut.keys()
    assert len(shared) > 3
    assert sum(repaired[w] for w in shared) > sum(cut[w] for w in shared) + 0.1
    for member in read(folder, "front.json")["members"]:  # what is finetuned is what was measured
        if member["values"]:
            before = member["validation_accuracy_before"]
            assert member["values"]["accuracy"] == pytest.approx(before, abs=0.005)


def test_members_that_lie_in_others_begin_with_their_weights(given_run, tmp_path):
    config, folder = given_run
    loose = copy_run(folder, tmp_path / "digits")
    run_stages(
        replace(config, finetune=replace(config.finetune, chain=False)), loose, stages=STAGES
    )
    members = [m for m in read(folder, "front.json")["members"] if m["macs_share"] < 1]
    found = [
        (m["folder"], Widths(tuple(m["widths"]), tuple(m["widths"].values()))) for m in members
    ]
    inner = {a for a, one in found for b, two in found if a != b and lies_in(one, two)}
    assert inner  # else there is nothing to see
    for name, _ in found:
        file = f"finetuned/{name}/model.safetensors"
        is_same = (folder / file).read_bytes() == (loose / file).read_bytes()
        assert is_same == (name not in inner)


def test_a_run_killed_in_its_chain_ends_the_same(given_run, tmp_path, monkeypatch):
    config, folder = given_run
    again = copy_run(folder, tmp_path / "digits")
    for path in (again / "finetuned").iterdir():
        for file in path.iterdir():
            file.unlink()
        path.rmdir()
    for name in ("front.json", ".stages/finetune.json"):
        (again / name).unlink()
    save, n_left = CheckpointFile.save, 5

    def save_and_stop(checkpoint, *arguments):
        nonlocal n_left
        save(checkpoint, *arguments)
        n_left -= 1
        if n_left < 0:
            n_left = 4
            raise KeyboardInterrupt

    monkeypatch.setattr(CheckpointFile, "save", save_and_stop)
    n_kills = 0
    while True:
        try:
            run_stages(config, again, stages=STAGES)
            break
        except KeyboardInterrupt:
            n_kills += 1
    assert n_kills > 2
    assert (again / "front.json").read_bytes() == (folder / "front.json").read_bytes()
    for file in folder.glob("finetuned/*/model.safetensors"):
        assert (again / file.relative_to(folder)).read_bytes() == file.read_bytes()


def test_a_study_of_other_repairs_is_refused(given_run, weights, tmp_path):
    storage = f"sqlite:///{tmp_path}/s.db"
    one = load_tiny(f"model.weights={weights}", *GIVEN)
    run_stages(one, tmp_path / "one", stages=["train", "search"], storage=storage)
    other = load_tiny(f"model.weights={weights}", *GIVEN, "evaluation.repair=false")
    with pytest.raises(RunFolderError, match="another repair of subnets"):
        run_stages(other, tmp_path / "other", stages=["train", "search"], storage=storage)


def fill(config, *budgets):
    return replace(config, finetune=replace(config.finetune, budgets=budgets))


@pytest.fixture(scope="module")
def filled_run(given_run, tmp_path_factory):
    config = fill(given_run[0], "macs<=60%", "macs<=30%")
    folder = tmp_path_factory.mktemp("filled") / "digits"
    run_stages(config, folder, stages=("train", "search"))
    return config, folder


def test_the_last_trials_fill_the_budgets(filled_run):
    config, folder = filled_run
    rows = read_all(folder)
    assert [row["source"] for row in rows[:-4]].count("filled") == 0
    assert len(rows) > config.search.n_trials
    full = read(folder, "search.json")["full"]["macs"]
    uniform = read_rows(folder, "uniform")
    assert 1 <= len(uniform) <= 2  # the ladder may have had one
    for row in uniform:
        share = float(row["macs"]) / full
        assert 0.2 < share <= 0.3 or 0.4 < share <= 0.6
    filled = read_rows(folder, "filled")
    assert 1 <= len(filled) <= 2
    assert all(float(row["macs"]) <= 0.6 * full for row in filled)
    assert all(row["accuracy"] for row in [*uniform, *filled])


def test_where_a_search_is_not_worth_it_budgets_get_what_is_uniform(given_run, tmp_path):
    config = fill(given_run[0], "macs<=60%", "macs<=30%")
    config = replace(config, search=replace(config.search, finetune_share=1e-4))
    run_stages(config, tmp_path / "digits", stages=STAGES)
    _, *rest = read_all(tmp_path / "digits")  # the full net is the first
    assert [row["source"] for row in rest] == ["uniform", "uniform"]
    chosen = [m for m in read(tmp_path / "digits", "front.json")["members"] if m["budgets"]]
    shares = sorted(member["macs_share"] for member in chosen)
    assert 0.2 < shares[0] <= 0.3
    assert 0.4 < shares[1] <= 0.6


def test_a_budget_below_every_uniform_subnet_is_searched_for(given_run, tmp_path):
    # Without its block the smallest subnet has fewer macs than any of one ratio.
    config = fill(given_run[0], "macs<=6%")
    config = replace(config, search=replace(config.search, finetune_share=1e-4, n_trials=30))
    run_stages(config, tmp_path / "digits", stages=STAGES)
    chosen = [m for m in read(tmp_path / "digits", "front.json")["members"] if m["budgets"]]
    assert [m["macs_share"] <= 0.06 for m in chosen] == [True]


def test_another_finetuning_is_worth_another_search(given_run, tmp_path):
    folder = tmp_path / "digits"
    config = fill(given_run[0], "macs<=60%")
    config = replace(config, search=replace(config.search, finetune_share=0.2))
    run_stages(config, folder, stages=("train", "search"))
    few = len(read_all(folder))
    longer = replace(config, finetune=replace(config.finetune, epochs=100.0, max_epochs=1000))
    run_stages(longer, folder, stages=("train", "search"))
    assert few < 6 <= len(read_all(folder))


@pytest.mark.parametrize("place", ["before the queue", "before a trial", "in a trial"])
def test_a_search_killed_while_it_fills_budgets_ends_the_same(
    filled_run, tmp_path, monkeypatch, place
):
    config, whole = filled_run
    cut = tmp_path / "digits"
    with monkeypatch.context() as patch:
        if place == "before the queue":
            patch.setattr("dpod_search.pipeline.stages.searching.list_closing", _stop)
        elif place == "before a trial":
            drive, calls = Driver.drive, []
            patch.setattr(Driver, "drive", lambda d: _stop() if calls else calls.append(drive(d)))
        else:
            evaluate = TrialRunner.evaluate
            patch.setattr(
                TrialRunner,
                "evaluate",
                lambda r, draft: _stop() if draft.user.get("closing") else evaluate(r, draft),
            )
        with pytest.raises(KeyboardInterrupt):
            run_stages(config, cut, stages=("train", "search"))
    run_stages(config, cut, stages=("train", "search"))
    timeless = [
        [{k: v for k, v in row.items() if k != "seconds"} for row in read_all(folder)]
        for folder in (whole, cut)
    ]
    assert timeless[0] == timeless[1]


def test_budgets_that_only_infeasible_subnets_meet_are_left_out(given_run, tmp_path):
    config, _ = given_run
    strict = replace(config.search, constraints={"accuracy": ">= 0.9999"})
    folder = tmp_path / "digits"
    config = replace(fill(config, "macs<=60%"), search=strict)
    run_stages(config, folder, stages=("train", "search"))
    assert [row["source"] for row in read_all(folder)].count("filled") == 0


def _stop(*_):
    raise KeyboardInterrupt


def read_all(folder):
    with (folder / "trials.csv").open(newline="") as file:
        return list(csv.DictReader(file))
