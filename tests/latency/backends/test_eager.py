from __future__ import annotations

import torch
from torch import nn

from dpod_search.latency.backends.eager import EagerBackend
from dpod_search.placement import place_module


CPU = torch.device("cpu")


class Watched(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.seen = []

    def forward(self, x):
        is_last = x.is_contiguous(memory_format=torch.channels_last)
        self.seen.append((is_last, self.training, torch.is_inference_mode_enabled()))
        return self.conv(x)


def test_a_module_runs_where_its_weights_say():
    for is_last in (True, False):
        net = Watched()
        place_module(net, CPU, is_channels_last=is_last)
        run = EagerBackend().prepare(net, torch.zeros(2, 3, 8, 8), device=CPU, n_threads=1)
        run()
        run()
        assert net.seen == [(is_last, False, True)] * 2
