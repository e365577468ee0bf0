"""What the parts of ``latency_model.py`` share: options, nets, tables that are kept."""

from __future__ import annotations

import time
from dataclasses import dataclass
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console

from dpod_search.latency import LatencySettings
from dpod_search.latency import LatencyTable
from dpod_search.latency import make_request
from dpod_search.latency import measure_request
from dpod_search.latency import read_table
from dpod_search.models import ModelSettings
from dpod_search.models import build_model
from dpod_search.supernet import Supernet
from dpod_search.supernet import build_supernet


N_FIT, N_HELD_OUT = 32, 40
NETS = {
    "resnet20": ("resnet20", (3, 32, 32)),
    "mobilenet_v2": ("torchvision:mobilenet_v2", (3, 64, 64)),
}
BACKENDS = ("eager", "onnxruntime")
SETTINGS = LatencySettings(n_fit=N_FIT, n_held_out=N_HELD_OUT)
# Enough to run every line; what it says means nothing.
QUICK = LatencySettings(n_grid=2, n_fit=8, n_held_out=4, seconds=0.05)
N_RANDOM, N_DRAWN = 10, 4000

console = Console()


@dataclass(frozen=True)
class Options:
    """What to do.

    Args:
        results: File of the results.
        cache: Folder of tables that were measured.
        nets: Keys of ``NETS``.
        backends: Names of backends.
        settings: How latency is measured and fitted; the backend is put in for each.
        minutes: From the first to the last measurement of ``repeat``.
        n_rounds: How often ``repeat`` measures, each time quiet and loaded.
        load: Kind of the load, see ``latency_model_load.py``.
        n_random: Random subnets at each budget.
        is_quick: Run everything once, small.
    """

    results: Path
    cache: Path
    nets: tuple[str, ...] = tuple(NETS)
    backends: tuple[str, ...] = BACKENDS
    settings: LatencySettings = SETTINGS
    minutes: float = 60.0
    n_rounds: int = 13
    load: str = "both"
    n_random: int = N_RANDOM
    is_quick: bool = False

    def make_quick(self) -> Options:
        """Return it made small."""
        return replace(
            self, settings=QUICK, nets=self.nets[:1], minutes=0.2, n_rounds=2, n_random=2,
            is_quick=True,
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class MeasuredTable:
    """A table, and what it took.

    Args:
        table: The table.
        n_cells: Layers at widths that it holds.
        seconds: Wall seconds of measuring it; None if it was there already.
    """

    table: LatencyTable
    n_cells: int
    seconds: float | None


def make_supernet(name: str) -> Supernet:
    """Build a net, untrained, and its supernet with removable blocks."""
    model_name, shape = NETS[name]
    torch.manual_seed(0)
    settings = ModelSettings(name=model_name)
    model = build_model(settings, input_shape=shape, n_classes=10, seed=0)
    return build_supernet(model, torch.randn(2, *shape), removes_blocks=True).eval()


def find_table(options: Options, supernet: Supernet, name: str, backend: str) -> MeasuredTable:
    """Return a net's table on a backend, measured now unless the cache has it.

    What the cache has of a table that was cut short is not measured again.
    """
    settings = replace(options.settings, backend=backend)
    request = make_request(supernet, settings)
    kind = "quick-" if options.is_quick else ""
    path = options.cache / f"{kind}{name}-{backend}.json"
    options.cache.mkdir(parents=True, exist_ok=True)
    known = read_table(path) if path.exists() else None
    if known is not None and len(known.nets) == len(request.nets):
        return MeasuredTable(known, request.n_cells, None)
    start = time.perf_counter()
    table = measure_request(
        request, supernet=supernet, known=known, keep=lambda part: part.write(path)
    )
    table.write(path)
    seconds = time.perf_counter() - start if known is None else None
    return MeasuredTable(table, request.n_cells, seconds)
