"""A request's nets run without the supernet that they were cut out of."""

from __future__ import annotations

import importlib.util
import json
import zlib
from dataclasses import replace

import pytest
import torch
from latency.fakes import SETTINGS
from latency.fakes import FakeBench
from latency.fakes import make_residual_supernet

from dpod_search.errors import ConfigError
from dpod_search.errors import DataError
from dpod_search.latency import Bench
from dpod_search.latency import make_request
from dpod_search.latency import pack_nets
from dpod_search.latency import packing
from dpod_search.latency.packing import prepare_packed
from dpod_search.latency.request import RequestedNet
from dpod_search.latency.request import extract_net


BACKENDS = ["eager", "onnxruntime"]


def make(backend):
    if backend == "onnxruntime" and importlib.util.find_spec("onnxruntime") is None:
        pytest.skip("onnxruntime is not installed")
    supernet = make_residual_supernet()
    settings = replace(SETTINGS, n_fit=8, n_held_out=4, backend=backend, batch_size=2)
    request = make_request(supernet, settings)
    return supernet, replace(request, nets=request.nets[:2])


@pytest.mark.parametrize("backend", BACKENDS)
def test_packed_nets_run_and_are_small(backend):
    supernet, request = make(backend)
    packed = pack_nets(request, supernet)

    assert [net.widths for net in packed.nets] == [net.widths for net in request.nets]
    for net in packed.nets:
        n_weights = sum(p.numel() for p in extract_net(supernet, net.widths).parameters())
        assert net.packed is not None
        assert len(net.packed) < 1500 + n_weights
    with Bench(backend, batch_size=2) as bench:
        for net in packed.nets:
            prepare_packed(packed, net, bench)()


def test_they_are_the_nets_that_were_asked_for():
    supernet, request = make("eager")
    packed = pack_nets(request, supernet)
    for net in packed.nets:
        module = prepare_packed(packed, net, FakeBench()).module
        own = extract_net(supernet, net.widths)
        shapes = sorted(tuple(p.shape) for p in own.parameters())
        assert sorted(tuple(p.shape) for p in module.parameters()) == shapes


def test_packing_leaves_the_supernet_as_it_was():
    supernet, request = make("onnxruntime")
    before = {name: t.clone() for name, t in supernet.state_dict().items()}
    pack_nets(request, supernet)
    assert all(torch.equal(t, before[name]) for name, t in supernet.state_dict().items())


MISFIT = {
    "tensors": ["images", [[7, 7], "torch.float32", True]],
    "calls": [["aten.linear.default", [{"of": 0}, {"of": 1}], {}, 0]],
    "result": [{"of": 2}],
}


def pack(value):
    return RequestedNet((1,), zlib.compress(value))


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (RequestedNet((1,)), "holds no nets; write it again"),
        (RequestedNet((1,), b"\x80\x04stolen"), "cannot be read"),
        (RequestedNet((1,), zlib.compress(b"x" * 999)[:-5]), "is cut off"),
        (pack(b"\x80\x04\x95"), "cannot be read"),
        (pack(b"{"), "cannot be read"),
        (pack(b"[" * 100_000), "cannot be read .*too deep"),
        (pack(b"3"), "cannot be read"),
        (pack(json.dumps({"tensors": ["images"]}).encode()), "cannot be read"),
        (pack(json.dumps(MISFIT).encode()), "cannot be run"),
    ],
)
def test_what_is_no_net_is_one_clear_error(net, message):
    _, request = make("eager")
    with pytest.raises(DataError, match=message) as told:
        prepare_packed(request, net, FakeBench())
    assert "\n" not in str(told.value)


def test_a_net_that_unpacks_to_more_than_fits_is_refused(monkeypatch):
    _, request = make("eager")
    monkeypatch.setattr(packing, "_MAX_BYTES", 1000)
    with pytest.raises(DataError, match="larger than 2 GB"):
        prepare_packed(request, pack(b" " * 1001), FakeBench())


def test_onnxruntime_tells_what_is_no_onnx():
    _, request = make("onnxruntime")
    with (
        Bench("onnxruntime", batch_size=2) as bench,
        pytest.raises(ConfigError, match="onnxruntime cannot run the net") as told,
    ):
        prepare_packed(request, pack(b"no onnx"), bench)
    assert "\n" not in str(told.value)
