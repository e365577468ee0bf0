from __future__ import annotations

from dataclasses import replace

import pytest

from dpod_search.pipeline.estimating import Pace
from dpod_search.pipeline.estimating import Paces
from dpod_search.pipeline.estimating import Work
from dpod_search.pipeline.estimating import describe_seconds
from dpod_search.pipeline.estimating import estimate_seconds


STEP = Pace(0.010, 0.002, full_macs=1000, smallest_macs=0)
EVALUATION = Pace(0.003, 0.001, full_macs=1000, smallest_macs=0)
PACES = Paces(STEP, EVALUATION, loading=0.001)
WORK = Work(
    n_trained=100,
    steps=((1000,), (1000, 500)),
    scores=((1000, 50), (500, 20)),
    n_profiles=4,
    n_evaluated=10,
    n_trials=8,
    searched=(0, 1000),
    finetuned=((1000, 100), (0, 300)),
    n_taught=200,
    n_exported=3,
    n_operations=0,
    formats=(),
)


def test_a_subnet_takes_what_its_macs_are_on_the_way_from_the_smallest_to_the_full_net():
    assert STEP.at(1000) == pytest.approx(0.010)
    assert STEP.at(0) == pytest.approx(0.002)
    assert STEP.at(250) == pytest.approx(0.004)
    assert Pace(0.5, 0.5, 7, 7).at(7) == 0.5  # a space without a choice


def test_stages_by_hand():
    found = estimate_seconds(PACES, WORK)
    scoring = 50 * 0.003 + 20 * 0.002
    evaluation = 10 * 0.002
    steps = 100 * ((0.010 + 0.016) / 2 + 0.001)
    assert found["scoring"] == pytest.approx(scoring)
    assert found["train"] == pytest.approx(steps + scoring + 5 * evaluation)
    assert found["search"] == pytest.approx(8 * (evaluation + 0.005))
    finetuned = 100 * 0.011 + 300 * 0.003 + 2 * 3 * evaluation
    assert found["finetune"] == pytest.approx(200 * 0.003 + finetuned)
    assert found["export"] == 0
    assert list(found) == ["train", "scoring", "search", "finetune", "export", "report"]


def test_helpers_share_trials_and_finetunings():
    one, two = (estimate_seconds(PACES, replace(WORK, n_jobs=n)) for n in (1, 2))
    assert two["search"] == pytest.approx(one["search"] / 2)
    assert two["finetune"] == pytest.approx((one["finetune"] + 200 * 0.003) / 2)
    assert two["train"] == one["train"]


def test_exports_take_their_time_by_models_formats_and_operations():
    def export(**changes):
        return estimate_seconds(PACES, replace(WORK, **changes))["export"]

    one = export(formats=("safetensors",), n_operations=10)
    assert export(formats=("safetensors", "torch_export"), n_operations=10) > 2 * one
    assert export(formats=("safetensors",), n_operations=10, n_exported=6) == pytest.approx(
        2 * one
    )
    assert export(formats=("safetensors",), n_operations=20) > one


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.2, "under 1 s"),
        (7.4, "7 s"),
        (9.7, "10 s"),
        (62.3, "62 s"),
        (119.0, "2 min"),
        (5400.0, "90 min"),
        (13000.0, "3.6 h"),
    ],
)
def test_a_line_has_the_stages_that_were_asked_about(seconds, said):
    line = describe_seconds({"train": seconds, "scoring": 0.1})
    about = "" if said.startswith("under") else "about "
    begin = f"{about}{said} if this machine does nothing else, within a factor of 2"
    assert line == f"{begin}: train {said}"


def test_the_scoring_of_the_path_is_told_as_a_part_of_the_training():
    line = describe_seconds({"train": 20.0, "scoring": 4.0, "search": 10.0})
    assert line.startswith("about 30 s")
    assert line.endswith(": train 20 s (4 s of it scoring the path), search 10 s")
