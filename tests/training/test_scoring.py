from __future__ import annotations

import pytest
from training.fakes import StopAfter
from training.fakes import StoppedError
from training.fakes import make_batches
from training.fakes import make_pictures
from training.fakes import make_supernet

import dpod_search as dpod
from dpod_search.evaluation import Evaluator
from dpod_search.footprint import build_footprint
from dpod_search.training import CheckpointFile
from dpod_search.training import TrainingSettings
from dpod_search.training import train_supernet


SETTINGS = TrainingSettings(epochs=4, lr=0.05, policy_options={"n_profiles": 4})


def cost(widths):
    return float(sum(widths.active))


def train(score, checkpoint=None, progress=None, settings=SETTINGS):
    return train_supernet(
        make_supernet(),
        make_batches(),
        settings,
        cost=cost,
        score=score,
        seed=0,
        checkpoint=checkpoint,
        progress=progress,
        n_scored=10,
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

    def watched(self, widths, batches):
        asked.append(widths)
        with_hook = supernet.net.pool.register_forward_pre_hook(
            lambda _, inputs: run.append(len(inputs[0]) * footprint.measure(widths)["macs"])
        )
        try:
            return evaluate(self, widths, batches)
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
