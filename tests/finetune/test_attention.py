"""Features as teachers: maps of where nets look, whatever their widths."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional
from training.fakes import equal_states
from training.fakes import make_loader
from training.fakes import make_pictures
from training.fakes import make_supernet

from dpod_search.errors import ConfigError
from dpod_search.finetune import FinetuneSettings
from dpod_search.finetune import finetune
from dpod_search.finetune import make_teacher
from dpod_search.finetune.attention import compare_attention
from dpod_search.finetune.attention import find_stages
from dpod_search.finetune.attention import watching
from dpod_search.models import ModelSettings
from dpod_search.models import build_model
from dpod_search.supernet import Subnet
from dpod_search.supernet import build_supernet


def test_the_last_layer_of_each_resolution_is_found():
    model = build_model(
        ModelSettings(name="resnet8"), input_shape=(3, 16, 16), n_classes=10, seed=0
    ).eval()
    images = torch.randn(2, 3, 16, 16)
    names = find_stages(model, images)
    with watching(model, names) as seen:
        model(images)
    assert [tuple(seen[name].shape[2:]) for name in names] == [(16, 16), (8, 8), (4, 4)]


def test_a_net_without_feature_maps_has_no_stages():
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    assert find_stages(net, torch.zeros(2, 1, 2, 2)) == ()


def test_the_difference_is_that_of_the_paper():
    got, wanted = torch.randn(3, 5, 4, 2), torch.randn(3, 7, 4, 2)
    maps = [functional.normalize((f**2).sum(1).reshape(3, -1), dim=1) for f in (got, wanted)]
    expected = ((maps[0] - maps[1]) ** 2).sum(1).mean()
    torch.testing.assert_close(compare_attention(got, wanted), expected)
    torch.testing.assert_close(compare_attention(3 * got, got), torch.tensor(0.0))


def test_hooks_are_gone_afterwards():
    net = nn.Sequential(nn.Conv2d(1, 2, 1))
    with watching(net, ["0"]):
        pass
    find_stages(net, torch.zeros(1, 1, 2, 2))
    assert not net[0]._forward_hooks


@pytest.mark.parametrize("rung", [0.25, 0.5])
def test_with_features_a_subnet_looks_where_the_full_net_does(rung):
    supernet = make_supernet(seed=3)
    supernet.calibration_images = make_pictures(24)[0]
    subnet = Subnet(supernet, supernet.space.uniform(rung))
    differences, states = [], []
    for weight in (0.0, 20.0):
        settings = FinetuneSettings(
            epochs=30, equal_cost=0, distillation=0.0, features=weight, lr=0.05
        )
        module = finetune(subnet, make_loader(), settings=settings).module
        full_net = supernet.eval()
        images = make_pictures(24)[0]
        names = find_stages(module, images)
        with torch.no_grad(), watching(module, names) as got:
            module(images)
        teacher = make_teacher(supernet, make_loader(), FinetuneSettings(features=1.0))
        _, wanted = teacher.watch(images, names)
        assert full_net.widths == supernet.space.full
        differences.append(
            sum(float(compare_attention(got[name], wanted[name])) for name in names)
        )
        states.append(module.state_dict())
    assert not equal_states(*states)
    assert differences[1] < differences[0]


def test_a_block_is_looked_at_with_what_it_adds():
    model = build_model(
        ModelSettings(name="resnet8"), input_shape=(3, 16, 16), n_classes=10, seed=0
    ).eval()
    images = torch.randn(2, 3, 16, 16)
    assert find_stages(model, images) == ("stage1", "stage2", "stage3")
    with watching(model, ["stage2"]) as seen:
        model(images)
    assert seen["stage2"].min() == 0  # after the sum is rectified


class SharedActivation(nn.Module):
    """One ReLU at two resolutions."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, stride=2, padding=1)
        self.relu = nn.ReLU()

    def forward(self, images):
        return self.relu(self.second(self.relu(self.first(images))))


def test_a_layer_of_several_resolutions_is_none_of_them():
    net = SharedActivation().eval()
    assert find_stages(net, torch.zeros(2, 1, 6, 6)) == ("first", "second")


def test_features_of_a_net_without_feature_maps_are_refused():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.ReLU(), nn.Linear(8, 3))
    supernet = build_supernet(net, torch.zeros(2, 1, 6, 6))
    subnet = Subnet(supernet, supernet.space.smallest)
    with pytest.raises(ConfigError, match=r"finetune\.features = 2 compares feature maps"):
        finetune(subnet, make_loader(), settings=FinetuneSettings(epochs=1, features=2.0))


def test_a_subnet_that_lost_a_block_is_compared_at_the_places_of_the_full_net():
    model = build_model(
        ModelSettings(name="resnet8"), input_shape=(3, 16, 16), n_classes=3, seed=0
    )
    supernet = build_supernet(model, torch.zeros(2, 3, 16, 16), removes_blocks=True)
    subnet = Subnet(supernet, supernet.space.smallest)
    images, labels = torch.randn(8, 3, 16, 16), torch.arange(8) % 3
    settings = FinetuneSettings(epochs=1, equal_cost=0, features=1.0)
    tuned = finetune(subnet, [(images, labels)], settings=settings, calibration_images=images)
    assert find_stages(tuned.module, images) == ("stage1", "stage2", "stage3")
