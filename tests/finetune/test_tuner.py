"""A tuner of the user's own trains in place of our loop; what it delivers is checked and measured."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn
from torch.nn import functional
from training.fakes import equal_states
from training.fakes import make_batches
from training.fakes import make_loader
from training.fakes import single_thread

from dpod_search.errors import ConfigError
from dpod_search.errors import TrainingError
from dpod_search.evaluation import Evaluator
from dpod_search.evaluation import calibrate
from dpod_search.evaluation import measure_accuracy
from dpod_search.finetune import FinetuneSettings
from dpod_search.finetune import TunerContext
from dpod_search.finetune import finetune
from dpod_search.finetune import finetune_all
from dpod_search.supernet import Subnet


VALIDATION = make_batches(60, 20, seed=8)
SETTINGS = FinetuneSettings(epochs=2, equal_cost=1, max_epochs=9)
SEEN: list[tuple[nn.Module, TunerContext]] = []


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    SEEN.clear()
    with single_thread():
        yield


def train(module: nn.Module, context: TunerContext) -> nn.Module:
    """Train as a page of PyTorch's tutorials does."""
    SEEN.append((module, context))
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05)
    for _ in range(round(context.n_epochs)):
        for images, labels in context.train_loader:
            optimizer.zero_grad()
            functional.cross_entropy(module(images), labels).backward()
            optimizer.step()
    return module


def run(subnet, loader=None, tuner=train, **options):
    options = {"settings": SETTINGS, "validation_loader": VALIDATION, **options}
    loader = make_batches() if loader is None else loader
    return finetune(subnet, loader, tuner=tuner, **options)


@pytest.fixture
def subnet(trained):
    return Subnet(trained, trained.space.uniform(0.5))


def test_what_it_trained_is_calibrated_measured_and_delivered(trained, subnet):
    tuned = run(subnet)

    evaluator = Evaluator(trained, trained.calibration_images)
    assert tuned.accuracy_before == evaluator.evaluate(subnet.widths, VALIDATION).first
    assert tuned.accuracy == measure_accuracy(tuned.module, VALIDATION)
    ((module, _),) = SEEN
    assert module is not tuned.module
    weights = dict(tuned.module.named_parameters())
    assert all(torch.equal(p, weights[name]) for name, p in module.named_parameters())
    calibrate(module.eval(), trained.calibration_images)
    assert equal_states(module.state_dict(), tuned.module.state_dict())
    assert not tuned.module.training
    assert tuned.seconds > 0
    assert tuned.history == ()


def test_it_is_told_all_that_our_loop_knows(trained, subnet):
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    tuned = run(subnet, seed=7)

    ((module, context),) = SEEN
    share = tuned.footprint["macs"] / run(Subnet(trained, trained.space.full)).footprint["macs"]
    assert context.macs_share == pytest.approx(share)
    assert context.n_epochs == pytest.approx(SETTINGS.epochs_of(share))
    assert context.validation_loader is VALIDATION
    assert context.calibration_images is trained.calibration_images
    assert context.seed == 7
    assert context.task.name == "classification"
    assert module.training
    images, _ = VALIDATION[0]
    assert context.teacher is not None
    assert torch.equal(context.teacher(images), Subnet(trained, trained.space.full)(images))
    assert not any(p.requires_grad for p in context.teacher.parameters())
    assert all(torch.equal(value, before[name]) for name, value in trained.state_dict().items())


def test_without_distillation_there_is_no_teacher(subnet):
    run(subnet, settings=FinetuneSettings(epochs=1, distillation=0))
    assert SEEN[0][1].teacher is None


def test_each_pass_over_a_loader_of_ours_is_another_epoch(subnet):
    loader, seen = make_loader(), []

    def look(module, context):
        seen.append([images for _ in range(2) for images, _ in context.train_loader])
        assert len(context.train_loader) == len(loader)
        return module

    for _ in range(2):
        run(subnet, loader, look)
    n = len(loader)
    for epoch in range(2):
        loader.set_position(epoch)
        wanted = [images for images, _ in loader]
        for got in seen:
            assert all(map(torch.equal, got[epoch * n : (epoch + 1) * n], wanted))


def test_the_same_call_draws_the_same_and_leaves_the_generator_alone(subnet):
    draws = []

    def draw(module, context):
        draws.append(torch.rand(3))
        return train(module, context)

    torch.manual_seed(3)
    wanted = torch.rand(1)
    torch.manual_seed(3)
    first = run(subnet, tuner=draw)
    assert torch.equal(torch.rand(1), wanted)
    second = run(subnet, tuner=draw)
    run(subnet, tuner=draw, seed=1)
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert equal_states(first.module.state_dict(), second.module.state_dict())


