from __future__ import annotations

import contextlib
import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch.nn import functional
from training.fakes import FixedPolicy
from training.fakes import equal_states
from training.fakes import make_pictures
from training.fakes import make_scorer
from training.fakes import make_supernet

from dpod_search.errors import ConfigError
from dpod_search.tasks.classes import compute_divergence as distill
from dpod_search.training import Ranks
from dpod_search.training import TrainingSettings
from dpod_search.training.learner import SupernetLearner
from dpod_search.training.policies import Plan
from dpod_search.training.schedule import SubnetSchedule


def compute_by_hand(supernet, plan, images, labels, smoothing):
    """Sum the gradients of the full net's loss and of each partial net's, one by one."""
    parameters = list(supernet.parameters())
    teacher = supernet(images)
    losses = []
    if plan.full:
        losses.append(functional.cross_entropy(teacher, labels, label_smoothing=smoothing))
    sums = [torch.zeros_like(p) for p in parameters]
    for loss in losses:
        for total, gradient in zip(
            sums, torch.autograd.grad(loss, parameters, retain_graph=True), strict=True
        ):
            total += gradient
    for widths in plan.partial:
        with supernet.active(widths):
            scores = supernet(images)
            if plan.full:
                p, log_q = teacher.detach().softmax(1), scores.log_softmax(1)
                loss = (p * (p.log() - log_q)).sum(1).mean()
            else:
                loss = functional.cross_entropy(scores, labels, label_smoothing=smoothing)
            gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        losses.append(loss)
        for total, gradient in zip(sums, gradients, strict=True):
            if gradient is not None:
                total += gradient
    return sums, [loss.item() for loss in losses]


def make_learner(supernet, plan, ranks=None, **settings):
    chosen = TrainingSettings(**settings)
    schedule = SubnetSchedule(supernet, FixedPolicy(plan), make_scorer(), ranks=ranks)
    return SupernetLearner(supernet, schedule, chosen, ranks=ranks)


@pytest.mark.parametrize(
    ("full", "n_partial"), [(True, 0), (True, 1), (True, 3), (False, 1), (False, 3)]
)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_step_sums_the_gradients_of_its_nets(full, n_partial, smoothing):
    supernet = make_supernet()
    supernet.train()
    space = supernet.space
    subnets = (space.smallest, space.full.replace("conv1", 2), space.uniform(0.5))
    plan = Plan(full, subnets[:n_partial])
    images, labels = make_pictures(8)
    wanted, losses = compute_by_hand(copy.deepcopy(supernet), plan, images, labels, smoothing)
    learner = make_learner(supernet, plan, label_smoothing=smoothing)
    supernet.zero_grad()
    found = learner.compute_gradients(0, images, labels)
    for parameter, gradient in zip(supernet.parameters(), wanted, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-6)
    if full:
        assert found["loss"] == pytest.approx(losses[0], rel=1e-5)
        losses = losses[1:]
    if n_partial:
        assert found["partial_loss"] == pytest.approx(sum(losses) / n_partial, rel=1e-4)
    assert set(found) == {"loss"} | ({"partial_loss"} if n_partial else set())
    assert supernet.widths == space.full


def test_a_partial_net_teaches_nothing_to_the_channels_it_lacks():
    supernet = make_supernet()
    supernet.train()
    plan = Plan(False, (supernet.space.smallest,))
    make_learner(supernet, plan).compute_gradients(0, *make_pictures(8))
    gradient = supernet.net.conv1.weight.grad
    assert gradient[:1].abs().sum() > 0
    assert gradient[1:].abs().sum() == 0


def test_a_step_says_what_it_trained():
    supernet = make_supernet()
    space = supernet.space
    both = Plan(True, (space.smallest, space.full))
    assert make_learner(supernet, both).describe_step(0) == ("full net and widths 1:2, 4:6")
    assert make_learner(supernet, Plan(True, ())).describe_step(0) == "full net"


def test_a_step_tells_the_learning_rates_that_are_not_the_steps_own():
    supernet = make_supernet()
    nets = (supernet.space.smallest, supernet.space.full)
    told = [
        make_learner(supernet, Plan(True, nets, rates)).describe_step(0)
        for rates in ((), (1.0, 1.0), (0.5, 1.0), (0.1 + 0.2, 0.3))
    ]
    assert told == [
        "full net and widths 1:2, 4:6",
        "full net and widths 1:2, 4:6",
        "full net and widths 1:2 at 0.5 of the rate, 4:6",
        # Rates of ranks that differ in the last bit are told apart.
        "full net and widths 1:2 at 0.30000000000000004 of the rate, 4:6 at 0.3 of the rate",
    ]


