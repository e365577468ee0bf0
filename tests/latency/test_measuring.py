from __future__ import annotations

import importlib.util
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from latency.fakes import DEVICE
from latency.fakes import SETTINGS
from latency.fakes import FakeBench
from latency.fakes import make_residual_net
from latency.fakes import make_residual_supernet
from training.fakes import single_thread

from dpod_search.errors import DataError
from dpod_search.latency import make_request
from dpod_search.latency import measure_request
from dpod_search.latency import measuring
from dpod_search.latency import pack_nets
from dpod_search.latency import read_request
from dpod_search.latency import read_table
from dpod_search.latency import write_request
from dpod_search.supernet import build_supernet


FEW = replace(SETTINGS, n_fit=8, n_held_out=4, n_grid=2)


@pytest.fixture
def supernet():
    return make_residual_supernet()


@pytest.fixture
def timed(monkeypatch):
    """What a bench that measures nothing was asked."""
    FakeBench.timed = []
    monkeypatch.setattr(measuring, "Bench", FakeBench)
    return FakeBench.timed


class Watch:
    """Progress that counts."""

    def __init__(self):
        self.total = self.done = self.n_finished = 0

    def start(self, task, total, done=0):
        self.total = total

    def advance(self, n=1, note=""):
        self.done += n

    def finish(self):
        self.n_finished += 1


def test_all_of_a_request_is_measured_more_than_once(supernet, timed):
    request, watch = make_request(supernet, FEW), Watch()
    table = measure_request(request, supernet=supernet, progress=watch)

    assert request.is_held_by(table)
    n_things = request.n_cells + 12
    assert (watch.total, watch.done, watch.n_finished) == (n_things, n_things, 1)
    assert sum(kind == "cell" for kind, _ in timed) == 2 * request.n_cells
    assert [net.widths for net in table.nets] == [net.widths for net in request.nets]
    assert (table.device, table.reference_ms, table.space) == (DEVICE, 2.0, request.space)
    full = table.nets[0]
    n_weights = sum(p.numel() for p in make_residual_net().parameters())
    assert full.ms == pytest.approx(1e-3 * n_weights, rel=1e-5)
    assert (full.low_ms, full.high_ms) == pytest.approx((0.9 * full.ms, 1.1 * full.ms), rel=1e-5)
    assert table.n_restless == 12
    # A cell is the layer at these widths, and none besides.
    layer = request.layers[1]
    assert layer.spec.followers == ("norm", "relu")
    cells = [[9 * i * o + 2 * o for o in layer.outputs] for i in layer.inputs]
    np.testing.assert_allclose(table.layers[layer.spec].ms, 1e-3 * np.array(cells))


def test_a_restless_machine_is_told(supernet, timed, caplog):
    request = make_request(supernet, FEW)
    known = measure_request(request, supernet=supernet)
    assert "throttled or shared while 12 of 12 nets" in caplog.text
    caplog.clear()

    calm = tuple(replace(net, drift=1.0) for net in known.nets[:6])
    measure_request(request, supernet=supernet, known=replace(known, nets=calm))
    assert not caplog.text


def test_what_is_known_is_not_measured_again(supernet, timed):
    request = make_request(supernet, FEW)
    known = measure_request(request, supernet=supernet)
    timed.clear()

    again = measure_request(request, supernet=supernet, known=known)
    assert timed == []
    assert (again.nets, again.reference_ms) == (known.nets, known.reference_ms)


def test_a_table_grows_by_what_it_lacks_alone(supernet, timed):
    known = measure_request(make_request(supernet, FEW), supernet=supernet)
    more = make_request(supernet, replace(FEW, n_grid=4, n_fit=16), seed=1)
    whole = measure_request(more, supernet=supernet)
    timed.clear()

    grown = measure_request(more, supernet=supernet, known=replace(known, reference_ms=3.0))
    assert more.is_held_by(grown)
    n_cells = sum(len(x.inputs) * len(x.outputs) for x in more.layers)
    n_known = sum(grid.ms.size for grid in known.layers.values())
    assert sum(kind == "cell" for kind, _ in timed) == 2 * (n_cells - n_known)
    asked = {net.widths for net in more.nets}
    old = [net for net in known.nets if net.widths not in asked]
    assert len(old) > 3
    assert sum(kind == "net" for kind, _ in timed) == 3 * (20 - (12 - len(old)))
    for spec, grid in whole.layers.items():
        np.testing.assert_array_equal(grown.layers[spec].ms, grid.ms)
    # Those of the request come last, for its last ones are held out.
    assert grown.nets[: len(old)] == tuple(old)
    assert [net.widths for net in grown.nets[len(old) :]] == [net.widths for net in more.nets]
    assert grown.reference_ms == 3.0


