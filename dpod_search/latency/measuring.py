"""Measuring what a request asks for, and what a table that is there already lacks."""

from __future__ import annotations

import functools
import itertools
import logging
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence

import numpy as np
import torch

from dpod_search.errors import DataError
from dpod_search.latency.bench import Bench
from dpod_search.latency.layers import hash_model
from dpod_search.latency.packing import prepare_packed
from dpod_search.latency.request import LatencyRequest
from dpod_search.latency.request import RequestedNet
from dpod_search.latency.request import extract_net
from dpod_search.latency.request import make_images
from dpod_search.latency.rounds import measure_in_rounds
from dpod_search.latency.specs import LayerSpec
from dpod_search.latency.table import LatencyTable
from dpod_search.latency.table import LayerGrid
from dpod_search.latency.table import MeasuredNet
from dpod_search.latency.timing import Latency
from dpod_search.placement import place_module
from dpod_search.progress import Progress
from dpod_search.progress import SilentProgress
from dpod_search.rng import numpy_generator
from dpod_search.supernet import Supernet


N_BURSTS = 3  # of one cell of a layer's table in one round: errors of cells cancel in a net
# How much larger one of two measurements that agree may be.
AGREE_CELLS = 0.1
AGREE_NETS = 0.03
NET_ROUNDS = 3
KEEP_EVERY = 8  # nets
KEEP_CELLS = 150

# A layer at a pair of widths.
Cell = tuple[LayerSpec, int, int]

_logger = logging.getLogger(__name__)


def measure_request(
    request: LatencyRequest,
    *,
    supernet: Supernet | None = None,
    device: torch.device | None = None,
    known: LatencyTable | None = None,
    progress: Progress | None = None,
    keep: Callable[[LatencyTable], None] | None = None,
) -> LatencyTable:
    """Measure the layers and nets of a request on this machine.

    Args:
        request: What is asked for.
        supernet: Where the nets come from; without it they must be packed in the request.
        device: Where they run.
        known: A table of this device: what it has is not measured again.
        progress: Who is told.
        keep: Called with the table so far, every now and then, so that nothing is lost.

    Returns:
        A table that holds all of the request, and what was known.

    Raises:
        ConfigError: If the backend is missing or cannot run a net.
        DataError: If the nets are not packed and there is no supernet or another one, or the known
            table is of another device.
    """
    settings = request.settings
    if supernet is not None and hash_model(supernet) != request.space:
        raise DataError("the latency request is of another model; make one for this supernet")
    bench = Bench(
        settings.backend,
        device,
        n_threads=settings.n_threads,
        batch_size=settings.batch_size,
        # Of another model the reference is another net.
        nominal_ms=known.reference_ms if known and known.space == request.space else None,
    )
    if known is not None and (other := known.device.describe_difference(bench.fingerprint)):
        raise DataError(
            f"the latency table to be grown is of another device ({other}); write to another file"
        )
    with bench:
        work = _Work(request, bench, known, progress or SilentProgress())
        work.take_reference(supernet)
        work.measure_layers(keep)
        work.measure_nets(supernet, keep)
        work.progress.finish()
        table = work.make_table()
    if 2 * table.n_restless > len(table.nets):
        _logger.warning(
            "latency: the machine was throttled or shared while %d of %d nets were measured; "
            "they are corrected for it, and less certain",
            table.n_restless,
            len(table.nets),
        )
    return table


