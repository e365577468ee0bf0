from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.data import DistributedSampler
from torch.utils.data import IterableDataset
from torch.utils.data import TensorDataset
from training.fakes import equal_states
from training.fakes import make_batches
from training.fakes import make_net
from training.fakes import make_pictures
from training.loops import N_EPOCHS
from training.loops import OPTIMIZER
from training.loops import Labels
from training.loops import make_loop

from dpod_search.errors import DataError
from dpod_search.errors import TrainingError
from dpod_search.training import Loop
from dpod_search.training import OptimizerSettings


def test_dropout_depends_on_the_seed_and_the_step_alone():
    loops = [make_loop(make_batches()) for _ in range(3)]
    loops[2].seed = 1
    for number, loop in enumerate(loops):
        torch.manual_seed(number)
        before = torch.get_rng_state()
        loop.run()
        assert torch.equal(torch.get_rng_state(), before)
    states = [loop.module.state_dict() for loop in loops]
    assert equal_states(states[0], states[1])
    assert not equal_states(states[0], states[2])


@pytest.mark.gpu
def test_on_a_gpu_too_dropout_depends_on_the_seed_and_the_step_alone():
    states = []
    for number in range(2):
        loop = make_loop(make_batches())
        loop.module.to("cuda")
        torch.cuda.manual_seed(number)
        before = torch.cuda.get_rng_state()
        loop.n_epochs = 1
        loop.run()
        assert torch.equal(torch.cuda.get_rng_state(), before)
        states.append(loop.module.state_dict())
    for name, tensor in states[0].items():
        torch.testing.assert_close(tensor, states[1][name])


def test_the_history_has_about_200_evenly_spread_steps():
    loop = make_loop(make_batches(n=4, size=2))
    loop.n_epochs = 300
    history = loop.run()
    steps = [entry["step"] for entry in history]
    assert steps == [*range(0, 600, 3), 599]
    assert set(history[0]) == {"step", "lr", "loss"}
    assert history[0]["lr"] == OPTIMIZER.rate_at(0, 600)


def test_gradients_that_are_not_finite_never_reach_the_weights():
    loop = make_loop(make_batches(), bad_gradient_at=0)
    before = copy.deepcopy(dict(loop.module.named_parameters()))
    with pytest.raises(TrainingError, match="the norm of the gradients became"):
        loop.run()
    assert equal_states(dict(loop.module.named_parameters()), before)


@pytest.mark.parametrize("max_norm", [2.0, 0.0])
def test_large_gradients_are_scaled_down_unless_any_length_is_allowed(max_norm):
    class Steep(Labels):
        def compute_gradients(self, step, images, labels):
            losses = super().compute_gradients(step, images, labels)
            for parameter in self.module.parameters():
                parameter.grad *= 1e6
            return losses

    net = make_net()
    before = copy.deepcopy(net)
    settings = OptimizerSettings(
        lr=0.1, momentum=0, weight_decay=0, warmup_share=0, max_grad_norm=max_norm
    )
    batch = make_batches()[:1]
    loop = Loop(net, batch, 1, Steep(net), settings)
    loop.run()
    pairs = zip(net.parameters(), before.parameters(), strict=True)
    moved = torch.cat([(a - b).flatten() for a, b in pairs]).norm().item()
    assert (moved == pytest.approx(0.1 * 2.0, rel=1e-3)) == (max_norm == 2)
    assert (moved > 1e3) == (max_norm == 0)


def test_small_gradients_are_left_as_they_are():
    nets = []
    for max_norm in (0.0, 1e6):
        loop = make_loop(make_batches())
        loop.optimizer = dataclasses.replace(OPTIMIZER, max_grad_norm=max_norm)
        loop.run()
        nets.append(loop.module.state_dict())
    assert equal_states(*nets)


class Endless(IterableDataset):
    def __iter__(self):
        yield from make_batches()


@pytest.mark.parametrize(
    ("loader", "match"),
    [
        ([], "is empty"),
        (iter(make_batches()), "has no length"),
        (DataLoader(Endless(), batch_size=None), "has no length"),
    ],
)
def test_loaders_without_batches_or_length_are_refused(loader, match):
    with pytest.raises(DataError, match=match):
        make_loop(loader).run()


def test_a_sampler_is_told_the_epoch():
    images, labels = make_pictures()
    pictures = TensorDataset(images, labels)
    sampler = DistributedSampler(pictures, num_replicas=2, rank=0, seed=3)
    epochs = []

    class Watched(DataLoader):
        def __iter__(self):
            epochs.append(list(self.sampler))
            return super().__iter__()

    make_loop(Watched(pictures, batch_size=4, sampler=sampler)).run()
    wanted = []
    for epoch in range(N_EPOCHS):
        sampler.set_epoch(epoch)
        wanted.append(list(sampler))
    assert epochs == wanted
    assert wanted[0] != wanted[1]


def test_a_bias_alone_can_be_trained():
    # A net with frozen weights has parameters without gradients; they stay as they are.
    net = make_net()
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(name == "head.bias")
    before = copy.deepcopy(dict(net.named_parameters()))
    Loop(net, make_batches(), 1, Labels(net), OPTIMIZER).run()
    after = dict(net.named_parameters())
    moved = {name for name in after if not torch.equal(after[name], before[name])}
    assert moved == {"head.bias"}
    assert isinstance(net, nn.Module)
