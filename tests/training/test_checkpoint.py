from __future__ import annotations

import json

import pytest
import safetensors.torch
import torch
from training.fakes import equal_states
from training.fakes import make_net

from dpod_search.errors import CheckpointError
from dpod_search.training import CheckpointFile
from dpod_search.training import OptimizerSettings
from dpod_search.weights import read_tensors
from dpod_search.weights import write_tensors


STATE = {"step": 3, "history": [{"step": 0, "loss": 1.5}], "learner": {"path": [[3, 2]]}}


@pytest.fixture
def trained():
    """A net one step in, so that its optimizer has momentum."""
    net = make_net()
    optimizer = OptimizerSettings().make_optimizer(net)
    net(torch.randn(4, 1, 6, 6)).square().sum().backward()
    optimizer.step()
    return net, optimizer


@pytest.fixture
def written(trained, tmp_path):
    checkpoint = CheckpointFile(tmp_path / "deep" / "run.safetensors", key="this run")
    checkpoint.save(*trained, STATE)
    return checkpoint


def load(checkpoint, seed=5):
    net = make_net(seed=seed)
    optimizer = OptimizerSettings().make_optimizer(net)
    return net, optimizer, checkpoint.load(net, optimizer)


def test_weights_momentum_and_state_come_back_bit_for_bit(trained, written):
    net, optimizer, state = load(written)
    assert equal_states(net.state_dict(), trained[0].state_dict())
    slots = [o.state_dict()["state"] for o in (optimizer, trained[1])]
    assert slots[0].keys() == slots[1].keys()
    assert len(slots[0]) == len(list(net.parameters()))
    for index, slot in slots[0].items():
        assert torch.equal(slot["momentum_buffer"], slots[1][index]["momentum_buffer"])
    assert {name: state[name] for name in STATE} == STATE


def test_without_a_file_there_is_nothing_to_load(tmp_path):
    _, _, state = load(CheckpointFile(tmp_path / "none.safetensors", key="this run"))
    assert state is None


def test_the_checkpoint_of_another_run_is_refused(written):
    with pytest.raises(CheckpointError, match="another training run"):
        load(CheckpointFile(written.path, key="that run"))


def test_any_other_safetensors_file_is_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    write_tensors(path, make_net().state_dict())
    with pytest.raises(CheckpointError, match="another training run"):
        load(CheckpointFile(path, key="this run"))


def test_the_checkpoint_of_another_net_is_refused(written):
    net = torch.nn.Linear(3, 3)
    with pytest.raises(CheckpointError, match="does not fit the model"):
        written.load(net, OptimizerSettings().make_optimizer(net))


def damage(path, how):
    data = path.read_bytes()
    path.write_bytes(
        {
            "truncated": data[: len(data) // 2],
            "empty": b"",
            "garbage": b"\x00\xff" * 400,
            "text": b"not a checkpoint\nat all\n",
            "longer": data + b"\x00" * 8,
        }[how]
    )


@pytest.mark.parametrize("how", ["truncated", "empty", "garbage", "text", "longer"])
def test_a_damaged_file_is_said_in_one_line(written, how):
    damage(written.path, how)
    with pytest.raises(CheckpointError, match="delete it") as caught:
        load(written)
    assert str(written.path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_byte_of_a_checkpoint_changes_unnoticed(written):
    data = written.path.read_bytes()
    net, optimizer = make_net(), OptimizerSettings().make_optimizer(make_net())
    for place in range(0, len(data), 5):
        changed = bytearray(data)
        changed[place] ^= 1 << place % 8
        written.path.write_bytes(changed)
        with pytest.raises(CheckpointError) as caught:
            written.load(net, optimizer)
        assert "\n" not in str(caught.value)


def test_a_changed_digit_of_the_state_is_said_in_one_line(written):
    data = written.path.read_bytes()
    assert b'"step\\": 3' in data
    written.path.write_bytes(data.replace(b'"step\\": 3', b'"step\\": 2'))
    with pytest.raises(CheckpointError, match=r"its hash.*damaged.*delete it"):
        load(written)


def test_a_checkpoint_without_a_hash_is_refused(written):
    tensors, state = read_tensors(written.path)
    metadata = {"dpod_search": json.dumps(state)}
    written.path.write_bytes(safetensors.torch.save(tensors, metadata))
    with pytest.raises(CheckpointError, match=r"no hash.*delete it"):
        load(written)


def test_an_odd_name_of_a_momentum_is_said_in_one_line(written):
    tensors, state = read_tensors(written.path)
    write_tensors(written.path, {**tensors, "optimizer.x.momentum_buffer": torch.ones(1)}, state)
    with pytest.raises(CheckpointError, match="damaged"):
        load(written)


def test_momentum_of_another_shape_is_said_in_one_line(written):
    tensors, state = read_tensors(written.path)
    name = next(name for name in tensors if name.startswith("optimizer."))
    write_tensors(written.path, {**tensors, name: torch.ones(7)}, state)
    with pytest.raises(CheckpointError, match="damaged"):
        load(written)


def test_a_file_that_cannot_be_written_leaves_the_earlier_one(trained, written, monkeypatch):
    before = written.path.read_bytes()

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(CheckpointError, match="No space left on device"):
        written.save(*trained, {**STATE, "step": 4})
    assert written.path.read_bytes() == before
    assert [p.name for p in written.path.parent.iterdir()] == [written.path.name]


def test_removing_twice_is_no_error(written):
    written.remove()
    assert not written.path.exists()
    written.remove()
