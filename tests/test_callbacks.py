"""Callbacks are told all that happens, and change nothing of it."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from collections.abc import Mapping
from itertools import count

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader
from torch.utils.data import TensorDataset
from training.fakes import StopAfter
from training.fakes import StoppedError
from training.fakes import equal_states
from training.fakes import make_batches
from training.fakes import make_pictures
from training.fakes import make_supernet
from training.fakes import single_thread

from dpod_search import finetune
from dpod_search import finetune_all
from dpod_search import search
from dpod_search import train_supernet
from dpod_search.callbacks import Callbacks
from dpod_search.finetune import FinetuneSettings
from dpod_search.search import Accuracy
from dpod_search.search import Macs
from dpod_search.supernet import Subnet
from dpod_search.training import CheckpointFile
from dpod_search.training import TrainingSettings


SETTINGS = FinetuneSettings(epochs=2, equal_cost=0)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with single_thread():
        yield


class Notes:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, int, dict[str, float]]] = []
        self.trials: list[tuple[int, dict[str, float], str]] = []
        self.stages: list[tuple[str, float, dict[str, float]]] = []
        self.n_closed = 0

    def on_step(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        self.steps.append((stage, step, dict(values)))

    def on_trial(self, number: int, values: Mapping[str, float], fate: str) -> None:
        self.trials.append((number, dict(values), fate))

    def on_stage(self, name: str, seconds: float, values: Mapping[str, float]) -> None:
        self.stages.append((name, seconds, dict(values)))

    def close(self) -> None:
        self.n_closed += 1


class Meddler:
    """Draws from every global generator, and writes into what it is given."""

    def meddle(self, *told: object) -> None:
        random.random()
        np.random.rand()  # noqa: NPY002  (this is what is tested)
        torch.rand(3)
        torch.manual_seed(5)
        for values in told:
            if isinstance(values, dict):
                values.clear()

    on_step = on_trial = on_stage = meddle


class Failing(Notes):
    """Fails at its second step."""

    def on_step(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        super().on_step(stage, step, values)
        if step == 1:
            raise OSError("no space left")


def train(callbacks=(), **options):
    """Train on a loader that shuffles by PyTorch's global generator."""
    torch.manual_seed(0)
    supernet = make_supernet(dropout=0.2)
    loader = DataLoader(TensorDataset(*make_pictures()), batch_size=8, shuffle=True)
    result = train_supernet(supernet, loader, epochs=3, callbacks=callbacks, **options)
    return supernet, result, (torch.rand(2).tolist(), random.random())


def test_weights_and_draws_are_the_same_with_callbacks_and_without():
    nets, fronts, tuned, rests = [], [], [], []
    for callbacks in ((), [Notes(), Meddler()]):
        random.seed(0)
        supernet, result, rest = train(callbacks)
        nets.append(supernet.state_dict())
        rests.append((rest, result.path, result.history))
        subnet = Subnet(supernet, supernet.space.uniform(0.5))
        tuned.append(finetune(subnet, make_batches(), settings=SETTINGS, callbacks=callbacks))
        fronts.append(
            search(
                supernet,
                [Accuracy(make_batches()), Macs()],
                n_trials=12,
                callbacks=callbacks,
            )
        )
    assert equal_states(*nets)
    assert rests[0] == rests[1]
    assert equal_states(*(t.module.state_dict() for t in tuned))
    assert tuned[0].history == tuned[1].history
    assert [(m.trial, m.widths, m.values) for m in fronts[0]] == [
        (m.trial, m.widths, m.values) for m in fronts[1]
    ]


def test_every_step_is_told_as_the_history_has_it():
    notes = Notes()
    _, result, _ = train([notes])
    assert [(s, n) for s, n, _ in notes.steps] == [("train", n) for n in range(9)]
    assert [{"step": n, **values} for _, n, values in notes.steps] == list(result.history)
    ((name, seconds, values),) = notes.stages
    assert (name, seconds) == ("train", result.seconds)
    assert values == {
        "n_steps": 9,
        "macs": result.macs,
        "scoring_macs": result.scoring_macs,
    }
    assert notes.n_closed == 0  # whoever made it closes it


