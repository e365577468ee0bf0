"""What was scored is what is delivered."""

from __future__ import annotations

import pytest
import torch

from dpod_search.errors import ExportError
from dpod_search.pipeline.stages.scores import Score
from dpod_search.pipeline.stages.scores import check_exported
from dpod_search.pipeline.stages.scores import is_same
from dpod_search.pipeline.stages.scores import score_model
from dpod_search.tasks import Classification
from dpod_search.tasks import Metric
from dpod_search.tasks import Regression


ACCURACY = Classification().metrics[0]
RMSE = Regression().metrics[0]


def test_draws_of_a_classifier_are_counted():
    logits = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0 - 1e-6], [2.0, 0.0]])
    batches = [(logits[:3], torch.tensor([0, 0, 1])), (logits[3:], torch.tensor([0]))]
    score = score_model(lambda images: images, batches, Classification(), tolerance=1e-4)
    assert score == Score({"accuracy": 0.5}, n_samples=4, slack=0.25)


def test_of_other_tasks_rounding_is_a_share_of_the_metric():
    wanted = torch.tensor([1.0, 2.0, 3.0])
    score = score_model(lambda rows: rows, [(wanted + 2, wanted)], Regression(), tolerance=1e-4)
    assert score.metrics["rmse"] == pytest.approx(2)
    assert score.slack == pytest.approx(0.002 * 2)


@pytest.mark.parametrize(("n_right", "n_draws"), [(50, 0), (48, 2), (52, 2)])
def test_the_stated_count_passes_draws_aside(n_right, n_draws):
    score = Score({"accuracy": n_right / 100}, 100, n_draws / 100)
    check_exported(score, ACCURACY, {"accuracy": 0.5}, file="model.pt2")


@pytest.mark.parametrize(("n_right", "n_draws"), [(49, 0), (51, 0), (47, 2)])
def test_one_picture_more_or_less_is_an_error(n_right, n_draws):
    score = Score({"accuracy": n_right / 100}, 100, n_draws / 100)
    message = f"model.pt2 has accuracy {n_right} % on 100 test samples, and front.json says 50 %"
    with pytest.raises(ExportError, match=message.replace(" %", r"\.00 %")):
        check_exported(score, ACCURACY, {"accuracy": 0.5}, file="model.pt2")


@pytest.mark.parametrize(("got", "is_right"), [(2.001, True), (1.999, True), (2.1, False)])
def test_a_file_has_the_error_that_is_stated(got, is_right):
    score = Score({"rmse": got}, 10, 0.004)
    if is_right:
        check_exported(score, RMSE, {"rmse": 2.0}, file="model.pt2")
        return
    with pytest.raises(ExportError, match=r"has RMSE 2.1 on 10 test samples, .* says 2:"):
        check_exported(score, RMSE, {"rmse": 2.0}, file="model.pt2")


@pytest.mark.parametrize(
    ("metric", "got", "stated", "is_right"),
    [
        (ACCURACY, 0.505, 0.5, True),
        (ACCURACY, 0.52, 0.5, False),
        (ACCURACY, 0.9, 1.0, False),
        (RMSE, 50.04, 50.0, True),
        (RMSE, 0.0502, 0.05, False),
        (Metric("loss", "minimize"), 0.0, 0.0, True),
    ],
)
def test_two_measurements_of_one_net_agree_but_for_rounding(metric, got, stated, is_right):
    assert (
        is_same(metric, got, stated, n_samples=1000, share=0.01 if metric == ACCURACY else 0.001)
        is is_right
    )
