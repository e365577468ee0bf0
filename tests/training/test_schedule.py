"""A loop of one's own over the subnets of a schedule: it ends where ours ends."""

from __future__ import annotations

import json
from collections import UserDict

import pytest
import torch
from torch import nn
from torch.nn import functional
from training import by_hand
from training.by_hand import BATCHES
from training.by_hand import EPOCHS
from training.by_hand import SETTINGS
from training.by_hand import assert_same
from training.by_hand import make_schedule
from training.by_hand import make_supernet
from training.by_hand import train_by_hand
from training.rank_once import Part
from training.rank_once import run_ranks

import dpod_search as dpod
from dpod_search.errors import CheckpointError
from dpod_search.errors import DataError
from dpod_search.errors import TrainingError
from dpod_search.inputs import ModelCall
from dpod_search.training import Ranks
from dpod_search.training import schedule as schedule_file


@pytest.fixture(scope="module")
def ours():
    supernet = make_supernet()
    result = dpod.train_supernet(supernet, BATCHES, settings=SETTINGS, seed=3)
    return supernet, result


def test_a_loop_by_hand_ends_with_the_same_weights(ours):
    wanted, result = ours
    supernet = make_supernet()
    schedule = make_schedule(supernet)
    train_by_hand(supernet, schedule)
    schedule.finish()
    assert_same(supernet, wanted)
    assert not supernet.training
    assert schedule.path() == result.path
    assert (schedule.macs, schedule.scoring_macs) == (result.macs, result.scoring_macs)
    assert schedule.step == schedule.n_steps == result.n_steps == EPOCHS * len(BATCHES)


def test_it_goes_on_from_its_state_as_if_nothing_had_been(ours):
    wanted, _ = ours
    supernet = make_supernet()
    schedule, optimizer = make_schedule(supernet), SETTINGS.make_optimizer(supernet)
    train_by_hand(supernet, schedule, optimizer=optimizer, last=11)
    kept = json.loads(json.dumps(schedule.state_dict()))
    weights, momenta = supernet.state_dict(), optimizer.state_dict()
    later = make_supernet()
    again, moved = make_schedule(later), SETTINGS.make_optimizer(later)
    later.load_state_dict(weights)
    moved.load_state_dict(momenta)
    again.load_state_dict(kept)
    train_by_hand(later, again, optimizer=moved)
    again.finish()
    assert_same(later, wanted)


@pytest.mark.parametrize("scale", [1.0, 2.0**16])
def test_scaled_losses_change_no_bit(ours, scale):
    wanted, _ = ours
    supernet = make_supernet()
    schedule = make_schedule(supernet)
    train_by_hand(supernet, schedule, scaler=torch.amp.GradScaler("cpu", init_scale=scale))
    schedule.finish()
    assert_same(supernet, wanted)


def autocast_to(kind):
    return lambda: torch.autocast("cpu", dtype=kind)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_mixed_precision_ends_near_the_whole_one(ours, kind):
    wanted, _ = ours
    supernet = make_supernet()
    schedule = make_schedule(supernet)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
    train_by_hand(supernet, schedule, autocast=autocast_to(kind), scaler=scaler)
    schedule.finish()
    start, end, near = (
        torch.cat([parameter.detach().flatten() for parameter in net.parameters()])
        for net in (make_supernet(), wanted, supernet)
    )
    assert not torch.equal(near, end)
    assert (near - end).norm() < 0.1 * (end - start).norm()


def test_steps_whose_gradients_overflow_are_steps_too():
    supernet = make_supernet()
    schedule = make_schedule(supernet)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**30)
    train_by_hand(supernet, schedule, autocast=autocast_to(torch.float16), scaler=scaler)
    assert scaler.get_scale() < 2.0**30
    assert schedule.step == schedule.n_steps
    assert all(tensor.isfinite().all() for tensor in supernet.state_dict().values())


