"""Finetuning: what is delivered is what was scored, and the supernet stays as it was."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Iterator

import pytest
import torch
from torch.nn import functional
from training.fakes import StopAfter
from training.fakes import StoppedError
from training.fakes import equal_states
from training.fakes import make_batches
from training.fakes import make_loader
from training.fakes import make_net
from training.fakes import make_pictures
from training.fakes import make_supernet
from training.fakes import single_thread

from dpod_search import search
from dpod_search import train_supernet
from dpod_search.errors import CheckpointError
from dpod_search.errors import ConfigError
from dpod_search.errors import DataError
from dpod_search.errors import TrainingError
from dpod_search.evaluation import Evaluator
from dpod_search.evaluation import calibrate
from dpod_search.evaluation import measure_accuracy
from dpod_search.finetune import DistillationLearner
from dpod_search.finetune import FinetuneSettings
from dpod_search.finetune import Teacher
from dpod_search.finetune import finetune
from dpod_search.footprint import build_footprint
from dpod_search.search import Accuracy
from dpod_search.search import Candidate
from dpod_search.search import Macs
from dpod_search.supernet import Subnet
from dpod_search.training import CheckpointFile


SETTINGS = FinetuneSettings(epochs=3, equal_cost=0, lr=0.05)
N_STEPS = 9
VALIDATION = make_batches(60, 20, seed=8)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    with single_thread():
        yield


@pytest.fixture(scope="module")
def trained():
    """A trained supernet, shared: finetuning must not change it."""
    supernet = make_supernet(dropout=0.1)
    train_supernet(supernet, make_batches(), epochs=6)
    return supernet


@pytest.fixture
def subnet(trained):
    return Subnet(trained, trained.space.uniform(0.5))


def run(subnet, loader=None, **options):
    options = {"settings": SETTINGS, "validation_loader": VALIDATION, **options}
    return finetune(subnet, make_batches() if loader is None else loader, **options)


def test_the_module_is_what_was_scored(subnet):
    tuned = run(subnet)
    assert tuned.accuracy == measure_accuracy(tuned.module, VALIDATION)
    assert tuned.accuracy == measure_accuracy(tuned, VALIDATION)
    assert not tuned.module.training
    right = total = 0
    for images, labels in VALIDATION:
        scores = tuned(images)
        assert torch.equal(scores, tuned.module(images))
        right += int((scores.argmax(1) == labels).sum())
        total += len(labels)
    assert tuned.accuracy == right / total
    assert tuned.extract() is tuned.module
    assert tuned.device == torch.device("cpu")


def test_the_accuracy_before_is_that_of_the_calibrated_subnet(trained, subnet):
    tuned = run(subnet)
    evaluator = Evaluator(trained, trained.calibration_images)
    assert tuned.accuracy_before == evaluator.evaluate(subnet.widths, VALIDATION).first


def test_it_is_a_plain_module_of_the_right_size(trained, subnet):
    tuned = run(subnet)
    assert type(tuned.module) is type(make_net())
    assert {type(m) for m in tuned.module.modules()} == {type(m) for m in make_net().modules()}
    assert tuned.widths == subnet.widths
    assert tuned.footprint == build_footprint(trained).measure(subnet.widths)
    assert sum(p.numel() for p in tuned.module.parameters()) == tuned.footprint["params"]
    assert all(p.requires_grad for p in tuned.module.parameters())
    assert tuned.input_shape == trained.example_shape
    assert len(tuned.history) == N_STEPS
    assert tuned.seconds > 0


def get_statistics(module):
    return {name: tensor for name, tensor in module.state_dict().items() if "running" in name}


def test_statistics_are_calibrated_after_the_last_step(trained, subnet):
    tuned = run(subnet)
    fresh = copy.deepcopy(tuned.module)
    calibrate(fresh, trained.calibration_images)
    assert equal_states(get_statistics(tuned.module), get_statistics(fresh))
    # Those that the training steps would have left are others.
    stale = copy.deepcopy(tuned.module).train()
    for images, _ in make_batches():
        stale(images)
    assert not equal_states(get_statistics(tuned.module), get_statistics(stale))


def test_the_given_calibration_pictures_are_used(trained, subnet):
    images = make_pictures(16, seed=11)[0] * 3 + 1
    tuned = run(subnet, calibration_images=images)
    fresh = copy.deepcopy(tuned.module)
    calibrate(fresh, images)
    assert equal_states(get_statistics(tuned.module), get_statistics(fresh))


def test_without_pictures_of_the_training_the_loader_gives_them(subnet):
    supernet = copy.deepcopy(subnet.supernet)
    supernet.calibration_images = None
    loader = make_loader()
    first = torch.cat([images for images, _ in loader])
    loader.set_position(2, 1)  # where an earlier training left it
    tuned = run(Subnet(supernet, subnet.widths), loader)
    fresh = copy.deepcopy(tuned.module)
    calibrate(fresh, first)
    assert equal_states(get_statistics(tuned.module), get_statistics(fresh))


@pytest.mark.parametrize("is_training", [False, True])
def test_the_supernet_is_left_as_it_was(trained, is_training):
    supernet = copy.deepcopy(trained).train(is_training)
    before = copy.deepcopy(supernet.state_dict())
    run(Subnet(supernet, supernet.space.smallest))
    assert equal_states(supernet.state_dict(), before)
    assert supernet.widths == supernet.space.full
    assert supernet.training == is_training
    assert all(parameter.grad is None for parameter in supernet.parameters())
    assert all(parameter.requires_grad for parameter in supernet.parameters())


def test_finetuning_helps():
    supernet = make_supernet(seed=4)
    train_supernet(supernet, make_batches(), epochs=1)
    subnet = Subnet(supernet, supernet.space.smallest)
    tuned = run(subnet, settings=FinetuneSettings(epochs=40, lr=0.1))
    assert tuned.accuracy > tuned.accuracy_before


def test_without_validation_pictures_nothing_is_measured(subnet):
    tuned = run(subnet, validation_loader=None)
    assert tuned.accuracy is None
    assert tuned.accuracy_before is None


@pytest.mark.parametrize("n_done", range(1, N_STEPS + 1))
@pytest.mark.parametrize("make", [make_batches, make_loader])
def test_stopped_after_any_step_the_module_is_the_same(subnet, make, n_done, tmp_path):
    whole = run(subnet, make())
    checkpoint = CheckpointFile(tmp_path / "c.safetensors", key="run", every_seconds=0)
    with pytest.raises(StoppedError):
        run(subnet, make(), checkpoint=checkpoint, progress=StopAfter(n_done))
    resumed = run(subnet, make(), checkpoint=checkpoint)
    assert equal_states(resumed.module.state_dict(), whole.module.state_dict())
    assert resumed.history == whole.history
    assert resumed.accuracy == whole.accuracy
    assert resumed.accuracy_before == whole.accuracy_before


@pytest.mark.parametrize("n_done", [2, 5, 8])
def test_so_it_is_with_adamw_an_average_and_bfloat16(subnet, n_done, tmp_path):
    settings = FinetuneSettings(
        epochs=3, equal_cost=0, lr=0.01, optimizer="adamw", ema_decay=0.8, precision="bfloat16"
    )
    whole = run(subnet, make_loader(), settings=settings)
    checkpoint = CheckpointFile(tmp_path / "c.safetensors", key="run", every_seconds=0)
    options = {"settings": settings, "checkpoint": checkpoint}
    with pytest.raises(StoppedError):
        run(subnet, make_loader(), progress=StopAfter(n_done), **options)
    resumed = run(subnet, make_loader(), **options)
    assert equal_states(resumed.module.state_dict(), whole.module.state_dict())
    assert resumed.history == whole.history


@pytest.mark.parametrize(
    ("setting", "n_done"),
    [
        ({"n_views": 2}, (4, 7, 11)),
        ({"features": 3.0}, (4, 7, 11)),
        ({"patience": 2, "ema_decay": 0.8, "lr": 0.5, "epochs": 20}, (3, 6, 8)),
    ],
)
def test_so_it_is_with_views_that_return_features_and_patience(subnet, setting, n_done, tmp_path):
    settings = FinetuneSettings(**{"epochs": 5, "equal_cost": 0, **setting})
    whole = run(subnet, make_loader(), settings=settings)
    assert whole.history[-1]["step"] >= n_done[-1]
    for n in n_done:
        checkpoint = CheckpointFile(tmp_path / f"{n}.safetensors", key="run", every_seconds=0)
        options = {"settings": settings, "checkpoint": checkpoint}
        with pytest.raises(StoppedError):
            run(subnet, make_loader(), progress=StopAfter(n), **options)
        for _ in range(2):  # the second finds a training that has ended
            resumed = run(subnet, make_loader(), **options)
            assert equal_states(resumed.module.state_dict(), whole.module.state_dict())
            assert resumed.history == whole.history
            assert resumed.accuracy == whole.accuracy


@pytest.mark.parametrize("setting", [{"ema_decay": 0.8}, {"precision": "bfloat16"}])
def test_average_and_precision_reach_the_weights(subnet, setting):
    settings = (SETTINGS, dataclasses.replace(SETTINGS, **setting))
    states = [run(subnet, settings=chosen).module.state_dict() for chosen in settings]
    assert not equal_states(*states)


def test_the_checkpoint_of_another_subnet_is_refused(trained, tmp_path):
    path = tmp_path / "c.safetensors"
    run(Subnet(trained, trained.space.smallest), checkpoint=CheckpointFile(path, key="a"))
    with pytest.raises(CheckpointError, match="another training run"):
        run(Subnet(trained, trained.space.full), checkpoint=CheckpointFile(path, key="b"))
    with pytest.raises(CheckpointError, match="does not fit"):
        run(Subnet(trained, trained.space.full), checkpoint=CheckpointFile(path, key="a"))


def test_the_seed_decides_the_dropout(subnet):
    states = [run(subnet, seed=seed).module.state_dict() for seed in (0, 0, 1)]
    assert equal_states(states[0], states[1])
    assert not equal_states(states[0], states[2])


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_the_loss_mixes_labels_and_teacher(weight):
    images, labels = make_pictures(8)
    net, teacher = make_net(seed=1).eval(), make_net(seed=2).eval()
    settings = FinetuneSettings(distillation=weight, temperature=2.0)
    learner = DistillationLearner(net, Teacher(teacher), settings)
    found = learner.compute_gradients(0, images, labels)
    with torch.no_grad():
        scores, wanted = net(images), teacher(images)
        p, q = (wanted / 2).softmax(1), (scores / 2).softmax(1)
        kl = 4 * (p * (p / q).log()).sum(1).mean()
        expected = (1 - weight) * functional.cross_entropy(scores, labels) + weight * kl
    assert found["loss"] == pytest.approx(expected.item(), rel=1e-5)
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_a_teacher_without_a_say_is_not_run():
    def refuse(_):
        raise AssertionError

    net = make_net()
    learner = DistillationLearner(net, Teacher(refuse), FinetuneSettings(distillation=0.0))
    learner.compute_gradients(0, *make_pictures(8))


def test_nothing_but_the_weights_is_kept_of_finetuning():
    learner = DistillationLearner(make_net(), Teacher(make_net()))
    learner.begin_step(0)
    learner.restore(learner.state())
    assert learner.describe_step(3) == "finetuning"


def test_the_member_of_a_front_is_finetuned(trained):
    front = search(trained, [Accuracy(VALIDATION), Macs()], n_trials=10)
    member = front[0]
    tuned = run(member)
    assert tuned.widths == member.widths
    assert tuned.accuracy_before == pytest.approx(member.values["accuracy"])
    assert tuned.footprint["macs"] == member.macs


def test_a_candidate_without_a_supernet_is_refused(trained):
    candidate = Candidate(7, trained.space.full, {"accuracy": 0.5}, {"macs": 1})
    with pytest.raises(ConfigError, match="trial 7 has no supernet"):
        run(candidate)


def test_broken_loaders_and_pictures_are_named(subnet):
    with pytest.raises(DataError, match="is empty"):
        run(subnet, [])
    with pytest.raises(DataError, match="no samples"):
        run(subnet, validation_loader=iter(()))
    with pytest.raises(DataError, match="no samples"):
        run(subnet, validation_loader=[])
    bad = make_batches()
    bad[1][0][0, 0, 0, 0] = math.nan
    with pytest.raises(TrainingError, match=r"step 1 \(finetuning\)"):
        run(subnet, bad)


def test_its_epochs_cost_as_much_as_the_full_nets(trained):
    settings = FinetuneSettings(epochs=2, equal_cost=1)
    footprint = build_footprint(trained)
    steps = [
        run(Subnet(trained, widths), settings=settings).history[-1]["step"] + 1
        for widths in (trained.space.full, trained.space.smallest)
    ]
    costs = [
        footprint.measure(widths)["macs"]
        for widths in (trained.space.full, trained.space.smallest)
    ]
    assert steps[0] == 2 * len(make_batches())
    # To half an epoch of the small net.
    assert steps[1] * costs[1] == pytest.approx(steps[0] * costs[0], abs=2 * costs[1])


def test_patience_without_pictures_to_look_at_is_refused(subnet):
    settings = dataclasses.replace(SETTINGS, patience=2)
    with pytest.raises(ConfigError, match="finetune.patience needs pictures"):
        run(subnet, settings=settings, validation_loader=None)


def test_the_best_that_patience_saw_is_delivered(subnet):
    settings = dataclasses.replace(SETTINGS, epochs=20, patience=2, lr=0.5)
    tuned = run(subnet, settings=settings)
    assert tuned.history[-1]["step"] < 59
    assert tuned.accuracy == measure_accuracy(tuned.module, VALIDATION)
    fresh = copy.deepcopy(tuned.module)
    calibrate(fresh, subnet.supernet.calibration_images)
    assert equal_states(get_statistics(tuned.module), get_statistics(fresh))


def test_what_is_no_subnet_is_refused_with_what_to_do(trained):
    front = search(trained, [Accuracy(VALIDATION), Macs()], n_trials=10)
    with pytest.raises(ConfigError, match=r"a whole front; use finetune_all"):
        run(front)
    with pytest.raises(ConfigError, match=r"got a Sequential; give a member of a front"):
        run(make_net())
