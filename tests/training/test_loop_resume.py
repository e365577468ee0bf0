from __future__ import annotations

import itertools

import pytest
from training.fakes import StopAfter
from training.fakes import StoppedError
from training.fakes import equal_states
from training.fakes import make_batches
from training.fakes import make_loader
from training.loops import N_STEPS
from training.loops import make_loop

from dpod_search.errors import CheckpointError
from dpod_search.errors import TrainingError
from dpod_search.progress import SilentProgress
from dpod_search.training import CheckpointFile
from dpod_search.weights import read_tensors
from dpod_search.weights import write_tensors


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


@pytest.mark.parametrize("n_done", [2, 3, 5, 7])
def test_the_last_epoch_may_be_a_part(n_done, tmp_path):
    whole = make_loop(make_loader())
    whole.n_epochs = 7 / 3
    history = whole.run()
    assert history[-1]["step"] == 6
    checkpoint = keep_in(tmp_path)
    stopped = make_loop(make_loader(), checkpoint, StopAfter(n_done))
    stopped.n_epochs = 7 / 3
    with pytest.raises(StoppedError):
        stopped.run()
    resumed = make_loop(make_loader(), checkpoint)
    resumed.n_epochs = 7 / 3
    assert resumed.run() == history
    assert equal_states(resumed.module.state_dict(), whole.module.state_dict())


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
