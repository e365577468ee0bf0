from __future__ import annotations

import dataclasses
from itertools import pairwise

import pytest
import torch
from torch import nn
from training.fakes import StopAfter
from training.fakes import StoppedError
from training.fakes import make_batches
from training.fakes import make_pictures
from training.fakes import make_supernet

import dpod_search as dpod
from dpod_search.evaluation import Evaluator
from dpod_search.footprint import build_footprint
from dpod_search.supernet import build_supernet
from dpod_search.training import CheckpointFile
from dpod_search.training import TrainingSettings
from dpod_search.training.schedule import CountedScorer
from dpod_search.training.train import train_by_policy


SETTINGS = TrainingSettings(
    epochs=4, lr=0.05, policy_options={"n_profiles": 4}, max_scoring_share=100
)


def cost(widths):
    return float(sum(widths.active))


def train(score, checkpoint=None, progress=None, settings=SETTINGS):
    return train_by_policy(
        make_supernet(),
        make_batches(),
        settings,
        CountedScorer(score, cost, 10),
        seed=0,
        checkpoint=checkpoint,
        progress=progress,
    )


def test_what_is_scored_is_counted_at_its_cost_and_kept_in_checkpoints(tmp_path):
    asked = []

    def score(widths):
        asked.append(widths)
        return cost(widths)

    whole = train(score)
    assert len(asked) > 4
    assert whole.scoring_macs == 10 * sum(map(cost, asked))
    checkpoint = CheckpointFile(tmp_path / "c.safetensors", key="run", every_seconds=0)
    asked.clear()
    with pytest.raises(StoppedError):
        train(score, checkpoint, StopAfter(8))
    assert asked
    assert train(score, checkpoint).scoring_macs == whole.scoring_macs


def test_a_policy_that_asks_for_no_score_pays_for_none():
    settings = TrainingSettings(policy="sandwich", epochs=1)
    result = train(lambda widths: 1.0, settings=settings)
    assert result.scoring_macs == 0
    assert result.macs > 0


def test_the_verb_counts_the_pictures_that_calibrate_and_those_that_judge(monkeypatch):
    supernet = make_supernet()
    footprint = build_footprint(supernet)
    asked, run = [], []
    evaluate = Evaluator.evaluate

    def watched(self, widths, batches, *task):
        asked.append(widths)
        with_hook = supernet.net.pool.register_forward_pre_hook(
            lambda _, inputs: run.append(len(inputs[0]) * footprint.measure(widths)["macs"])
        )
        try:
            return evaluate(self, widths, batches, *task)
        finally:
            with_hook.remove()

    monkeypatch.setattr(Evaluator, "evaluate", watched)
    result = dpod.train_supernet(
        supernet,
        make_batches(),
        settings=SETTINGS,
        scoring_loader=make_batches(12, 6, seed=5),
        calibration_images=make_pictures(9, seed=6)[0],
    )
    wanted = 21 * sum(footprint.measure(widths)["macs"] for widths in asked)
    assert result.scoring_macs == pytest.approx(wanted)
    # Before the first score, two pictures tell how the layers follow each other.
    assert wanted <= sum(run) <= wanted + 2 * footprint.measure(supernet.space.full)["macs"]


def make_deep_supernet(n_groups=23):
    torch.manual_seed(0)
    widths = (1, *(4,) * n_groups)
    layers = []
    for inputs, outputs in pairwise(widths):
        conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        layers += [conv, nn.BatchNorm2d(outputs), nn.ReLU()]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)]
    return build_supernet(nn.Sequential(*layers, *head), torch.zeros(2, 1, 6, 6))


def train_deep(**options):
    return dpod.train_supernet(
        make_deep_supernet(),
        make_batches(240, 60),
        scoring_loader=make_batches(12, 6, seed=5),
        calibration_images=make_pictures(9, seed=6)[0],
        **options,
    )


def test_many_groups_and_few_epochs_score_for_a_tenth_of_the_training_at_most():
    result = train_deep(epochs=3)
    assert len(result.path[0]) == 23
    assert result.path[-1] == make_deep_supernet().space.smallest
    assert 0 < result.scoring_macs <= 0.1 * 3 * result.macs
    # More is allowed where more is asked for, and nothing if nothing is.
    more = train_deep(settings=TrainingSettings(epochs=1, max_scoring_share=0.5))
    assert 0.1 * 3 * more.macs < more.scoring_macs <= 0.5 * 3 * more.macs
    none = train_deep(settings=TrainingSettings(epochs=1, max_scoring_share=0))
    assert none.scoring_macs == 0
    assert none.path[-1] == result.path[-1]


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_stopped_while_the_path_is_scored_it_ends_the_same(tmp_path, share):
    settings = dataclasses.replace(SETTINGS, max_scoring_share=share)
    asked = []

    def score(widths, n_images=10):
        asked.append((widths, n_images))
        return 1 / cost(widths)

    whole = train(score, settings=settings)
    n_scores = len(asked)
    for n_done in range(1, n_scores + 1, 3):
        checkpoint = CheckpointFile(tmp_path / f"{n_done}.safetensors", key="run", every_seconds=0)
        with pytest.raises(StoppedError):
            train(score, checkpoint, StopAfter(n_done, counts_scores=True), settings)
        resumed = train(score, checkpoint, settings=settings)
        assert resumed.path == whole.path
        assert resumed.history == whole.history
        assert resumed.scoring_macs == whole.scoring_macs
    assert n_scores
