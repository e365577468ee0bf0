"""Elastic layers one by one: each is its plain layer at full width and its extract below it."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from dpod_search.supernet.layers.elastic import KINDS
from dpod_search.supernet.layers.elastic import make_elastic
from dpod_search.supernet.layers.state import ElasticLayer
from dpod_search.supernet.layers.state import WidthState
from dpod_search.supernet.layout import Layout
from dpod_search.supernet.layout import Segment
from dpod_search.supernet.layout import fixed
from dpod_search.supernet.plans import LayerPlan


IN: Layout = (Segment(0, 6),)
OUT: Layout = (Segment(1, 8),)
ONE: Layout = fixed(1)
# Eight channels that two groups share, as behind a concat.
TWO: Layout = (Segment(0, 6), Segment(2, 2))

LAYERS: list[tuple[nn.Module, tuple[int, ...], Layout, Layout]] = [
    (nn.Conv1d(6, 8, 3, padding=1), (6, 9), IN, OUT),
    (nn.Conv2d(6, 8, 3, stride=2, dilation=2, bias=False), (6, 9, 9), IN, OUT),
    (nn.Conv2d(6, 8, 3, padding="same", padding_mode="reflect"), (6, 5, 5), IN, OUT),
    (nn.Conv2d(6, 8, 3, padding=(1, 2), padding_mode="circular"), (6, 5, 5), IN, OUT),
    (nn.Conv2d(8, 8, 3, groups=8, padding=1), (8, 5, 5), ONE, OUT),
    (nn.Conv2d(8, 8, 3, groups=8, padding_mode="replicate", padding=1), (8, 5, 5), ONE, TWO),
    (nn.Conv3d(6, 8, (1, 2, 3)), (6, 4, 4, 4), IN, OUT),
    (nn.Linear(6, 8), (6,), IN, OUT),
    (nn.Linear(6, 8, bias=False), (5, 6), IN, OUT),
    (nn.BatchNorm1d(8), (8,), ONE, OUT),
    (nn.BatchNorm1d(8, momentum=None), (8, 4), ONE, TWO),
    (nn.BatchNorm2d(8, affine=False, eps=0.1), (8, 4, 4), ONE, OUT),
    (nn.BatchNorm2d(8, track_running_stats=False), (8, 4, 4), ONE, TWO),
    (nn.BatchNorm3d(8, momentum=0.5), (8, 2, 2, 2), ONE, TWO),
]


def make_plan(weight_input: Layout, output: Layout) -> LayerPlan:
    return LayerPlan("layer", "conv", output, weight_input, 1, 1, 1, 0, 4)


def narrow_input(layer: nn.Module, shape: tuple[int, ...], carried: Layout | None) -> torch.Tensor:
    """Six groups-0 channels narrow to 4; eight of groups 0 and 2, or of group 1, to what is kept."""
    x = torch.randn(5, *shape)
    if isinstance(layer, nn.Linear):
        return x[..., :4]
    if carried is None:
        return x[:, :4]
    return x[:, [0, 1, 2, 3, 6]] if carried is TWO else x[:, :5]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("layer", "shape", "weight_input", "output"), LAYERS, ids=str)
def test_full_and_narrow(
    layer: nn.Module,
    shape: tuple[int, ...],
    weight_input: Layout,
    output: Layout,
    training: bool,
) -> None:
    layer = copy.deepcopy(layer).train(training)
    plain = copy.deepcopy(layer)
    state = WidthState((6, 8, 2))
    elastic = make_elastic(layer, make_plan(weight_input, output), state)
    x = torch.randn(5, *shape)

    assert isinstance(elastic, ElasticLayer)
    assert isinstance(elastic, type(layer))
    assert torch.equal(elastic(x), plain(x))
    torch.testing.assert_close(elastic.state_dict(), plain.state_dict())

    state.widths = (4, 5, 1)
    extracted = elastic.extract()
    assert type(extracted) is type(plain)
    assert extracted.training is training
    x = narrow_input(layer, shape, output if weight_input is ONE else None)
    for _ in range(2):
        torch.testing.assert_close(elastic(x), extracted(x))
    torch.testing.assert_close(elastic.extract().state_dict(), extracted.state_dict())


def test_inactive_statistics_do_not_move() -> None:
    layer = nn.BatchNorm1d(8)
    elastic = make_elastic(layer, make_plan(ONE, TWO), WidthState((4, 8, 1)))
    elastic(torch.randn(5, 5) + 3)

    assert layer.running_mean is not None
    assert layer.running_mean.ne(0).tolist() == [True] * 4 + [False] * 2 + [True, False]


def test_wrong_number_of_dimensions_is_refused_as_by_the_plain_layer() -> None:
    elastic = make_elastic(nn.BatchNorm2d(8), make_plan(ONE, OUT), WidthState((6, 8, 2)))

    with pytest.raises(ValueError, match="expected 4D input"):
        elastic(torch.randn(5, 8))


def test_every_elastic_type_extracts_to_its_key() -> None:
    for plain, kind in KINDS.items():
        if isinstance(plain, str):  # of another package, which need not be there
            continue
        elastic = kind.twins[plain]
        assert issubclass(elastic, plain)
        assert getattr(elastic, "plain_type", plain) is plain
