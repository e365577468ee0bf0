"""PReLU with a slope for each channel."""

from __future__ import annotations

from torch import Tensor
from torch import fx
from torch import nn
from torch.nn import functional

from dpod_search.supernet.dimensions.basic import carry
from dpod_search.supernet.dimensions.walk import Axes
from dpod_search.supernet.dimensions.walk import Discovery
from dpod_search.supernet.layers.kind import LayerKind
from dpod_search.supernet.layers.state import ElasticLayer
from dpod_search.supernet.layers.state import fill_plain
from dpod_search.supernet.layout import fixed
from dpod_search.supernet.layout import take


def bend_channels(discovery: Discovery, node: fx.Node) -> Axes:
    """PReLU: carries all axes, with one slope for all channels or a slope for each."""
    module = discovery.module(node)
    assert isinstance(module, nn.PReLU)
    if module.num_parameters == 1:
        return carry(discovery, node)
    source = discovery.first_input(node)
    channels = discovery.layout(source, 1)
    discovery.record(node, inputs=channels, weight_input=fixed(1), output=channels)
    return {**discovery.axes(source), 1: channels}


class ElasticPReLU(ElasticLayer, nn.PReLU):
    """A PReLU with a slope per channel that can run at several widths."""

    def forward(self, input: Tensor) -> Tensor:
        """Bend the active channels; shapes as the plain layer's."""
        return functional.prelu(input, self._active())

    def extract(self) -> nn.Module:
        """Return a plain PReLU of the active size with copies of the active slopes."""
        weight = self._active()
        return fill_plain(nn.PReLU(len(weight), device="meta"), self, weight=weight)

    def _active(self) -> Tensor:
        return take(self.weight, 0, self.plan.output, self.state.widths)


PRELU = LayerKind(
    name="prelu", twins={nn.PReLU: ElasticPReLU}, handler=bend_channels, makes_units=False
)
