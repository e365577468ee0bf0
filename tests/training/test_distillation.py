"""What the nets of a plan learn from, labels or the full net's answers, and how much of each."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from torch.nn import functional
from training.fakes import equal_states
from training.fakes import make_batches
from training.fakes import make_pictures
from training.fakes import make_scorer
from training.fakes import make_supernet

from dpod_search.errors import ConfigError
from dpod_search.training import Plan
from dpod_search.training import TrainingSettings
from dpod_search.training.learner import SupernetLearner
from dpod_search.training.schedule import SubnetSchedule
from dpod_search.training.train import train_by_policy


class FixedPolicy:
    """Trains the same plan every step; says whether it was told that partial nets distill."""

    distills: bool | None = None

    def __init__(self, context, *, full=True, rates=(), **unknown):
        assert not unknown
        type(self).distills = context.distills
        space = context.space
        partial = (space.smallest, space.full.replace("conv1", 2))
        self._plan = Plan(full, partial, tuple(rates))

    def begin_step(self, step):
        pass

    def plan(self, step):
        return self._plan

    def path(self):
        return ()

    def state(self):
        return None

    def restore(self, state):
        pass


class ContextOf:
    """As much of a context as the policy above looks at."""

    distills = True

    def __init__(self, supernet):
        self.space = supernet.space


def run_step(supernet, options, **plan):
    """Return the losses of a step and the gradients it leaves."""
    policy = FixedPolicy(ContextOf(supernet), **plan)
    learner = SupernetLearner(
        supernet, SubnetSchedule(supernet, policy, make_scorer()), TrainingSettings(**options)
    )
    supernet.zero_grad()
    losses = learner.compute_gradients(0, *make_pictures(8))
    return losses, [parameter.grad for parameter in supernet.parameters()]


def compute_by_hand(supernet, widths, weight, temperature, smoothing):
    """Compute a partial net's loss from its definition, and its gradients."""
    images, labels = make_pictures(8)
    with torch.no_grad():
        teacher = (copy.deepcopy(supernet)(images) / temperature).softmax(1)
    with supernet.active(widths):
        scores = supernet(images)
    student = (scores / temperature).softmax(1)
    answers = (teacher * (teacher.log() - student.log())).sum(1).mean() * temperature**2
    right = functional.one_hot(labels, scores.shape[1]) * (1 - smoothing)
    truth = -((right + smoothing / scores.shape[1]) * scores.log_softmax(1)).sum(1).mean()
    loss = weight * answers + (1 - weight) * truth
    gradients = torch.autograd.grad(loss, list(supernet.parameters()), allow_unused=True)
    return loss.item(), gradients


def add(*lists):
    """Add gradients, some of which are None."""
    return [sum(g for g in gradients if g is not None) for gradients in zip(*lists, strict=True)]


def assert_close(got, wanted):
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(("temperature", "smoothing"), [(1.0, 0.0), (3.0, 0.1)])
def test_a_partial_net_learns_from_answers_and_labels_by_their_weights(
    weight, temperature, smoothing
):
    supernet = make_supernet().train()
    space = supernet.space
    options = {
        "distillation": weight,
        "temperature": temperature,
        "label_smoothing": smoothing,
    }
    by_hand = [
        compute_by_hand(supernet, widths, weight, temperature, smoothing)
        for widths in (space.smallest, space.full.replace("conv1", 2))
    ]
    # A weight of 0 on the answers, at full width, is the full net's own loss.
    full = compute_by_hand(supernet, space.full, 0.0, 1.0, smoothing)
    losses, gradients = run_step(supernet, options)
    assert losses["loss"] == pytest.approx(full[0], rel=1e-5)
    assert losses["partial_loss"] == pytest.approx(sum(loss for loss, _ in by_hand) / 2, rel=1e-4)
    assert_close(gradients, add(full[1], *(found for _, found in by_hand)))


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
def test_without_the_full_net_the_labels_teach_whatever_the_weight(weight):
    supernet = make_supernet().train()
    space = supernet.space
    by_hand = [
        compute_by_hand(supernet, widths, 0.0, 1.0, 0.0)
        for widths in (space.smallest, space.full.replace("conv1", 2))
    ]
    losses, gradients = run_step(supernet, {"distillation": weight}, full=False)
    assert losses["loss"] == pytest.approx(sum(loss for loss, _ in by_hand) / 2, rel=1e-5)
    assert_close(gradients, add(*(found for _, found in by_hand)))


def test_a_rate_is_the_share_of_its_nets_gradient():
    supernet = make_supernet().train()
    space = supernet.space
    parts = [
        compute_by_hand(supernet, widths, weight, 1.0, 0.0)[1]
        for widths, weight in (
            (space.full, 0.0),
            (space.smallest, 1.0),
            (space.full.replace("conv1", 2), 1.0),
        )
    ]
    losses, gradients = run_step(supernet, {}, rates=(0.25, 1.0))
    quarter = [None if part is None else 0.25 * part for part in parts[1]]
    assert_close(gradients, add(parts[0], quarter, parts[2]))
    # What is told of the losses does not depend on the rates.
    assert losses == pytest.approx(run_step(supernet, {})[0])


def test_a_plan_with_too_few_rates_is_refused():
    supernet = make_supernet()
    with pytest.raises(ValueError, match="2 partial nets, but 1 rates"):
        FixedPolicy(ContextOf(supernet), rates=(0.5,))


def train(supernet, own=None, **settings):
    return train_by_policy(
        supernet,
        make_batches(),
        TrainingSettings(epochs=1, **settings),
        make_scorer(),
        seed=0,
        policy=own,
    )


@pytest.mark.parametrize(("weight", "distills"), [(0.0, False), (0.5, True), (1.0, True)])
def test_a_policy_is_told_whether_partial_nets_need_a_teacher(weight, distills):
    train(make_supernet(), FixedPolicy, distillation=weight)
    assert FixedPolicy.distills is distills


PATH = "training.test_distillation:FixedPolicy"


def test_a_policy_of_ones_own_is_a_class_or_an_import_path():
    options = {"full": False, "rates": (0.5, 1.0)}
    named, given = make_supernet(), make_supernet()
    train(named, policy=PATH, policy_options=options)
    train(given, partial(FixedPolicy, **options))  # the way without a study file
    assert equal_states(named.state_dict(), given.state_dict())


def make_nothing(context):
    """A policy that is none."""


class NoState(FixedPolicy):
    """A policy that cannot be resumed."""

    state = None


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("training.test_distillation:Nowhere", "has no 'Nowhere'"),
        ("training.nowhere:Policy", "there is no module 'training.nowhere'"),
        ("training.test_distillation:PATH", "must be callable, got a str"),
        ("training.test_distillation:make_nothing", r"lacks begin_step, path, plan,"),
        ("training.test_distillation:NoState", r"lacks state; see docs/training-policies.md"),
    ],
)
def test_a_policy_that_cannot_be_used_is_named_in_one_line(path, message):
    with pytest.raises(ConfigError, match=message) as caught:
        train(make_supernet(), policy=path)
    assert "\n" not in str(caught.value)


def test_an_option_that_ones_own_policy_does_not_take_is_named_in_one_line():
    path = "training.test_distillation:make_nothing"
    with pytest.raises(ConfigError, match=r"make_nothing cannot be called.*'period'") as caught:
        train(make_supernet(), policy=path, policy_options={"period": 3})
    assert "\n" not in str(caught.value)
