"""Early stopping: the best weights are delivered, also after a kill."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn
from training.fakes import StopAfter
from training.fakes import StoppedError
from training.fakes import equal_states
from training.fakes import make_loader
from training.fakes import make_net

from dpod_search.finetune import DistillationLearner
from dpod_search.training import CheckpointFile
from dpod_search.training import Loop
from dpod_search.training import OptimizerSettings
from dpod_search.training.stopping import N_LOOKS
from dpod_search.training.stopping import EarlyStop


class Judge:
    """Gives the looks the scores it was told, and keeps what it was shown."""

    def __init__(self, scores):
        self.scores = list(scores)
        self.shown = []

    def __call__(self, module):
        self.shown.append({name: t.clone() for name, t in module.state_dict().items()})
        with torch.no_grad():  # it may do with its copy as it likes
            for parameter in module.parameters():
                parameter.zero_()
        return self.scores[len(self.shown) - 1]


def make_loop(judge, patience=3, n_epochs=20, ema_decay=0.0, **options):
    net = make_net(seed=1)
    return Loop(
        module=net,
        loader=make_loader(),
        n_epochs=n_epochs,
        learner=DistillationLearner(net),
        optimizer=OptimizerSettings(lr=0.01, ema_decay=ema_decay),
        early_stop=EarlyStop(judge, patience),
        **options,
    )


def test_looks_are_spread_evenly_and_the_last_step_has_one():
    for n_steps in (20, 33, 400, 1001):
        due = [step for step in range(n_steps) if EarlyStop.is_due(step, n_steps)]
        assert len(due) == N_LOOKS
        assert due[-1] == n_steps - 1
        gaps = [b - a for a, b in itertools.pairwise(due)]
        assert max(gaps) - min(gaps) <= 1
    assert [s for s in range(7) if EarlyStop.is_due(s, 7)] == list(range(7))


def test_it_ends_when_patience_does_and_delivers_the_best():
    judge = Judge([0.1, 0.5, 0.4, 0.5, 0.3] + [1.0] * 15)
    loop = make_loop(judge)
    history = loop.run()
    assert len(judge.shown) == 5
    assert history[-1]["step"] == 14  # three steps an epoch, a look each
    assert equal_states(loop.module.state_dict(), judge.shown[1])


def test_a_rise_at_the_end_is_delivered():
    judge = Judge([i / N_LOOKS for i in range(N_LOOKS)])
    loop = make_loop(judge)
    loop.run()
    assert len(judge.shown) == N_LOOKS
    assert equal_states(loop.module.state_dict(), judge.shown[-1])


def test_what_would_be_delivered_is_looked_at_the_average_where_there_is_one():
    plain, averaged = Judge([0.5] * N_LOOKS), Judge([0.5] * N_LOOKS)
    make_loop(plain, patience=30).run()
    make_loop(averaged, patience=30, ema_decay=0.9).run()
    weights = [judge.shown[-1]["head.weight"] for judge in (plain, averaged)]
    assert not torch.equal(*weights)


@pytest.mark.parametrize("n_done", [1, 5, 6, 7, 14, 15])
def test_killed_at_any_step_it_ends_alike(n_done, tmp_path):
    scores = [0.1, 0.5, 0.4, 0.5, 0.3]
    whole = make_loop(Judge(scores))
    history = whole.run()
    checkpoint = CheckpointFile(tmp_path / "c.safetensors", key="k", every_seconds=0)
    first = Judge(scores)
    with pytest.raises(StoppedError):
        make_loop(first, checkpoint=checkpoint, progress=StopAfter(n_done)).run()
    # The step that was cut off is done again, and with it its look.
    rest = make_loop(Judge(scores[(n_done - 1) // 3 :]), checkpoint=checkpoint)
    assert rest.run() == history
    assert equal_states(rest.module.state_dict(), whole.module.state_dict())


def test_a_net_of_one_weight_can_be_looked_at():
    stop = EarlyStop(lambda _module: 0.5, 1)
    net = nn.Linear(1, 1)
    assert not stop.look(net, None)
    assert stop.look(net, None)
