"""The rebuilt network of NATS-Bench is the published one, alone and inside a supernet."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from dpod_search.footprint import build_footprint
from dpod_search.supernet import Supernet
from dpod_search.supernet import build_supernet


# Widths with both skips projected, either one the identity, and both; macs and params as published
# where the data folder's page names them, else counted by hand from the shapes.
MIXED = [(8, 16, 24, 32, 40), (64, 8, 8, 24, 16), (24, 40, 16, 56, 56), (8, 8, 8, 8, 8)]


@pytest.fixture(scope="module")
def nats_net(import_benchmark: Callable[[str], ModuleType]) -> ModuleType:
    return import_benchmark("nats_net")


@pytest.fixture(scope="module")
def supernet(nats_net: ModuleType) -> Supernet:
    return build_supernet(
        nats_net.build_full_net(),
        torch.zeros(2, 3, 32, 32),
        ratios=nats_net.RATIOS,
        removes_blocks=False,
        handlers=nats_net.HANDLERS,
    )


def count_by_running(net: torch.nn.Module) -> tuple[int, int]:
    """Count macs (biases of the head as one each) and params of a plain net, layer by layer."""
    macs = 0

    def add(module: torch.nn.Module, _: object, output: torch.Tensor) -> None:
        nonlocal macs
        if isinstance(module, torch.nn.Conv2d):
            macs += module.weight.numel() * output.shape[-1] * output.shape[-2]
        elif isinstance(module, torch.nn.Linear):
            macs += module.weight.numel() + module.bias.numel()

    for module in net.modules():
        module.register_forward_hook(add)
    with torch.no_grad():
        net.eval()(torch.zeros(1, 3, 32, 32))
    return macs, sum(parameter.numel() for parameter in net.parameters())


def test_the_supernet_has_the_five_groups_of_the_size_space(supernet: Supernet) -> None:
    assert supernet.space.rungs == (tuple(range(8, 65, 8)),) * 5
    assert [name.split(".")[0] for name in supernet.space.names] == [
        *("stem", "reduction1", "cell2", "reduction2", "cell3")
    ]


@pytest.mark.parametrize(
    ("widths", "macs", "params"),
    [((8,) * 5, 4_481_114, 11_714), ((64,) * 5, 274.40e6, 713_674)],
)
def test_footprints_are_the_published_ones(
    nats_net: ModuleType, widths: tuple[int, ...], macs: float, params: int
) -> None:
    counted = count_by_running(nats_net.NatsNet(widths))

    assert counted[0] == pytest.approx(macs, rel=1e-5)
    assert counted[1] == params


@pytest.mark.parametrize("widths", MIXED)
def test_what_a_subnet_counts_is_what_the_network_alone_counts(
    nats_net: ModuleType, supernet: Supernet, widths: tuple[int, ...]
) -> None:
    active = np.array([widths])
    found = nats_net.count_published(build_footprint(supernet).table(active), active)

    assert (found["macs"][0], found["params"][0]) == count_by_running(nats_net.NatsNet(widths))


@pytest.mark.data
def test_footprints_equal_the_table_for_every_network(
    nats_net: ModuleType, supernet: Supernet, data_root: Path
) -> None:
    with np.load(data_root / "nats_sss_cifar10.npz") as table:
        channels = table["channels"].astype(np.int64)
        macs, params = table["macs"], table["params"]

    found = nats_net.count_published(build_footprint(supernet).table(channels), channels)
    assert np.array_equal(found["macs"], macs)
    assert np.array_equal(found["params"], params)
