"""The teacher: each view's answer, computed once."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
import torch
from training.fakes import equal_states
from training.fakes import make_batches
from training.fakes import make_loader
from training.fakes import make_net
from training.fakes import single_thread

from dpod_search.errors import ConfigError
from dpod_search.finetune import FinetuneSettings
from dpod_search.finetune import Teacher
from dpod_search.finetune import finetune
from dpod_search.finetune import make_teacher
from dpod_search.supernet import Subnet


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    with single_thread():
        yield


class Asked:
    """A full net that remembers what it was shown."""

    def __init__(self):
        self.net = make_net(seed=2).eval()
        self.parameters = self.net.parameters
        self.shown = []

    def __call__(self, images):
        self.shown.append(images)
        return self.net(images)


def test_the_teacher_answers_once_for_all_and_to_the_very_view_that_is_shown():
    full_net = Asked()
    loader = make_loader()
    teacher = Teacher(full_net, n_views=2, n_batches=len(loader))
    views = teacher.show_views(loader)
    assert len(views) == len(loader)
    step = 0
    for epoch in range(5):
        views.set_position(epoch)
        for images, _ in views:
            assert torch.equal(teacher.answer(step, images), full_net.net(images))
            step += 1
    assert len(full_net.shown) == 2 * len(loader)
    assert teacher.n_images == sum(map(len, full_net.shown))
    for a, b in zip(full_net.shown[: len(loader)], full_net.shown[len(loader) :], strict=True):
        assert not torch.equal(a, b)  # the views differ


def test_a_loader_that_cannot_repeat_itself_has_a_teacher_that_runs_at_each_step(trained):
    teacher = make_teacher(trained, make_batches(), FinetuneSettings(n_views=4))
    loader = make_batches()
    assert teacher.show_views(loader) is loader
    for step, (images, _) in enumerate(loader * 2):
        teacher.answer(step, images)
    assert teacher.n_images == 2 * sum(len(images) for images, _ in loader)


def test_too_many_answers_to_keep_are_not_kept(trained, monkeypatch, caplog):
    monkeypatch.setattr(sys.modules[Teacher.__module__], "_MAX_BYTES", 1000)
    loader = make_loader()
    with caplog.at_level("INFO"):
        teacher = make_teacher(trained, loader, FinetuneSettings(n_views=4))
    assert teacher.show_views(loader) is loader
    assert "runs at each step" in caplog.text


def test_subnets_that_share_a_teacher_end_as_with_one_each(trained):
    settings = FinetuneSettings(epochs=4, equal_cost=0, n_views=2)
    loader = make_loader()
    teacher = make_teacher(trained, loader, settings)
    for widths in (trained.space.smallest, trained.space.full):
        alone = finetune(Subnet(trained, widths), make_loader(), settings=settings)
        shared = finetune(Subnet(trained, widths), loader, settings=settings, teacher=teacher)
        assert equal_states(alone.module.state_dict(), shared.module.state_dict())
    assert teacher.n_images == 2 * sum(len(images) for images, _ in make_loader())


@pytest.mark.parametrize(
    "other", [make_batches(), make_loader(size=6), make_loader(n=48), make_loader(n=18, size=6)]
)
def test_a_teacher_made_for_another_loader_is_refused(trained, other):
    settings = FinetuneSettings(epochs=2, equal_cost=0, n_views=2)
    loader = make_loader()
    teacher = make_teacher(trained, loader, settings)
    subnet = Subnet(trained, trained.space.smallest)
    finetune(subnet, loader, settings=settings, teacher=teacher)
    with pytest.raises(ConfigError, match="this teacher keeps answers to"):
        finetune(subnet, other, settings=settings, teacher=teacher)


def test_all_answers_are_those_that_will_be_asked_and_none_twice():
    loader = make_loader()
    given = {}
    for n_epochs in (2, 9):
        full_net = Asked()
        teacher = Teacher(full_net, n_views=4, n_batches=len(loader))
        for _ in range(2):
            teacher.answer_all(loader, n_epochs)
            loader.set_position(3, 1)  # wherever it was left
        given[n_epochs] = len(full_net.shown)
        views = teacher.show_views(loader)
        views.set_position(1)
        for step, (images, _) in enumerate(views, start=len(loader)):
            assert torch.equal(teacher.answer(step, images), full_net.net(images))
        assert len(full_net.shown) == given[n_epochs]
    assert given == {2: 2 * len(loader), 9: 4 * len(loader)}
