"""Stopped at any step, a training ends as if it had not been, whatever it is made of."""

from __future__ import annotations

import itertools

import pytest
from torch.utils.data import TensorDataset
from training.fakes import StopAfter
from training.fakes import StoppedError
from training.fakes import equal_states
from training.fakes import make_batches
from training.fakes import make_pictures
from training.fakes import make_supernet

from dpod_search.data import SeededLoader
from dpod_search.evaluation import Evaluator
from dpod_search.footprint import build_footprint
from dpod_search.rng import numpy_generator
from dpod_search.training import CheckpointFile
from dpod_search.training import TrainingSettings
from dpod_search.training.schedule import CountedScorer
from dpod_search.training.train import train_by_policy


N_STEPS = 9
# Each value of each setting beside each value of each other one (an orthogonal array of strength
# two: a column is the sum, modulo 2, of some of the first three), and schedules in turn.
ROWS = [
    (a, b, c, (a + b) % 2, (a + c) % 2, (b + c) % 2)
    for a, b, c in itertools.product((0, 1), repeat=3)
]


def describe(row):
    a, b, c, d, e, f = row
    settings = TrainingSettings(
        epochs=3,
        policy_options={"n_profiles": 3},
        optimizer=("sgd", "adamw")[a],
        schedule=("cosine", "one-cycle")[(a + b + c) % 2],
        lr=(0.05, 0.005)[a],
        ema_decay=(0.0, 0.7)[b],
        precision=("float32", "bfloat16")[c],
        decays_norms=bool((a + b + c) % 2),
        augmentation=("crop-flip", "trivialaugment+randomerasing")[e],
    )
    return settings, (0.0, 0.3)[d], (0, 1)[f]


def train(settings, dropout, n_workers, seed=0, **options):
    supernet = make_supernet(dropout=dropout, seed=seed)
    evaluator = Evaluator(supernet, make_pictures(12, seed=5)[0])
    footprint = build_footprint(supernet)
    judged = make_batches(12, 12, seed=6)
    loader = SeededLoader(
        TensorDataset(*make_pictures()),
        batch_size=8,
        seed=3,
        shuffle=True,
        crop_padding=1,
        flip=True,
        augmentation=settings.augmentation,
        n_workers=n_workers,
    )
    result = train_by_policy(
        supernet,
        loader,
        settings,
        CountedScorer(
            lambda widths: evaluator.evaluate(widths, judged).quality,
            lambda widths: footprint.measure(widths)["macs"],
            0,
        ),
        seed=0,
        **options,
    )
    return supernet, result


@pytest.mark.parametrize("row", ROWS, ids=lambda row: "".join(map(str, row)))
def test_stopped_at_two_random_steps_it_ends_as_if_it_had_not_been(row, tmp_path):
    settings, dropout, n_workers = describe(row)
    whole, result = train(settings, dropout, n_workers)
    checkpoint = CheckpointFile(tmp_path / "c.safetensors", key="run", every_seconds=0)
    stops = numpy_generator(0, "stops", *row).integers(2, N_STEPS // 2 + 1, 2)
    for seed, n_done in zip((0, 9), stops.tolist(), strict=True):  # 9: weights to be replaced
        with pytest.raises(StoppedError):
            train(
                settings,
                dropout,
                n_workers,
                seed=seed,
                checkpoint=checkpoint,
                progress=StopAfter(n_done),
            )
    supernet, resumed = train(settings, dropout, n_workers, seed=9, checkpoint=checkpoint)
    assert equal_states(supernet.state_dict(), whole.state_dict())
    assert resumed.history == result.history
    assert resumed.path == result.path
    again, _ = train(settings, dropout, n_workers, seed=9, checkpoint=checkpoint)
    assert equal_states(again.state_dict(), whole.state_dict())


@pytest.mark.parametrize("setting", [{"ema_decay": 0.7}, {"precision": "bfloat16"}])
def test_the_settings_do_something(setting):
    nets = [
        train(TrainingSettings(epochs=1, lr=0.05, **chosen), 0.0, 0)[0].state_dict()
        for chosen in ({}, setting)
    ]
    assert not equal_states(*nets)


def test_workers_change_nothing():
    settings = TrainingSettings(epochs=1, augmentation="randaugment")
    nets = [train(settings, 0.0, n_workers)[0].state_dict() for n_workers in (0, 2)]
    assert equal_states(*nets)