def test_what_else_it_does_to_the_module_is_not_delivered(subnet):
    def spoil(module, context):
        module.register_forward_hook(lambda *_: 1 / 0)
        module.requires_grad_(False)
        return module.double()

    tuned = run(subnet, tuner=spoil)
    assert all(p.requires_grad and p.dtype == torch.float32 for p in tuned.module.parameters())


def return_text(module, context):
    return "trained"


def return_wrapped(module, context):
    return nn.Sequential(module)


def return_narrower(module, context):
    module.conv1 = nn.Conv2d(1, 1, 3, padding=1, bias=False)
    return module


def return_more(module, context):
    module.extra = nn.Linear(1, 1)
    return module


@pytest.mark.parametrize(
    ("tuner", "message"),
    [
        (return_text, "the tuner return_text must return the module it was given, .* got str"),
        (return_wrapped, "return_wrapped .* without a wrapper: it has no 'conv1.weight'"),
        (return_narrower, r"'conv1.weight' has shape \(1, 1, 3, 3\) in place of \(2, 1, 3, 3\)"),
        (return_more, "it has 'extra.weight' besides"),
    ],
)
def test_another_structure_is_one_line(subnet, tuner, message):
    with pytest.raises(ConfigError, match=message) as caught:
        run(subnet, tuner=tuner)
    assert "\n" not in str(caught.value)


def test_what_it_raises_is_one_line_that_names_the_place(subnet):
    def stumble(module, context):
        raise KeyError("rate")

    with pytest.raises(TrainingError, match=r"the tuner stumble raised KeyError in line \d+ of"):
        run(subnet, tuner=stumble)


def test_weights_that_are_not_finite_are_refused(subnet):
    def diverge(module, context):
        module.head.weight.data.fill_(torch.nan)
        return module

    with pytest.raises(TrainingError, match=r"diverge returned 'head.weight' .* not finite"):
        run(subnet, tuner=diverge)


@pytest.mark.parametrize(
    ("tuner", "message"),
    [
        (3, "the tuner 3 must be callable with a module and a context"),
        (lambda module: module, "must be callable with a module and a context"),
        ("finetune.test_tuner:nothing", "has no 'nothing'"),
        ("no_such_module:f", "there is no module 'no_such_module'"),
    ],
)
def test_what_is_no_tuner_is_refused_before_anything_is_trained(subnet, tuner, message):
    with pytest.raises(ConfigError, match=message):
        run(subnet, tuner=tuner)
    with pytest.raises(ConfigError, match=message):
        finetune_all([subnet], make_batches(), tuner=tuner)


def test_a_setting_names_it_by_import_path(subnet):
    named = FinetuneSettings(epochs=2, equal_cost=1, max_epochs=9, tuner=f"{__name__}:train")
    by_path = finetune(subnet, make_batches(), settings=named)
    assert equal_states(by_path.module.state_dict(), run(subnet).module.state_dict())
    with pytest.raises(ConfigError, match=r"finetune.tuner must read package.module:function"):
        FinetuneSettings(tuner="train")


def test_nothing_to_train_is_nothing_to_call(subnet):
    run(subnet, settings=FinetuneSettings(epochs=0))
    assert not SEEN


def test_the_chain_cuts_from_what_it_trained(trained):
    subnets = [Subnet(trained, trained.space.uniform(ratio)) for ratio in (0.25, 0.75)]

    def mark(module, context):
        module.head.bias.data.fill_(5.0)
        return module

    finetune_all(subnets, make_batches(), settings=SETTINGS, tuner=mark)
    begun = []

    def look(module, context):
        begun.append((context.macs_share, module.head.bias.detach().clone()))
        return mark(module, context)

    finetune_all(subnets, make_batches(), settings=SETTINGS, tuner=look)
    (large, first), (small, second) = begun
    assert large > small
    assert not (first == 5).all()
    assert (second == 5).all()


@pytest.mark.slow  # processes that import PyTorch
def test_side_by_side_it_ends_with_the_same_weights(trained):
    subnets = [Subnet(trained, trained.space.uniform(ratio)) for ratio in (0.25, 0.5)]
    settings = FinetuneSettings(epochs=1, chain=False)
    alone, beside = (
        finetune_all(subnets, make_batches(), settings=settings, tuner=train, n_jobs=n)
        for n in (1, 2)
    )
    for a, b in zip(alone, beside, strict=True):
        assert equal_states(a.module.state_dict(), b.module.state_dict())