class _Work:
    """What is known, and what is left to be measured."""

    def __init__(
        self, request: LatencyRequest, bench: Bench, known: LatencyTable | None, progress: Progress
    ) -> None:
        self.request = request
        self.bench = bench
        self.progress = progress
        self.layers = dict(known.layers) if known is not None else {}
        is_same_space = known is not None and known.space == request.space
        self.nets = {n.widths: n for n in known.nets} if known and is_same_space else {}
        self.due = [net for net in request.nets if net.widths not in self.nets]
        self.cells = _find_cells(request, self.layers)
        progress.start("latency", len(self.cells) + len(self.due))

    def make_table(self) -> LatencyTable:
        """Return what is known so far: the nets of the request last, in its order."""
        asked = [net.widths for net in self.request.nets]
        others = [widths for widths in self.nets if widths not in set(asked)]
        return LatencyTable(
            self.bench.fingerprint,
            self.bench.nominal_ms,
            dict(self.layers),
            self.request.space,
            tuple(self.nets[w] for w in (*others, *asked) if w in self.nets),
        )

    def take_reference(self, supernet: Supernet | None) -> None:
        """Time all in turn with a narrow net of the same model."""
        reference = self.request.reference
        if supernet is None:
            self.bench.refer_to_run(prepare_packed(self.request, reference, self.bench))
        else:
            images = make_images(self.request.input_shape, self.request.settings.batch_size)
            self.bench.refer_to(extract_net(supernet, reference.widths), images)

    def measure_layers(self, keep: Callable[[LatencyTable], None] | None) -> None:
        """Measure the cells that are missing, those of some layers at a time."""
        for cells in _cut(self.cells):
            latencies = measure_in_rounds(
                len(cells),
                functools.partial(self._measure_cell, cells),
                numpy_generator(0, "latency cells"),
                n_rounds=2,
                tolerance=AGREE_CELLS,
                tell=lambda: self.progress.advance(1, "layers"),
            )
            found: dict[LayerSpec, dict[tuple[int, int], float]] = {}
            for (spec, n_inputs, n_outputs), latency in zip(cells, latencies, strict=True):
                found.setdefault(spec, {})[n_inputs, n_outputs] = latency.quiet_ms
            for spec, known in found.items():
                self.layers[spec] = _merge(self.layers.get(spec), known)
            if keep is not None:
                keep(self.make_table())

    def measure_nets(
        self, supernet: Supernet | None, keep: Callable[[LatencyTable], None] | None
    ) -> None:
        """Measure the whole nets that are missing, some at a time."""
        for start in range(0, len(self.due), KEEP_EVERY):
            nets = self.due[start : start + KEEP_EVERY]
            latencies = measure_in_rounds(
                len(nets),
                functools.partial(self._measure_one_of, nets, supernet),
                numpy_generator(0, "latency nets"),
                n_rounds=NET_ROUNDS,
                tolerance=AGREE_NETS,
                tell=lambda: self.progress.advance(1, "nets"),
            )
            for net, found in zip(nets, latencies, strict=True):
                numbers = (found.quiet_ms, found.low_ms, found.high_ms, found.drift)
                kept = (float(f"{x:.6g}") for x in numbers)
                self.nets[net.widths] = MeasuredNet(net.widths, *kept)
            if keep is not None:
                keep(self.make_table())

    def _measure_cell(self, cells: Sequence[Cell], place: int) -> Latency:
        spec, n_inputs, n_outputs = cells[place]
        batch_size = self.request.settings.batch_size
        module, images = spec.build(n_inputs, n_outputs, batch_size=batch_size)
        if self.request.runs_channels_last and images.ndim == 4:
            # The weights of a 1 x 1 kernel do not tell, so the pictures have to.
            images = images.contiguous(memory_format=torch.channels_last)
            place_module(module, torch.device("cpu"), is_channels_last=True)
        return self.bench.time(module, images, n_bursts=N_BURSTS)

    def _measure_one_of(
        self, nets: Sequence[RequestedNet], supernet: Supernet | None, place: int
    ) -> Latency:
        net, settings = nets[place], self.request.settings
        if supernet is None:
            run = prepare_packed(self.request, net, self.bench)
        else:
            images = make_images(self.request.input_shape, settings.batch_size)
            run = self.bench.prepare(extract_net(supernet, net.widths), images)
        return self.bench.time_run(run, max_seconds=settings.seconds / NET_ROUNDS)


def _cut(cells: Sequence[Cell]) -> Iterator[list[Cell]]:
    """Cut cells into parts of whole layers, each large enough for its rounds to lie apart."""
    part: list[Cell] = []
    for _, of_layer in itertools.groupby(cells, key=lambda cell: cell[0]):
        part += of_layer
        if len(part) >= KEEP_CELLS:
            yield part
            part = []
    if part:
        yield part


def _find_cells(request: LatencyRequest, known: Mapping[LayerSpec, LayerGrid]) -> list[Cell]:
    """Return what grids lack, where they are too small or too coarse for a request."""
    cells = []
    for layer in request.layers:
        grid = known.get(layer.spec)
        if layer.is_held_by(grid):
            continue
        inputs, outputs = set(layer.inputs), set(layer.outputs)
        held: set[tuple[int, int]] = set()
        if grid is not None:
            held = set(itertools.product(grid.inputs, grid.outputs))
            inputs, outputs = inputs | set(grid.inputs), outputs | set(grid.outputs)
        wanted = itertools.product(sorted(inputs), sorted(outputs))
        cells += [(layer.spec, *cell) for cell in wanted if cell not in held]
    return cells


def _merge(grid: LayerGrid | None, cells: Mapping[tuple[int, int], float]) -> LayerGrid:
    """Return a grid with cells that fill up what it lacks."""
    known = dict(cells)
    if grid is not None:
        pairs = itertools.product(grid.inputs, grid.outputs)
        known.update(zip(pairs, map(float, grid.ms.flat), strict=True))
    inputs = tuple(sorted({n_inputs for n_inputs, _ in known}))
    outputs = tuple(sorted({n_outputs for _, n_outputs in known}))
    return LayerGrid(inputs, outputs, np.array([[known[i, o] for o in outputs] for i in inputs]))