def test_gradients_added_in_place_are_those_of_autograd():
    images, labels = make_pictures(8)
    gradients = []
    for adds in (False, True):
        supernet = make_supernet()
        supernet.train()
        functional.cross_entropy(supernet(images), labels).backward()
        for widths in (supernet.space.smallest, supernet.space.full.replace("conv1", 2)):
            with supernet.active(widths), contextlib.ExitStack() as stack:
                if adds:
                    stack.enter_context(supernet.adding_gradients())
                functional.cross_entropy(supernet(images), labels).backward()
        gradients.append({name: p.grad for name, p in supernet.named_parameters()})
        assert not supernet._state.adds_in_place
    assert equal_states(*gradients)


@pytest.mark.parametrize("kind", ["register_hook", "register_post_accumulate_grad_hook"])
def test_hooks_on_weights_see_the_gradients_of_partial_nets(kind):
    supernet = make_supernet()
    supernet.train()
    weight = supernet.net.conv2.weight
    seen = []
    getattr(weight, kind)(lambda given: seen.append(given.shape))
    plan = Plan(True, (supernet.space.smallest, supernet.space.full.replace("conv1", 2)))
    make_learner(supernet, plan).compute_gradients(0, *make_pictures(8))
    assert seen == [weight.shape] * 3


def test_what_is_no_plan_is_named():
    learner = make_learner(make_supernet(), None)
    with pytest.raises(ConfigError, match="FixedPolicy must return a Plan, got a NoneType"):
        learner.compute_gradients(0, *make_pictures(8))


def test_a_plan_that_trains_nothing_names_the_policy_and_the_step():
    learner = make_learner(make_supernet(), Plan(False, ()))
    with pytest.raises(
        ConfigError, match="FixedPolicy trains nothing at step 7; return"
    ) as caught:
        learner.compute_gradients(7, *make_pictures(8))
    assert "\n" not in str(caught.value)


def test_a_rank_with_a_single_picture_is_told_why(monkeypatch):
    plan = Plan(True, ())
    # One process is not held to it: not every net minds.
    make_learner(make_supernet(), plan).compute_gradients(0, *make_pictures(1))
    monkeypatch.setattr(Ranks, "join", lambda self, module: module)
    learner = make_learner(make_supernet(), plan, ranks=Ranks(1, 3))
    learner.compute_gradients(0, *make_pictures(2))
    with pytest.raises(ConfigError, match="3 pictures leaves each of 3 ranks 1.*batch_size"):
        learner.compute_gradients(0, *make_pictures(1))


@pytest.mark.parametrize("state", [torch.zeros(1), {"loss": float("nan")}])
def test_a_state_that_a_checkpoint_cannot_keep_is_refused(state):
    supernet = make_supernet()
    policy = FixedPolicy(Plan(True, ()))
    policy.state = lambda: state
    learner = SupernetLearner(supernet, SubnetSchedule(supernet, policy, make_scorer()))
    with pytest.raises(ConfigError, match="FixedPolicy cannot be kept in a checkpoint"):
        learner.state()


LOGITS = arrays(float, (4, 3), elements=st.floats(-20, 20, width=32)).map(torch.from_numpy)


def compute_directly(scores, teacher, temperature):
    p = (teacher / temperature).softmax(dim=1)
    q = (scores / temperature).softmax(dim=1)
    return (p * (p / q).log()).sum(dim=1).mean() * temperature**2


@given(LOGITS, st.floats(0.5, 10))
def test_equal_answers_cost_nothing(scores, temperature):
    assert distill(scores, scores, temperature).item() == pytest.approx(0, abs=1e-9)


@given(LOGITS, LOGITS)
def test_distillation_is_never_negative_and_ignores_a_shift(scores, teacher):
    loss = distill(scores, teacher).item()
    assert loss >= -1e-12
    assert distill(scores + 3, teacher - 2).item() == pytest.approx(loss, abs=1e-6)


@given(LOGITS, LOGITS, st.floats(1, 8))
def test_distillation_is_the_mean_divergence_times_the_squared_temperature(
    scores, teacher, temperature
):
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
