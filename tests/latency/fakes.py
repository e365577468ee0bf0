"""A machine whose clock is told, a bench that measures nothing, nets whose latency is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch import nn

from dpod_search.latency import Fingerprint
from dpod_search.latency import Latency
from dpod_search.latency import LatencyRequest
from dpod_search.latency import LatencySettings
from dpod_search.latency import LatencyTable
from dpod_search.latency import make_request
from dpod_search.latency.layers import list_placed_layers
from dpod_search.latency.placed import PlacedLayer
from dpod_search.latency.table import LayerGrid
from dpod_search.latency.table import MeasuredNet
from dpod_search.supernet import Supernet
from dpod_search.supernet import build_supernet
from dpod_search.supernet.layout import active_size


DEVICE = Fingerprint("a processor", "x86_64", "Linux", 2, "cpu", "eager", "torch 2", 1, 1)
SETTINGS = LatencySettings(n_grid=8, n_fit=24, n_held_out=8, seconds=0.0)


class Machine:
    """A clock, and work that takes as long as it is told times how slow the machine is then."""

    def __init__(self, slowness: Callable[[float], float] = lambda now: 1.0) -> None:
        self.now = 0.0
        self.n_runs = 0
        self._slowness = slowness

    def clock(self) -> float:
        return self.now

    def work(self, seconds: float | Callable[[], float]) -> Callable[[], None]:
        def run() -> None:
            self.n_runs += 1
            taken = seconds() if callable(seconds) else seconds
            self.now += taken * self._slowness(self.now)

        return run


class Residual(nn.Module):
    """A block that can be removed."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))).relu()


def make_residual_net(width: int = 8, n_blocks: int = 3) -> nn.Sequential:
    torch.manual_seed(0)
    stem = [nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
    blocks = [Residual(width) for _ in range(n_blocks)]
    return nn.Sequential(
        *stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 4)
    )


def make_residual_supernet() -> Supernet:
    """Seven groups: four of eight rungs, three blocks."""
    supernet = build_supernet(make_residual_net(), torch.zeros(2, 3, 8, 8), removes_blocks=True)
    return supernet.eval()


class Dense(nn.Module):
    """Every convolution sees the results of all before it."""

    def __init__(self, n_convs: int = 5, width: int = 8) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(3 + width * i, width, 3, padding=1) for i in range(n_convs)
        )
        self.head = nn.Conv2d(3 + width * n_convs, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.convs:
            x = torch.cat([x, torch.relu(conv(x))], 1)
        return self.head(x).mean((2, 3))


def find_sizes(layer: PlacedLayer, active: tuple[int, ...]) -> tuple[int, int]:
    """Return a layer's input and output width in a subnet."""
    return active_size(layer.inputs, active), active_size(layer.output, active)


def make_grids(
    request: LatencyRequest, ms: Callable[[float, float], float] = lambda i, o: 0.1 + i * o / 500
) -> dict[Any, LayerGrid]:
    """Measure a request's layers by a formula of their widths."""
    return {
        layer.spec: LayerGrid(
            layer.inputs,
            layer.outputs,
            np.array([[ms(i, o) for o in layer.outputs] for i in layer.inputs]),
        )
        for layer in request.layers
    }


def add_up(supernet: Supernet, grids: dict[Any, LayerGrid], active: tuple[int, ...]) -> float:
    """Add up the layers of a subnet, one by one."""
    total = 0.0
    for layer in list_placed_layers(supernet):
        if all(active[block] for block in layer.blocks):
            n_inputs, n_outputs = find_sizes(layer, active)
            total += float(grids[layer.spec].at([n_inputs], [n_outputs])[0, 0])
    return total


def make_table(
    supernet: Supernet,
    settings: LatencySettings = SETTINGS,
    *,
    distort: Callable[[float, int], float] = lambda ms, _i: 0.8 * ms + 0.5,
) -> LatencyTable:
    """Make a table whose nets take 0.8 times their layers and half a millisecond."""
    request = make_request(supernet, settings)
    grids = make_grids(request)
    nets = []
    for i, net in enumerate(request.nets):
        ms = distort(add_up(supernet, grids, net.widths), i)
        nets.append(MeasuredNet(net.widths, ms, 0.99 * ms, 1.01 * ms))
    return LatencyTable(DEVICE, 1.0, grids, request.space, tuple(nets))


class FakeRun:
    """Runs a net once."""

    def __init__(self, module: nn.Module, images: Tensor) -> None:
        self.module = module
        self.images = images

    def __call__(self) -> None:
        with torch.no_grad():
            self.module(self.images)

    @property
    def ms(self) -> float:
        return 1e-3 * sum(p.numel() for p in self.module.parameters())


class FakeBench:
    """Stands in for a bench: counts what it is asked, and tells the number of parameters."""

    timed: ClassVar[list[tuple[str, Any]]] = []

    def __init__(
        self,
        backend: str = "eager",
        device: torch.device | None = None,
        *,
        n_threads: int | None = 1,
        batch_size: int = 1,
        nominal_ms: float | None = None,
    ) -> None:
        self.device = device or torch.device("cpu")
        self.n_threads = n_threads
        self.fingerprint = DEVICE
        self.nominal_ms = nominal_ms or 2.0

    def __enter__(self) -> FakeBench:
        return self

    def __exit__(self, *_error: object) -> None:
        pass

    def refer_to(self, module: nn.Module, images: Tensor) -> None:
        """The clock is a fake one."""

    def refer_to_run(self, run: Any) -> None:
        """As above."""

    def prepare(self, module: nn.Module, images: Tensor) -> FakeRun:
        return FakeRun(module, images)

    def time(self, module: nn.Module, images: Tensor, *, n_bursts: int) -> Latency:
        run = FakeRun(module, images)
        run()
        type(self).timed.append(("cell", tuple(images.shape)))
        return Latency(run.ms, run.ms, run.ms, n_bursts)

    def time_run(self, run: FakeRun, *, max_seconds: float) -> Latency:
        run()
        type(self).timed.append(("net", max_seconds))
        return Latency(run.ms, 0.9 * run.ms, 1.1 * run.ms, 5, 0, 1.5)
