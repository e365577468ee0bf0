"""What was scored is what is delivered."""

from __future__ import annotations

import pytest
import torch

from dpod_search.errors import ExportError
from dpod_search.pipeline.stages.scores import Score
from dpod_search.pipeline.stages.scores import check_delivered
from dpod_search.pipeline.stages.scores import count_right


def test_right_pictures_and_draws_are_counted():
    logits = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0 - 1e-6], [2.0, 0.0]])
    batches = [(logits[:3], torch.tensor([0, 0, 1])), (logits[3:], torch.tensor([0]))]
    score = count_right(lambda images: images, batches, tolerance=1e-4)
    assert score == Score(n_right=2, n_images=4, n_draws=1)
    assert score.accuracy == 0.5


@pytest.mark.parametrize(("n_right", "n_draws"), [(50, 0), (48, 2), (52, 2)])
def test_the_stated_count_passes_draws_aside(n_right, n_draws):
    check_delivered(Score(n_right, 100, n_draws), stated=0.5, file="model.pt2")


@pytest.mark.parametrize(("n_right", "n_draws"), [(49, 0), (51, 0), (47, 2)])
def test_one_picture_more_or_less_is_an_error(n_right, n_draws):
    message = f"model.pt2 gets {n_right} of 100 test pictures right, and front.json says 50"
    with pytest.raises(ExportError, match=message):
        check_delivered(Score(n_right, 100, n_draws), stated=0.5, file="model.pt2")
