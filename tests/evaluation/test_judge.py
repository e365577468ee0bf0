from __future__ import annotations

import pytest
import torch
from training.fakes import make_batches
from training.fakes import make_pictures
from training.fakes import make_supernet

from dpod_search.evaluation import Evaluator
from dpod_search.evaluation import Judge


@pytest.fixture
def supernet():
    return make_supernet()


def judge_by_hand(supernet, images, batches):
    widths = supernet.space.smallest
    return Evaluator(supernet, images).evaluate(widths, batches).quality


@pytest.mark.parametrize("asked", [(), (21,), (500,)])
def test_all_pictures_judge_if_no_fewer_are_asked_for(supernet, asked):
    images, batches = make_pictures(9, seed=6)[0], make_batches(12, 5, seed=5)
    judge = Judge(supernet, images, batches)
    assert judge.n_images == 21
    assert judge(supernet.space.smallest, *asked) == judge_by_hand(supernet, images, batches)


@pytest.mark.parametrize(
    ("n_images", "n_calibrating", "n_judging"),
    [(20, 9, 11), (18, 9, 9), (17, 9, 8), (11, 6, 5), (4, 2, 2)],
)
def test_the_first_pictures_judge_half_of_them_calibrating(
    supernet, n_images, n_calibrating, n_judging
):
    images, batches = make_pictures(9, seed=6)[0], make_batches(12, 5, seed=5)
    judge = Judge(supernet, images, batches)
    pictures, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    first = [(pictures[:n_judging], labels[:n_judging])]
    expected = judge_by_hand(supernet, images[:n_calibrating], first)
    assert judge(supernet.space.smallest, n_images) == pytest.approx(expected)


def test_few_pictures_to_judge_leave_the_rest_to_calibrate(supernet):
    images, batches = make_pictures(30, seed=6)[0], make_batches(6, 3, seed=5)
    expected = judge_by_hand(supernet, images[:14], batches)
    assert Judge(supernet, images, batches)(supernet.space.smallest, 20) == expected
