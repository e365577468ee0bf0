from __future__ import annotations

import pytest
import torch
from training.fakes import make_batches
from training.fakes import make_net
from training.fakes import make_supernet
from training.policies.contract import make_context
from training.policies.contract import run_policy

from dpod_search.footprint import build_footprint
from dpod_search.training import TrainingSettings
from dpod_search.training.loop import Loop
from dpod_search.training.policies import DensePolicy
from dpod_search.training.schedule import CountedScorer
from dpod_search.training.train import train_by_policy


SETTINGS = TrainingSettings(policy="dense", policy_options={}, epochs=3, lr=0.05)


class Plain:
    """What trains a net that is no supernet."""

    def __init__(self, net):
        self._net = net

    def begin_step(self, step):
        pass

    def compute_gradients(self, step, images, labels):
        loss = torch.nn.functional.cross_entropy(self._net(images), labels)
        torch.autograd.backward(loss)
        return {"loss": loss.item()}

    def describe_step(self, step):
        return "the net"

    def state(self):
        return None

    def restore(self, state):
        pass


def never(widths):
    raise AssertionError("nothing is scored")


def test_every_step_trains_the_full_net_alone_and_the_path_is_that():
    context = make_context(n_steps=30)
    policy = DensePolicy(context)
    assert all(plan.full and not plan.partial for plan in run_policy(policy, range(30)))
    assert policy.path() == (context.space.full,)


@pytest.mark.parametrize("distillation", [0.0, 1.0])
def test_training_is_that_of_the_plain_net_and_costs_as_much(distillation):
    supernet, batches = make_supernet(), make_batches()
    macs = build_footprint(supernet).measure(supernet.space.full)["macs"]
    settings = TrainingSettings(**{**vars(SETTINGS), "distillation": distillation})
    ran = []
    supernet.register_forward_hook(lambda *_: ran.append(supernet.widths))
    result = train_by_policy(
        supernet,
        batches,
        settings,
        CountedScorer(never, lambda widths: build_footprint(supernet).measure(widths)["macs"], 0),
        seed=0,
    )
    assert ran == [supernet.space.full] * 9
    assert result.macs == macs * sum(len(images) for images, _ in batches) * 3
    assert result.scoring_macs == 0
    assert result.path == (supernet.space.full,)

    plain = make_net()
    Loop(
        module=plain,
        loader=batches,
        n_epochs=3,
        learner=Plain(plain),
        optimizer=settings,
        task="train",
        seed=0,
    ).run()
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(supernet.net.state_dict()[name], value, rtol=1e-4, atol=1e-6)