def test_of_another_model_layers_alike_are_kept_and_nets_are_not(supernet, timed):
    known = measure_request(make_request(supernet, FEW), supernet=supernet)
    other = build_supernet(
        make_residual_net(n_blocks=4), torch.zeros(2, 3, 8, 8), removes_blocks=True
    ).eval()
    timed.clear()

    found = measure_request(make_request(other, FEW), supernet=other, known=known)
    assert [kind for kind, _ in timed] == ["net"] * 36
    assert len(found.nets) == 12


def test_what_was_measured_is_kept_on_the_way(supernet, timed):
    request, kept = make_request(supernet, replace(FEW, n_fit=16)), []

    measure_request(request, supernet=supernet, keep=kept.append)
    assert [len(table.nets) for table in kept] == [0, 8, 16, 20]
    timed.clear()
    measure_request(request, supernet=supernet, known=kept[1])
    assert [kind for kind, _ in timed] == ["net"] * 36


def test_a_table_of_another_device_does_not_grow(supernet, timed):
    request = make_request(supernet, FEW)
    known = measure_request(request, supernet=supernet)
    other = replace(known, device=replace(DEVICE, processor="another", n_threads=4))

    with pytest.raises(DataError, match="another device .*another -> a processor, n_threads"):
        measure_request(request, supernet=supernet, known=other)


def test_a_request_of_another_supernet_is_refused(supernet, timed):
    other = build_supernet(make_residual_net(16), torch.zeros(2, 3, 8, 8))
    with pytest.raises(DataError, match="latency request is of another model"):
        measure_request(make_request(supernet, FEW), supernet=other)


def test_without_nets_and_supernet_it_is_told(supernet, timed):
    with pytest.raises(DataError, match="holds no nets"):
        measure_request(make_request(supernet, FEW))


def test_pictures_are_stored_as_in_the_net(supernet, monkeypatch):
    seen = []

    class Bench(FakeBench):
        def time(self, module, images, *, n_bursts):
            if images.ndim == 4 and images.shape[1] > 1:
                seen.append(images.is_contiguous(memory_format=torch.channels_last))
            return super().time(module, images, n_bursts=n_bursts)

    monkeypatch.setattr(measuring, "Bench", Bench)
    request = make_request(supernet, FEW)
    for is_last in (True, False):
        seen.clear()
        measure_request(replace(request, runs_channels_last=is_last), supernet=supernet)
        assert set(seen) == {is_last}


@pytest.mark.parametrize("backend", ["eager", "onnxruntime", "compile"])
def test_a_device_measures_a_request_without_the_model(supernet, tmp_path, backend):
    if backend == "onnxruntime" and importlib.util.find_spec("onnxruntime") is None:
        pytest.skip("onnxruntime is not installed")
    if backend == "compile" and shutil.which("c++") is None:
        pytest.skip("torch.compile needs a C++ compiler")
    wanted = make_request(supernet, replace(FEW, backend=backend))
    wanted = replace(wanted, layers=wanted.layers[:2], nets=wanted.nets[1:3])
    if backend == "compile":  # seconds for each
        layer = replace(wanted.layers[0], inputs=(3,), outputs=(4,))
        wanted = replace(wanted, layers=(layer,), nets=wanted.nets[:1])
    write_request(pack_nets(wanted, supernet), tmp_path / "request.json")
    with single_thread():
        table = measure_request(read_request(tmp_path / "request.json"))
    table.write(tmp_path / "table.json")

    found = read_table(tmp_path / "table.json")
    assert found.device.backend == backend
    assert wanted.is_held_by(found)
    assert found.reference_ms == table.reference_ms > 0


def test_what_is_known_of_another_model_does_not_set_the_scale(supernet, timed):
    known = measure_request(make_request(supernet, FEW), supernet=supernet)
    other = build_supernet(
        make_residual_net(n_blocks=4), torch.zeros(2, 3, 8, 8), removes_blocks=True
    ).eval()

    grown = measure_request(
        make_request(other, FEW), supernet=other, known=replace(known, reference_ms=7.0)
    )
    assert grown.reference_ms == 2.0  # its own reference, measured now


def test_the_same_net_at_another_size_is_another_model(supernet):
    larger = build_supernet(
        make_residual_net(), torch.zeros(2, 3, 16, 16), removes_blocks=True
    ).eval()
    assert larger.space == supernet.space
    assert make_request(larger, FEW).space != make_request(supernet, FEW).space
