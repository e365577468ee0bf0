"""A loop of nine steps over a net of a few hundred weights, which can be told to break."""

from __future__ import annotations

import math

from torch.nn import functional
from training.fakes import make_net

from dpod_search.progress import SilentProgress
from dpod_search.training import Loop
from dpod_search.training import OptimizerSettings


N_EPOCHS = 3
N_STEPS = 9
OPTIMIZER = OptimizerSettings(lr=0.05)


class Labels:
    """Learns labels, counts its steps in its state, and can be told to break."""

    def __init__(self, module, *, bad_loss_at=None, bad_gradient_at=None):
        self.module = module
        self.bad_loss_at = bad_loss_at
        self.bad_gradient_at = bad_gradient_at
        self.seen = 0

    def begin_step(self, step):
        self.seen += step

    def compute_gradients(self, step, images, labels):
        loss = functional.cross_entropy(self.module(images), labels)
        loss.backward()
        if step == self.bad_gradient_at:
            next(self.module.parameters()).grad[0] = math.inf
        return {"loss": math.nan if step == self.bad_loss_at else loss.item()}

    def describe_step(self, step):
        return f"widths 4:{step}"

    def state(self):
        return {"seen": self.seen}

    def restore(self, state):
        self.seen = state["seen"]


def make_loop(loader, checkpoint=None, progress=None, dropout=0.3, **broken):
    net = make_net(dropout)
    return Loop(
        module=net,
        loader=loader,
        n_epochs=N_EPOCHS,
        learner=Labels(net, **broken),
        optimizer=OPTIMIZER,
        checkpoint=checkpoint,
        progress=progress or SilentProgress(),
    )
