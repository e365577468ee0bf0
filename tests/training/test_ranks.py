from __future__ import annotations

import functools
import json
import logging
import random

import pytest
import torch
import torch.distributed as dist
from training import rank_once
from training.rank_once import N_STEPS
from training.rank_once import Part
from training.rank_once import compute_gradients
from training.rank_once import make_removable
from training.rank_once import run_ranks

from dpod_search.errors import CheckpointError
from dpod_search.errors import ConfigError
from dpod_search.errors import TrainingError
from dpod_search.training import Ranks
from dpod_search.weights import read_tensors


def read_result(folder, rank):
    return json.loads((folder / f"result{rank}.json").read_text())


def read_steps(folder, rank):
    return (folder / f"steps{rank}.txt").read_text().splitlines()


@pytest.fixture(scope="module")
def train_undisturbed(tmp_path_factory):
    @functools.cache
    def train(n_ranks):
        folder = tmp_path_factory.mktemp(f"ranks{n_ranks}")
        assert run_ranks(n_ranks, rank_once.train, Part(folder)) == [0] * n_ranks
        return folder

    return train


def test_the_gradient_of_a_step_is_the_mean_of_the_ranks(tmp_path):
    assert run_ranks(2, rank_once.leave_gradients, Part(tmp_path)) == [0, 0]
    assert make_removable().grouping.blocks
    for full in (True, False):
        halves = [compute_gradients(Ranks(), half, full=full) for half in range(2)]
        found = [
            read_tensors(tmp_path / f"gradients{full}{rank}.safetensors")[0] for rank in range(2)
        ]
        assert found[0].keys() == found[1].keys() == halves[0].keys()
        for name, gradient in found[0].items():
            assert torch.equal(gradient, found[1][name])
            torch.testing.assert_close(gradient, (halves[0][name] + halves[1][name]) / 2)


@pytest.mark.parametrize("n_ranks", [2, 3])
def test_ranks_have_the_same_weights_after_every_step(train_undisturbed, n_ranks):
    folder = train_undisturbed(n_ranks)
    steps = [read_steps(folder, rank) for rank in range(n_ranks)]
    assert len(steps[0]) == N_STEPS
    assert len(set(steps[0])) == N_STEPS
    results = [read_result(folder, rank) for rank in range(n_ranks)]
    for rank in range(1, n_ranks):
        assert steps[rank] == steps[0]
        # BatchNorm's statistics too, the losses, and the scores that the path grew by.
        assert results[rank] == results[0]
    assert len(results[0]["path"]) == 4


def test_macs_are_those_of_all_ranks(train_undisturbed):
    found = read_result(train_undisturbed(2), 0)["macs"]
    # The full net runs on all pictures, and a partial net on most.
    of_full = rank_once.SETTINGS.epochs * 24 * (4 + 6)
    assert of_full < found < 2 * of_full


@pytest.mark.parametrize(
    ("n_ranks", "which"), [(2, "first"), (2, "last"), (2, "all"), (3, "last")]
)
def test_killed_and_started_again_the_weights_are_the_same(
    train_undisturbed, tmp_path, n_ranks, which
):
    folder = train_undisturbed(n_ranks)
    killed = {"first": (0,), "last": (n_ranks - 1,), "all": tuple(range(n_ranks))}[which]
    # Random on purpose: every run of this test tries another step.
    step = random.SystemRandom().randrange(1, N_STEPS)
    codes = run_ranks(n_ranks, rank_once.train, Part(tmp_path, killed, step))
    for rank in range(n_ranks):
        if rank in killed:
            assert codes[rank] == -9, step
        else:
            assert codes[rank] == 2, step
            error = (tmp_path / f"error{rank}.txt").read_text()
            assert error.startswith(f"TrainingError: rank {rank} lost another of the {n_ranks}")
            assert "\n" not in error
    assert run_ranks(n_ranks, rank_once.train, Part(tmp_path)) == [0] * n_ranks
    n_more = len(read_steps(tmp_path, 0))
    assert n_more in {N_STEPS - step, N_STEPS - step + 1}, "it did not go on, but began anew"
    for rank in range(n_ranks):
        assert read_result(tmp_path, rank) == read_result(folder, 0), step


