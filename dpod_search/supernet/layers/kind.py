"""What is known of a kind of layer: its entry in the one table, which stands in ``elastic.py``.

The file of a kind says how channels pass through it and how it runs narrow, and fills an entry.
Whoever asks what a layer is, in this room or above it, reads that.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from typing import Any
from typing import Literal

from torch import Tensor
from torch import nn

from dpod_search.supernet.dimensions.walk import Handler
from dpod_search.supernet.layout import Layout
from dpod_search.supernet.plans import LayerPlan


# What PyTorch's layers hold, those of one tensor for each channel or pair of channels.
LAYER_TENSORS = frozenset({"weight", "bias", "running_mean", "running_var", "num_batches_tracked"})
# Which subclasses of a kind's layers are of the kind too: none; those that only add names; those,
# and such as have a forward of their own that calls the layer's function.
Subclasses = Literal["none", "alike", "own forward"]


@dataclass(frozen=True)
class WeightAxes:
    """How the weight of a layer belongs to channel groups.

    Args:
        first: Layouts of its first two axes; any others are fixed.
        maker: Which of the two makes the units: an element for each.
    """

    first: tuple[Layout, Layout]
    maker: int = 0


@dataclass(frozen=True)
class Geometry:
    """A layer of any widths.

    Args:
        kind: Name of its kind.
        size: Height and width of its input (or as many axes as it has); for a layer without a
            kernel the axes between the batch and the features.
        kernel: Kernel size along each axis; empty for a layer without one.
        stride: Along each axis.
        padding: Along each axis.
        dilation: Along each axis.
        output_padding: Along each axis, of a transposed convolution.
        conv_group: Input and output channels of each of its ``conv_groups``, (1, 1) for a
            depthwise convolution; empty if it has one group of all channels.
        has_bias: Whether it has a bias.
        cell: PyTorch's mode of a recurrent layer, ``LSTM`` or ``RNN_TANH`` for instance. Its
            ``size`` is the number of steps and, where a sample has several, of sequences.
        n_layers: Recurrent layers of one width that run in one call.
        is_bidirectional: They run in both directions.
        batch_first: Their first axis is that of sequences, and not of steps.
        projected: Of a projection, outputs and hidden units in lowest terms.
    """

    kind: str
    size: tuple[int, ...]
    kernel: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    output_padding: tuple[int, ...] = ()
    conv_group: tuple[int, ...] = ()
    has_bias: bool = False
    cell: str = ""
    n_layers: int = 1
    is_bidirectional: bool = False
    batch_first: bool = False
    projected: tuple[int, ...] = ()

    @property
    def output_unit(self) -> int:
        """Outputs that come together: those of a group, or of a unit in both directions."""
        of_group = self.conv_group[1] if self.conv_group else 1
        of_unit = self.projected[0] if self.projected else 1
        return of_group * of_unit * (1 + int(self.is_bidirectional))


@dataclass(frozen=True)
class TimedPart:
    """What is timed by itself of a layer: mostly the whole of it.

    Args:
        inputs: Layout of dimension 1 of its weight.
        output: Layout of its output channels.
        n_layers: As of the geometry.
    """

    inputs: Layout
    output: Layout
    n_layers: int = 1


def _lay_out_features(geometry: Geometry, n_inputs: int, batch_size: int) -> tuple[int, ...]:
    return (batch_size, *geometry.size, n_inputs)


def lay_out_channels(geometry: Geometry, n_inputs: int, batch_size: int) -> tuple[int, ...]:
    """Return the shape of a convolution's input."""
    return (batch_size, n_inputs, *geometry.size)


def _recurs_not(geometry: Geometry) -> bool:
    recurs = geometry.is_bidirectional or geometry.batch_first or geometry.projected
    return not (geometry.cell or recurs) and geometry.n_layers == 1


def _take_whole(_geometry: Geometry, plan: LayerPlan) -> Iterable[TimedPart]:
    return [TimedPart(plan.weight_input, plan.output)]


