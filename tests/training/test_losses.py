from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dpod_search.training import distill


LOGITS = arrays(float, (4, 3), elements=st.floats(-20, 20, width=32)).map(torch.from_numpy)


def compute_directly(scores, teacher, temperature):
    p = (teacher / temperature).softmax(dim=1)
    q = (scores / temperature).softmax(dim=1)
    return (p * (p / q).log()).sum(dim=1).mean() * temperature**2


@given(LOGITS, st.floats(0.5, 10))
def test_equal_answers_cost_nothing(scores, temperature):
    assert distill(scores, scores, temperature).item() == pytest.approx(0, abs=1e-9)


@given(LOGITS, LOGITS)
def test_it_is_never_negative_and_ignores_a_shift(scores, teacher):
    loss = distill(scores, teacher).item()
    assert loss >= -1e-12
    assert distill(scores + 3, teacher - 2).item() == pytest.approx(loss, abs=1e-6)


@given(LOGITS, LOGITS, st.floats(1, 8))
def test_it_is_the_mean_divergence_times_the_squared_temperature(scores, teacher, temperature):
    expected = compute_directly(scores, teacher, temperature).item()
    assert distill(scores, teacher, temperature).item() == pytest.approx(expected, abs=1e-6)


def test_different_answers_cost_something():
    assert distill(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])).item() > 0.1


def test_no_gradient_flows_to_the_teacher():
    scores = torch.randn(4, 3, requires_grad=True)
    teacher = torch.randn(4, 3, requires_grad=True)
    distill(scores, teacher, 2.0).backward()
    assert scores.grad.abs().sum() > 0
    assert teacher.grad is None
