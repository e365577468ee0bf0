from __future__ import annotations

import copy
import dataclasses
import itertools
import math

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader
from torch.utils.data import DistributedSampler
from torch.utils.data import IterableDataset
from torch.utils.data import TensorDataset
from training.fakes import StopAfter
from training.fakes import StoppedError
from training.fakes import equal_states
from training.fakes import make_batches
from training.fakes import make_loader
from training.fakes import make_net
from training.fakes import make_pictures

from dpod_search.errors import CheckpointError
from dpod_search.errors import DataError
from dpod_search.errors import TrainingError
from dpod_search.progress import SilentProgress
from dpod_search.training import CheckpointFile
from dpod_search.training import Loop
from dpod_search.training import OptimizerSettings
from dpod_search.training.loop import count_batches
from dpod_search.training.loop import rewind
from dpod_search.weights import read_tensors
from dpod_search.weights import write_tensors


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


def keep_in(folder, every_seconds=0.0, key="run"):
    return CheckpointFile(folder / "loop.safetensors", key=key, every_seconds=every_seconds)


LOADERS = {"list": make_batches, "seeded": make_loader}


@pytest.fixture(scope="module", params=LOADERS)
def uninterrupted(request):
    loop = make_loop(LOADERS[request.param]())
    history = loop.run()
    return request.param, loop, history


@pytest.mark.parametrize("n_done", range(1, N_STEPS + 1))
def test_stopped_after_any_step_it_ends_as_if_it_had_not_been(uninterrupted, n_done, tmp_path):
    name, whole, history = uninterrupted
    checkpoint = keep_in(tmp_path)
    with pytest.raises(StoppedError):
        make_loop(LOADERS[name](), checkpoint, StopAfter(n_done)).run()
    resumed = make_loop(LOADERS[name](), checkpoint)
    assert resumed.run() == history
    assert equal_states(resumed.module.state_dict(), whole.module.state_dict())
    assert resumed.learner.seen == whole.learner.seen


def test_a_training_that_stops_again_and_again_gets_there(uninterrupted, tmp_path):
    name, whole, history = uninterrupted
    checkpoint = keep_in(tmp_path)
    for _ in range(N_STEPS - 1):  # the step that is interrupted is not kept, the one before is
        with pytest.raises(StoppedError):
            make_loop(LOADERS[name](), checkpoint, StopAfter(2)).run()
    resumed = make_loop(LOADERS[name](), checkpoint)
    assert resumed.run() == history
    assert equal_states(resumed.module.state_dict(), whole.module.state_dict())


def test_a_finished_training_is_not_trained_again(uninterrupted, tmp_path):
    name, whole, history = uninterrupted
    checkpoint = keep_in(tmp_path, every_seconds=1e9)
    make_loop(LOADERS[name](), checkpoint).run()
    written = checkpoint.path.read_bytes()
    again = make_loop(LOADERS[name](), checkpoint, StopAfter(1))
    assert again.run() == history
    assert equal_states(again.module.state_dict(), whole.module.state_dict())
    assert checkpoint.path.read_bytes() == written


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


class Recorder(SilentProgress):
    def __init__(self):
        self.calls = []

    def start(self, task, total, done=0):
        self.calls.append(("start", task, total, done))

    def advance(self, n=1, note=""):
        self.calls.append(("advance", n, note.split()[0]))

    def finish(self):
        self.calls.append(("finish",))


def test_progress_is_told_of_every_step_and_of_those_done_before(tmp_path):
    checkpoint = keep_in(tmp_path)
    with pytest.raises(StoppedError):
        make_loop(make_batches(), checkpoint, StopAfter(5)).run()
    recorder = Recorder()
    make_loop(make_batches(), checkpoint, recorder).run()
    assert recorder.calls[0] == ("start", "training", N_STEPS, 4)
    assert recorder.calls[1:-1] == [("advance", 1, "loss")] * (N_STEPS - 4)
    assert recorder.calls[-1] == ("finish",)


@pytest.mark.parametrize("what", ["bad_loss_at", "bad_gradient_at"])
def test_what_is_not_finite_stops_and_leaves_the_earlier_checkpoint(what, tmp_path):
    checkpoint = keep_in(tmp_path)
    with pytest.raises(StoppedError):
        make_loop(make_batches(), checkpoint, StopAfter(5)).run()
    with pytest.raises(TrainingError) as caught:
        make_loop(make_batches(), checkpoint, **{what: 6}).run()
    message = str(caught.value)
    assert "step 6 (widths 4:6)" in message
    assert "learning rate" in message
    assert "\n" not in message
    _, state = read_tensors(checkpoint.path)
    assert state["step"] == 6
    # Without what broke it, it goes on from there.
    whole = make_loop(make_batches())
    resumed = make_loop(make_batches(), checkpoint)
    assert resumed.run() == whole.run()


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


def test_seconds_are_those_of_all_processes(tmp_path, monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr("dpod_search.training.loop.time.monotonic", lambda: float(next(clock)))
    checkpoint = keep_in(tmp_path)
    stopped = make_loop(make_batches(), checkpoint, StopAfter(5))
    with pytest.raises(StoppedError):
        stopped.run()
    _, state = read_tensors(checkpoint.path)
    assert state["seconds"] > 0
    resumed = make_loop(make_batches(), checkpoint)
    begun = next(clock)
    resumed.run()
    ticks = next(clock) - begun
    assert state["seconds"] < resumed.seconds <= state["seconds"] + ticks
    again = make_loop(make_batches(), checkpoint)
    again.run()
    assert again.seconds == resumed.seconds


@pytest.mark.parametrize("key", ["step", "history", "learner", "seconds"])
def test_a_checkpoint_without_a_part_is_damaged(key, tmp_path):
    checkpoint = keep_in(tmp_path)
    with pytest.raises(StoppedError):
        make_loop(make_batches(), checkpoint, StopAfter(3)).run()
    tensors, state = read_tensors(checkpoint.path)
    del state[key]
    write_tensors(checkpoint.path, tensors, state)
    check_damaged(checkpoint)


@pytest.mark.parametrize("learner", [None, {}, 3])
def test_a_checkpoint_with_an_odd_learner_is_damaged(learner, tmp_path):
    checkpoint = keep_in(tmp_path)
    with pytest.raises(StoppedError):
        make_loop(make_batches(), checkpoint, StopAfter(3)).run()
    tensors, state = read_tensors(checkpoint.path)
    write_tensors(checkpoint.path, tensors, {**state, "learner": learner})
    check_damaged(checkpoint)


def check_damaged(checkpoint):
    with pytest.raises(CheckpointError, match=r"damaged.*delete it") as caught:
        make_loop(make_batches(), checkpoint).run()
    assert str(checkpoint.path) in str(caught.value)
    assert "\n" not in str(caught.value)


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


def test_batches_are_counted():
    assert count_batches(make_batches()) == 3
    assert count_batches(make_loader()) == 3


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


def test_rewinding_brings_a_loader_to_its_start_and_leaves_others_alone():
    loader = make_loader()
    first = next(iter(loader))[0]
    loader.set_position(4, 2)
    rewind(loader)
    assert torch.equal(next(iter(loader))[0], first)
    rewind(make_batches())


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