@dataclass(frozen=True)
class Rebuilder:
    """How a layer is made anew at widths of its own, to be timed.

    Args:
        read: From a plain layer and the shape of its input for one sample to what it is but for
            its widths; None if it cannot be rebuilt.
        build: From that, input channels, output channels and ``conv_groups`` to a layer.
        lay_out_input: From that, input channels and samples to the shape of its input.
        fits: Says whether what was read from a file can be such a layer.
        take_apart: From that and the plan to what is timed by itself, in the order of its running.
        has_kernel: It slides over one to three axes behind the channels. Else the channels are
            the last axis.
        is_transposed: Its stride is a factor on the positions, and it has an output padding.
    """

    read: Callable[[Any, tuple[int, ...]], Geometry | None]
    build: Callable[[Geometry, int, int, int], nn.Module]
    lay_out_input: Callable[[Geometry, int, int], tuple[int, ...]] = _lay_out_features
    fits: Callable[[Geometry], bool] = _recurs_not
    take_apart: Callable[[Geometry, LayerPlan], Iterable[TimedPart]] = _take_whole
    has_kernel: bool = False
    is_transposed: bool = False


@dataclass(frozen=True)
class Regression:
    """A layer as a linear regression: at each place of its output a row times its weight.

    Args:
        gather: From the layer, its input and places, shape (N, n_places), to what its weight is
            multiplied by there: (conv_groups, N * n_places, elements of a row of the weight), in
            the order of that row. Places number the positions of the output, in its own order.
        pick: From the output and places to (N * n_places, output channels).
        count: From the output to how many positions it has.
    """

    gather: Callable[[Any, Tensor, Tensor], Tensor]
    pick: Callable[[Tensor, Tensor], Tensor]
    count: Callable[[Tensor], int]


def _outputs_first(_layer: Any, plan: LayerPlan) -> WeightAxes:
    return WeightAxes((plan.output, plan.weight_input))


def _whole(output: Layout) -> Layout:
    return output


@dataclass(frozen=True, kw_only=True)
class LayerKind:
    """All that is known of a kind of layer.

    Args:
        name: By which files and other tables know it.
        twins: The elastic twin of each class of the kind; of other packages' by its full name, so
            that none is imported for it.
        handler: How channels pass through a call; None if what holds such a layer says so.
        calls: How channels pass through functions of the kind that the model's own code calls.
        subclasses: Which classes of the user's own are of the kind.
        makes_units: It makes new units; else it has numbers for each channel.
        multiplies: It makes them by multiplying, which costs macs.
        is_norm: It normalises what it is given.
        is_composite: It makes its units inside and holds layers with plans of their own: it is
            always elastic, or a fused kernel of PyTorch's would pass them by.
        weight: Name of its weight; the bias has the same name but for that word.
        lay_out: From a layer and its plan to how a weight of two axes or more belongs to groups.
        made: Of the layout of its output, the part without which units add nothing.
        makes: Likewise, of several weights the names of those; by default all of them.
        resize: Lets a layer whose weight was cut say its new sizes.
        run: What a layer computes of an input with the given weight and bias.
        folds: It is a norm that can be folded into the weight of the layer in front.
        rebuilder: How it is timed; None if it is timed only within nets.
        regression: How its weight is found from inputs and outputs; None if it cannot be.
    """

    name: str
    twins: Mapping[type[nn.Module] | str, type[nn.Module]]
    handler: Handler | None
    calls: Mapping[Callable[..., Any], Handler] = field(default_factory=dict)
    subclasses: Subclasses = "alike"
    makes_units: bool = True
    multiplies: bool = True
    is_norm: bool = False
    is_composite: bool = False
    weight: str = "weight"
    lay_out: Callable[[Any, LayerPlan], WeightAxes] = _outputs_first
    made: Callable[[Layout], Layout] = _whole
    makes: tuple[str, ...] = ()
    resize: Callable[[Any], None] | None = None
    run: Callable[[Any, Tensor, Tensor, Tensor | None], Tensor] | None = None
    folds: bool = False
    rebuilder: Rebuilder | None = None
    regression: Regression | None = None

    def is_exactly(self, layer: nn.Module) -> bool:
        """Say whether a layer is of one of the very classes, plain or elastic, and no subclass."""
        return type(layer) in self.twins or type(layer) in self.twins.values()


def holds_layer_tensors(module: nn.Module) -> bool:
    """Say whether a layer holds no parameters and buffers besides those of PyTorch's."""
    listed: Iterable[str] = ()
    if isinstance(module, nn.RNNBase):
        listed = module._flat_weights_names
    elif isinstance(module, nn.RNNCellBase):
        listed = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    return {*module._parameters, *module._buffers} <= {*LAYER_TENSORS, *listed}
