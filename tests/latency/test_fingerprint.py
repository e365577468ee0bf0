from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from latency.fakes import DEVICE

from dpod_search.errors import ConfigError
from dpod_search.latency import Fingerprint
from dpod_search.latency import take_fingerprint


def test_this_machine_describes_itself_alike_twice():
    found = [take_fingerprint("eager", torch.device("cpu"), n_threads=2, batch_size=3)] * 2

    assert found[0] == found[1]
    assert found[0].describe_difference(found[1]) == ""
    assert (found[0].n_threads, found[0].batch_size, found[0].device) == (2, 3, "cpu")
    assert found[0].processor
    assert found[0].version == f"torch {torch.__version__.split('+')[0]}"
    assert Fingerprint.from_json(found[0].to_json()) == found[0]


def test_a_difference_is_named():
    other = replace(DEVICE, processor="another", n_threads=4)
    told = DEVICE.describe_difference(other)
    assert told == "processor: a processor -> another, n_threads: 1 -> 4"


def test_an_unknown_backend_is_named():
    with pytest.raises(ConfigError, match=r"eager, compile, onnxruntime, got 'tensorrt'"):
        take_fingerprint("tensorrt", torch.device("cpu"), n_threads=1, batch_size=1)