def test_a_resumed_training_goes_on_telling(tmp_path):
    checkpoint = CheckpointFile(tmp_path / "c.safetensors", key="k", every_seconds=0)
    settings = TrainingSettings(policy="independent")
    notes = Notes()
    with pytest.raises(StoppedError):
        train([notes], settings=settings, checkpoint=checkpoint, progress=StopAfter(4))
    train([notes], settings=settings, checkpoint=checkpoint)
    assert [n for _, n, _ in notes.steps] == [0, 1, 2, *range(3, 4), *range(3, 9)]


def test_subnets_are_told_apart():
    supernet = make_supernet()
    subnets = [Subnet(supernet, supernet.space.uniform(ratio)) for ratio in (0.25, 0.75)]
    notes = Notes()
    tuned = finetune_all(
        subnets,
        make_batches(),
        settings=SETTINGS,
        validation_loader=make_batches(),
        callbacks=[notes],
    )
    for place, result in enumerate(tuned):
        told = [{"step": n, **v} for stage, n, v in notes.steps if stage == f"finetune/{place}"]
        assert told == list(result.history)
    # The larger one comes first: the other is cut from it.
    assert [name for name, _, _ in notes.stages] == ["finetune/1", "finetune/0", "finetune"]
    assert notes.stages[0][2]["accuracy"] == tuned[1].accuracy
    assert notes.stages[0][2]["accuracy_before"] == tuned[1].accuracy_before
    assert notes.stages[0][2]["macs"] == tuned[1].footprint["macs"]


@pytest.mark.slow  # processes that import PyTorch
def test_side_by_side_the_history_is_told():
    supernet = make_supernet()
    subnets = [Subnet(supernet, supernet.space.uniform(ratio)) for ratio in (0.25, 0.75)]
    settings = FinetuneSettings(epochs=2, chain=False)
    notes = Notes()
    tuned = finetune_all(subnets, make_batches(), settings=settings, n_jobs=2, callbacks=[notes])
    for place, result in enumerate(tuned):
        told = [{"step": n, **v} for stage, n, v in notes.steps if stage == f"finetune/{place}"]
        assert told == list(result.history)


def test_every_trial_is_told_once_with_its_fate():
    notes = Notes()
    front = search(
        make_supernet(),
        [Accuracy(make_batches()), Macs()],
        n_trials=14,
        constraints={"macs": "<= 80%"},
        callbacks=[notes],
    )
    assert [number for number, _, _ in notes.trials] == list(range(14))
    found = {number: values for number, values, _ in notes.trials}
    for member in front:
        assert found[member.trial]["accuracy"] == member.values["accuracy"]
    assert all(v["macs"] > 0 and v["params"] > 0 for v in found.values())
    completed = [fate for _, values, fate in notes.trials if "accuracy" in values]
    assert "evaluated" in completed
    ((name, _, values),) = notes.stages
    assert (name, values) == ("search", {"n_trials": 14, "n_front": len(front)})


def test_one_that_fails_is_a_warning_and_is_told_nothing_more(caplog):
    failing, notes = Failing(), Notes()
    with caplog.at_level(logging.WARNING, "dpod_search"):
        supernet, _, _ = train([failing, notes])
    assert len(failing.steps) == 2
    assert failing.stages == []
    assert len(notes.steps) == 9
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    told = record.getMessage()
    assert told.startswith("Failing failed and is told nothing more, the work goes on: OSError in")
    assert "\n" not in told
    assert equal_states(supernet.state_dict(), train()[0].state_dict())


def test_all_are_closed_whatever_one_of_them_does(caplog):
    class Stuck(Notes):
        def close(self) -> None:
            raise RuntimeError("stuck")

    failing, notes = Failing(), Notes()
    callbacks = Callbacks([Stuck(), failing, Meddler(), notes])
    for step in count():
        callbacks.on_step("train", step, {})
        if step == 2:
            break
    callbacks.close()
    assert (failing.n_closed, notes.n_closed) == (1, 1)
    assert [r.levelname for r in caplog.records] == ["WARNING", "WARNING"]
