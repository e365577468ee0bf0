"""What ``train_supernet`` chooses for its caller."""

from __future__ import annotations

import copy

import pytest
import torch
from training.fakes import StopAfter
from training.fakes import StoppedError
from training.fakes import equal_states
from training.fakes import make_batches
from training.fakes import make_loader
from training.fakes import make_pictures
from training.fakes import make_supernet

import dpod_search
from dpod_search import TrainingSettings
from dpod_search import train_supernet
from dpod_search.errors import ConfigError
from dpod_search.errors import DataError
from dpod_search.evaluation import calibrate
from dpod_search.training import CheckpointFile


SETTINGS = TrainingSettings(epochs=4, lr=0.05, policy_options={"n_profiles": 4})


def test_it_is_the_public_verb():
    assert dpod_search.train_supernet is train_supernet


def test_afterwards_the_full_net_is_calibrated_and_remembers_its_pictures():
    supernet = make_supernet()
    train_supernet(supernet, make_batches(), settings=SETTINGS)
    assert not supernet.training
    assert torch.equal(supernet.calibration_images, make_pictures()[0])
    fresh = copy.deepcopy(supernet)
    calibrate(fresh, supernet.calibration_images)
    assert equal_states(dict(supernet.named_parameters()), dict(fresh.named_parameters()))
    for name, buffer in fresh.named_buffers():
        if "running" in name:
            assert torch.equal(buffer, supernet.get_buffer(name))


def test_given_calibration_pictures_are_kept():
    supernet = make_supernet()
    images = make_pictures(10, seed=4)[0]
    train_supernet(supernet, make_batches(), settings=SETTINGS, calibration_images=images)
    assert supernet.calibration_images is images


def test_arguments_override_settings():
    supernet = make_supernet()
    assert train_supernet(supernet, make_batches(), settings=SETTINGS).n_steps == 12
    assert train_supernet(supernet, make_batches(), settings=SETTINGS, epochs=2).n_steps == 6
    assert train_supernet(supernet, make_batches(), policy="dpod", epochs=1).n_steps == 3


@pytest.mark.parametrize("arguments", [{"epochs": 0}, {"policy": "dpad"}, {"policy": ""}])
def test_arguments_out_of_range_are_not_replaced_by_defaults(arguments):
    with pytest.raises(ConfigError, match=f"training.{next(iter(arguments))}"):
        train_supernet(make_supernet(), make_batches(), settings=SETTINGS, **arguments)


class Counted(list):
    n_read = 0

    def __iter__(self):
        self.n_read += 1
        return super().__iter__()


def test_the_scoring_pictures_judge_the_path():
    judged = Counted(make_batches(9, 9, seed=100))
    train_supernet(make_supernet(), make_batches(), settings=SETTINGS, scoring_loader=judged)
    assert judged.n_read > 3  # every shrink of the path was scored on them


def test_an_empty_loader_is_refused():
    with pytest.raises(DataError):
        train_supernet(make_supernet(), [], settings=SETTINGS)


def test_interrupted_and_called_again_with_the_same_loader_it_ends_the_same(tmp_path):
    whole = make_supernet()
    result = train_supernet(whole, make_loader(), settings=SETTINGS)
    checkpoint = CheckpointFile(tmp_path / "c.safetensors", key="run", every_seconds=0)
    loader, supernet = make_loader(), make_supernet()
    with pytest.raises(StoppedError):
        train_supernet(
            supernet, loader, settings=SETTINGS, checkpoint=checkpoint, progress=StopAfter(8)
        )
    assert (loader.epoch, loader.batch) != (0, 0)
    resumed = train_supernet(supernet, loader, settings=SETTINGS, checkpoint=checkpoint)
    assert resumed.path == result.path
    assert resumed.history == result.history
    assert equal_states(supernet.state_dict(), whole.state_dict())
    assert torch.equal(supernet.calibration_images, whole.calibration_images)


def test_a_model_is_no_supernet():
    with pytest.raises(ConfigError, match="takes a supernet, got a Linear; make one with build_"):
        train_supernet(torch.nn.Linear(2, 2), make_batches())


def test_the_result_draws_the_losses_that_the_report_draws():
    result = train_supernet(make_supernet(), make_batches(), settings=SETTINGS)
    drawn = {trace.name: trace for trace in result.plot().data}
    for name, key in (("loss of the full net", "loss"), ("learning rate", "lr")):
        assert list(drawn[name].x) == [entry["step"] for entry in result.history]
        assert list(drawn[name].y) == [entry[key] for entry in result.history]