def test_another_number_of_ranks_goes_on_and_warns(tmp_path, caplog):
    run_ranks(2, rank_once.train, Part(tmp_path, (0,), 5))
    with caplog.at_level(logging.WARNING):
        result = rank_once.train(Part(tmp_path), Ranks())
    assert "goes on with 1 ranks after 2" in caplog.text
    assert len(result.history) == N_STEPS
    assert len(read_steps(tmp_path, 0)) == N_STEPS - 4


@pytest.mark.parametrize(
    ("fault", "kind", "message"),
    [
        ("nan", "TrainingError", "loss became nan at step 1 (full net)"),
        ("policy", "TrainingError", "do not train the same subnets"),
        ("rates", "TrainingError", " of the rate); a policy must depend on"),
        ("tiny", "ConfigError", "a batch of 2 pictures leaves each of 2 ranks 1, and BatchNorm"),
        ("loader", "ConfigError", "rank 1 has 8 and not 12 steps to train"),
    ],
)
def test_what_goes_wrong_on_one_rank_ends_all(tmp_path, fault, kind, message):
    assert run_ranks(2, rank_once.train, Part(tmp_path, fault=fault)) == [2, 2]
    errors = [(tmp_path / f"error{rank}.txt").read_text() for rank in range(2)]
    assert errors[1].startswith(kind)
    assert message in errors[1]
    if fault != "loader":  # which the first rank only sees by its peer's leaving
        assert message in errors[0]
    assert all("\n" not in error for error in errors)


def test_a_damaged_checkpoint_is_named_where_it_lies(tmp_path):
    (tmp_path / "checkpoint.safetensors").write_bytes(b"damaged")
    assert run_ranks(2, rank_once.train, Part(tmp_path)) == [2, 2]
    assert str(tmp_path) in (tmp_path / "error0.txt").read_text()
    assert "lost another" in (tmp_path / "error1.txt").read_text()


@pytest.mark.parametrize(
    "text",
    [
        "[pair.cc:537] Read error [127.0.0.1]:36507: Connection reset by peer. Check the logs",
        "[/gloo/transport/tcp/pair.cc:1] Connection closed by peer [127.0.0.1]",
        "Timed out waiting 1800000ms for recv operation to complete",
        "NCCL error in: x.cpp, remote process exited",
    ],
)
def test_a_lost_rank_is_an_error_in_one_line(text):
    with (
        pytest.raises(TrainingError, match=r"rank 1 lost another of the 2 ranks \("),
        Ranks(1, 2).noticing_losses(),
    ):
        raise RuntimeError(text + "\nand more")


def test_other_errors_stay_what_they_are():
    for error in (RuntimeError("shape mismatch"), CheckpointError("the file of gloo is damaged")):
        with pytest.raises(type(error)) as caught, Ranks(1, 2).noticing_losses():
            raise error
        assert caught.value is error
    with pytest.raises(RuntimeError, match="closed"), Ranks().noticing_losses():
        raise RuntimeError("Connection closed by peer")


@pytest.mark.parametrize(
    ("n_ranks", "batch_size", "fits"),
    [(1, 7, ""), (2, 4, ""), (2, 65, "64 or 66"), (3, 64, "63 or 66"), (4, 4, "8"), (4, 7, "8")],
)
def test_a_batch_must_be_shared_evenly(n_ranks, batch_size, fits):
    ranks = Ranks(0, n_ranks)
    if not fits:
        ranks.check_batch(batch_size)
        return
    with pytest.raises(ConfigError, match=f"got {batch_size}, set it to {fits}$"):
        ranks.check_batch(batch_size)


def test_a_group_that_cannot_share_numbers_is_refused(monkeypatch):
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(dist, "get_backend_config", lambda: "cuda:nccl")
    with pytest.raises(ConfigError, match="cpu:gloo,cuda:nccl"):
        Ranks.joined()


def test_one_rank_alone_changes_nothing():
    ranks = Ranks.joined()
    assert ranks == Ranks(0, 1)
    module = torch.nn.Linear(2, 2)
    assert ranks.join(module) is module
    assert ranks.average({"loss": 2.0}) == {"loss": 2.0}
    assert ranks.agree(float)(3) == 3.0
