"""A metric is written once: arrays and tables are both made of its terms."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from footprint.test_peak_bytes import NETS
from footprint.test_tabulating import draw_rungs
from torch import nn

from dpod_search.footprint import METRICS
from dpod_search.footprint import build_footprint
from dpod_search.footprint import tabulate_footprint
from dpod_search.footprint.metrics import Largest
from dpod_search.footprint.metrics import Metric
from dpod_search.footprint.monomials import Term
from dpod_search.footprint.monomials import all_of
from dpod_search.footprint.stored import weigh
from dpod_search.supernet import Supernet
from dpod_search.supernet import build_supernet
from dpod_search.supernet import extract_subnet


def sum_outputs(supernet: Supernet) -> list[Term]:
    plans = supernet.grouping.layers
    return [Term(1, (plan.output,), all_of(plan.blocks)) for plan in plans]


def find_largest_weight(supernet: Supernet) -> Largest:
    return Largest([[weigh(plan)] for plan in supernet.grouping.layers])


def list_weights(subnet: nn.Module) -> list[nn.Parameter]:
    layers = (nn.Conv2d, nn.BatchNorm2d, nn.Linear)
    return [module.weight for module in subnet.modules() if isinstance(module, layers)]


@pytest.mark.parametrize(
    ("metric", "count"),
    [
        (sum_outputs, lambda subnet: sum(map(len, list_weights(subnet)))),
        (
            find_largest_weight,
            lambda subnet: max(w.numel() for w in list_weights(subnet) if w.ndim > 1),
        ),
    ],
)
def test_a_function_and_a_line_make_a_metric(
    metric: Metric, count: Callable[[nn.Module], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METRICS, "own", metric)
    supernet = build_supernet(NETS["blocks-behind-relu"]().eval(), torch.randn(1, 3, 8, 8))
    rungs = draw_rungs(supernet, np.random.default_rng(0), 40)
    chosen = [supernet.space.from_rungs(row) for row in rungs]
    counted = [count(extract_subnet(supernet, widths)) for widths in chosen]
    footprint = build_footprint(supernet)

    assert footprint.table([widths.active for widths in chosen])["own"].tolist() == counted
    assert footprint.measure(chosen[0])["own"] == counted[0]
    sums = tabulate_footprint(supernet)["own"]
    assert np.max([each.at(rungs) for each in sums], axis=0).tolist() == counted