class Two(nn.Module):
    """A picture and a row of numbers."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3)
        self.lin = nn.Linear(4, 8)
        self.head = nn.Linear(16, 3)

    def forward(self, picture, row):
        seen = self.conv(picture).relu().mean((2, 3))
        return self.head(torch.cat([seen, self.lin(row).relu()], 1))


@pytest.mark.parametrize(
    ("form", "run"),
    [
        (lambda x, row: (x, row), lambda net, samples: net(*samples)),
        (lambda x, row: [x, row], lambda net, samples: net(*samples)),
        (lambda x, row: {"row": row, "picture": x}, lambda net, samples: net(**samples)),
        (lambda x, row: ModelCall((x,), {"row": row}), lambda net, samples: samples.run(net)),
    ],
)
def test_a_batch_of_several_inputs_keeps_its_form(form, run):
    batches = [(form(x, torch.randn(8, 4)), y) for x, y in BATCHES]
    torch.manual_seed(0)
    supernet = dpod.build_supernet(Two(), (torch.randn(2, 1, 6, 6), torch.randn(2, 4)))
    schedule = dpod.make_schedule(supernet, batches, settings=SETTINGS, seed=3)
    for samples, labels in batches:
        moved = schedule.put(samples)
        assert type(moved) is type(samples)
        for turn in schedule.next_step(len(labels)):
            with turn:
                functional.cross_entropy(run(supernet, moved), labels).backward()
    schedule.finish()
    assert schedule.step == len(batches)


def test_several_inputs_are_laid_out_as_the_weights_are():
    supernet = make_supernet()
    schedule = make_schedule(supernet)
    images, row = torch.randn(2, 3, 4, 5), torch.randn(2, 4)
    given = {"images": (images, [row]), "scale": 2.0, "mask": None}
    moved = schedule.put(given)
    assert moved["images"][0].is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(moved["images"][0], images)
    assert moved["images"][1][0] is row
    assert (moved["scale"], moved["mask"]) == (2.0, None)
    assert given["images"][0] is images


@pytest.mark.parametrize("given", [(), {"scale": 2.0}, "pictures", UserDict(x=torch.zeros(2))])
def test_what_has_no_tensor_is_not_moved(given):
    with pytest.raises(DataError, match=r"a tensor, or a tuple, list or dict of tensors; got a "):
        make_schedule(make_supernet()).put(given)


def test_ranks_end_where_ours_end(tmp_path):
    assert run_ranks(2, by_hand.train_as_ranks, Part(tmp_path)) == [0, 0]
    first, second = (json.loads((tmp_path / f"result{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    assert first["by hand"] == first["ours"]
    assert len(first["ours"][2]) > 1


@pytest.mark.parametrize("fault", ["policy", "rates", "state"])
def test_ranks_that_would_train_different_subnets_end_in_one_line(tmp_path, fault):
    assert run_ranks(2, by_hand.disagree, Part(tmp_path, fault=fault)) == [2, 2]
    for rank in range(2):
        error = (tmp_path / f"error{rank}.txt").read_text()
        assert error.startswith("TrainingError: the ranks do not train the same subnets")
        assert "\n" not in error


def test_gradients_may_be_gathered_over_several_batches():
    supernet = make_supernet()
    schedule = make_schedule(supernet, policy="uniform")
    supernet.eval()  # BatchNorm would see half of the pictures at a time
    images, labels = BATCHES[0]

    def run(parts):
        supernet.zero_grad()
        for turn in schedule.turns(0, len(images)):
            with turn:
                for x, y in parts:
                    loss = functional.cross_entropy(supernet(x), y) * len(x) / len(images)
                    loss.backward()
        return [p.grad.clone() for p in supernet.parameters()]

    schedule.begin_step(0)
    whole = run([(images, labels)])
    halves = run(list(zip(images.split(4), labels.split(4), strict=True)))
    for one, other in zip(whole, halves, strict=True):
        torch.testing.assert_close(one, other)


def test_a_step_that_fails_leaves_the_supernet_whole():
    supernet = make_supernet()
    schedule = make_schedule(supernet, policy="uniform")
    with pytest.raises(ZeroDivisionError):
        for turn in schedule.next_step(8):
            with turn:
                if not turn.is_full:
                    raise ZeroDivisionError
    assert supernet.widths == supernet.space.full
    with pytest.raises(TrainingError, match="left before its last turn"):
        next(schedule.next_step(8))
    assert schedule.step == 0


def test_a_turn_that_is_not_entered_is_noticed():
    schedule = make_schedule(make_supernet())
    with pytest.raises(TrainingError, match="with turn"):
        list(schedule.next_step(8))


def test_there_are_no_more_steps_than_were_planned():
    schedule = make_schedule(make_supernet(), epochs=1)
    for _ in range(schedule.n_steps):
        for turn in schedule.next_step(8):
            with turn:
                pass
    with pytest.raises(TrainingError, match="all 6 steps"):
        next(schedule.next_step(8))


def test_a_turn_is_not_entered_inside_itself():
    schedule = make_schedule(make_supernet())
    turn = next(schedule.next_step(8))
    with turn, pytest.raises(TrainingError, match="entered once"):
        turn.__enter__()


def test_a_turn_that_fails_to_begin_leaves_nothing_behind():
    supernet = make_supernet()
    schedule = make_schedule(supernet, policy="uniform")
    for turn in schedule.next_step(8):
        if turn.is_full:
            with turn:
                continue
        turn.contexts = (*turn.contexts, lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            turn.__enter__()
        break
    assert supernet.widths == supernet.space.full


@pytest.mark.parametrize("other", [{"policy": "uniform"}, {"epochs": EPOCHS + 1}])
def test_the_state_of_another_schedule_is_refused(other):
    schedule = make_schedule(make_supernet(), **other)
    state = make_schedule(make_supernet()).state_dict()
    with pytest.raises(CheckpointError, match="make the schedule as that one was made"):
        schedule.load_state_dict(state)
    with pytest.raises(CheckpointError, match="step -5"):
        schedule.load_state_dict({**schedule.state_dict(), "step": -5})


def test_statistics_are_estimated_on_as_many_pictures_at_once_as_was_said(monkeypatch):
    sizes = []
    monkeypatch.setattr(
        schedule_file, "calibrate", lambda *_, batch_size: sizes.append(batch_size)
    )
    make_schedule(make_supernet(), calibration_batch_size=8).finish()
    assert sizes == [8]


def test_ranks_end_with_the_statistics_of_the_first(monkeypatch):
    shared = []
    monkeypatch.setattr(Ranks, "share_tensors", lambda _, module: shared.append(module))
    supernet = make_supernet()
    make_schedule(supernet).finish()
    assert shared == [supernet]


@pytest.mark.parametrize("state", [{}, {"step": 1}, {"step": "x", "policy": {}, "macs": 0}])
def test_what_is_no_state_is_refused(state):
    with pytest.raises(CheckpointError, match="no state of a schedule"):
        make_schedule(make_supernet()).load_state_dict(state)
