"""Hypothesis strategies: width spaces, widths in them, and small nets of many shapes."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor
from torch import nn

from dpod_search.widths import Widths
from dpod_search.widths import WidthSpace


@dataclass(frozen=True)
class Net:
    """A model, an input it takes, and how it was drawn (what hypothesis prints)."""

    description: str
    model: nn.Module
    example: Tensor

    def __repr__(self) -> str:
        return f"Net({self.description}, {tuple(self.example.shape)})"


@st.composite
def width_spaces(draw: st.DrawFn, max_groups: int = 5) -> WidthSpace:
    """Draw a space by full widths, ratios and multiple."""
    full = draw(st.lists(st.integers(1, 64), min_size=1, max_size=max_groups))
    ratios = draw(st.lists(st.floats(0.01, 1.0), min_size=1, max_size=8))
    names = {f"layer{i}.conv": width for i, width in enumerate(full)}
    return WidthSpace.from_ratios(names, ratios, draw(st.sampled_from([1, 2, 8])))


def widths_of(space: WidthSpace) -> st.SearchStrategy[Widths]:
    """Draw widths of a space."""
    rungs = st.tuples(*(st.sampled_from(rungs) for rungs in space.rungs))
    return rungs.map(lambda active: Widths(space.names, active))


def fronts(n_objectives: int, max_points: int = 9) -> st.SearchStrategy[np.ndarray]:
    """Draw points on a small integer grid, so that ties and duplicates are common."""
    point = st.tuples(*[st.integers(0, 6)] * n_objectives)
    return st.lists(point, min_size=1, max_size=max_points).map(
        lambda points: np.array(points, dtype=float)
    )


class ConvUnit(nn.Sequential):
    """A convolution, perhaps a BatchNorm, an activation."""

    def __init__(self, n_in: int, n_out: int, *, norm: bool = True, **options: object) -> None:
        conv = nn.Conv2d(n_in, n_out, kernel_size=3, padding=1, **options)  # type: ignore[arg-type]
        norms = [nn.BatchNorm2d(n_out)] if norm else []
        super().__init__(conv, *norms, nn.ReLU())


class Residual(nn.Module):
    """A block with a shortcut: the identity where it fits, else a projection."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.first = ConvUnit(n_in, n_out, stride=stride, bias=False)
        self.second = nn.Conv2d(n_out, n_out, 3, padding=1)
        self.norm = nn.BatchNorm2d(n_out)
        self.shortcut = nn.Conv2d(n_in, n_out, 1, stride) if (n_in, stride) != (n_out, 1) else None

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.shortcut is None else self.shortcut(x)
        return torch.relu(self.norm(self.second(self.first(x))) + shortcut)


class Dense(nn.Module):
    """Concatenates its input with what it makes of it."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(n_in)
        self.conv = nn.Conv2d(n_in, n_out, 3, padding=1)
        self.after = nn.BatchNorm2d(n_in + n_out)

    def forward(self, x: Tensor) -> Tensor:
        return self.after(torch.cat([x, self.conv(torch.relu(self.norm(x)))], dim=1))


class Depthwise(nn.Module):
    """A depthwise convolution, then a pointwise one."""

    def __init__(self, n_in: int, n_out: int, padding_mode: str) -> None:
        super().__init__()
        self.depth = nn.Conv2d(n_in, n_in, 3, padding=1, groups=n_in, padding_mode=padding_mode)
        self.norm = nn.BatchNorm2d(n_in)
        self.point = nn.Conv2d(n_in, n_out, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.point(torch.relu(self.norm(self.depth(x))))


class Excite(nn.Module):
    """Squeeze and excite: channels scaled by what their means say."""

    def __init__(self, n_in: int, n_hidden: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(n_in, n_hidden, 1)
        self.up = nn.Conv2d(n_hidden, n_in, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.up(torch.relu(self.down(x.mean([2, 3], keepdim=True)))))


class CalledTwice(nn.Module):
    """One convolution and one BatchNorm, each called twice."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(2):
            x = torch.tanh(self.norm(self.conv(x)))
        return x


class Classifier(nn.Module):
    """A body, then a linear head behind a flatten or a mean over space."""

    def __init__(self, body: nn.Module, n_features: int, head: str) -> None:
        super().__init__()
        self.body = body
        self.head_kind = head
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(n_features, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x)
        if self.head_kind == "mean":
            x = x.mean([2, 3])
        elif self.head_kind == "pool":
            x = torch.flatten(self.pool(x), 1)
        else:
            x = x.reshape(x.size(0), -1)
        return self.head(x)


_SIZE = 6
_PADDING_MODES = ["zeros", "circular", "reflect", "replicate"]


@st.composite
def cnns(draw: st.DrawFn) -> Net:
    """Draw a small CNN: one to four blocks of any kind, three classes, 6 x 6 pictures."""
    seed = draw(st.integers(0, 99))
    n_in = channels = draw(st.integers(1, 3))
    size = _SIZE
    text: list[str] = []
    makers: list[Callable[[], nn.Module]] = []
    for _ in range(draw(st.integers(1, 4))):
        make, channels, size, said = draw(_blocks(channels, size))
        makers.append(make)
        text.append(said)
    head = draw(st.sampled_from(["mean", "pool", "flatten"]))
    n_features = channels * (size * size if head == "flatten" else 1)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        body = nn.Sequential(*(make() for make in makers))
        model = scramble_norms(Classifier(body, n_features, head))
        example = torch.randn(draw(st.integers(2, 3)), n_in, _SIZE, _SIZE)
    return Net(f"seed {seed}: {', '.join(text)}, {head}", model, example)


@st.composite
def _blocks(
    draw: st.DrawFn, n_in: int, size: int
) -> tuple[Callable[[], nn.Module], int, int, str]:
    kind = draw(
        st.sampled_from(["conv", "residual", "dense", "depthwise", "excite", "twice", "pool"])
    )
    width = draw(st.integers(2, 8))
    stride = draw(st.sampled_from([1, 2])) if size > 4 else 1
    after = (size - 1) // stride + 1
    if kind == "conv":
        options = {
            "norm": draw(st.booleans()),
            "bias": draw(st.booleans()),
            "padding_mode": draw(st.sampled_from(_PADDING_MODES)),
            "stride": stride,
        }
        return lambda: ConvUnit(n_in, width, **options), width, after, f"conv({width}, {options})"
    if kind == "residual":
        width = draw(st.sampled_from([n_in, width]))
        return lambda: Residual(n_in, width, stride), width, after, f"residual({width}, {stride})"
    if kind == "dense":
        return lambda: Dense(n_in, width), n_in + width, size, f"dense({width})"
    if kind == "depthwise":
        mode = draw(st.sampled_from(_PADDING_MODES))
        return lambda: Depthwise(n_in, width, mode), width, size, f"depthwise({width}, {mode})"
    if kind == "excite":
        return lambda: Excite(n_in, width), n_in, size, f"excite({width})"
    if kind == "twice":
        return lambda: CalledTwice(n_in), n_in, size, "twice"
    return lambda: nn.MaxPool2d(3, 1, 1), n_in, size, "pool"


@st.composite
def mlps(draw: st.DrawFn) -> Net:
    """Draw a chain of linear layers with BatchNorms and activations between some."""
    seed = draw(st.integers(0, 99))
    widths = draw(st.lists(st.integers(2, 9), min_size=2, max_size=4))
    norms = [draw(st.booleans()) for _ in widths]
    bias = draw(st.booleans())
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        layers: list[nn.Module] = []
        for n_in, n_out, norm in zip(widths, widths[1:], norms, strict=False):
            layers.append(nn.Linear(n_in, n_out, bias=bias))
            layers += [nn.BatchNorm1d(n_out)] if norm else []
            layers.append(nn.GELU())
        model = scramble_norms(nn.Sequential(*layers, nn.Linear(widths[-1], 3)))
        example = torch.randn(3, widths[0])
    return Net(f"seed {seed}: mlp {widths}, norms {norms}, bias {bias}", model, example)


def nets() -> st.SearchStrategy[Net]:
    """Draw a net in which something can be narrowed, most of them convolutional."""
    return st.one_of(cnns(), cnns(), mlps()).filter(_can_be_narrowed)


def _can_be_narrowed(net: Net) -> bool:
    # An excited picture or a pooled one has no hidden channels before the head.
    return any(
        isinstance(layer, (nn.Conv2d, nn.Linear)) and name != "head"
        for name, layer in net.model.named_modules()
    )


def scramble_norms(model: nn.Module) -> nn.Module:
    """Give every BatchNorm parameters and statistics that differ from channel to channel."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            for tensor, low in (
                (module.weight, 0.5),
                (module.bias, -1.0),
                (module.running_mean, -1.0),
                (module.running_var, 0.5),
            ):
                if tensor is not None:
                    nn.init.uniform_(tensor, low, low + 1.5)
    return model


class Graph(nn.Module):
    """Runs steps, each of which reads tensors made before it and makes one more.

    Args:
        steps: For each its name, what it does, and the numbers of the tensors that it reads; the
            picture is number 0.
        layers: Modules by the name of the step that they belong to.
        n_features: Elements of the last tensor, flattened.
    """

    def __init__(
        self,
        steps: Sequence[tuple[str, str, tuple[int, ...]]],
        layers: dict[str, nn.Module],
        n_features: int,
    ) -> None:
        super().__init__()
        self.steps = list(steps)
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.head = nn.Linear(n_features, 3)

    def forward(self, x: Tensor) -> Tensor:
        tensors = [x]
        for name, kind, reads in self.steps:
            inputs = [tensors[i] for i in reads]
            if kind == "add":
                made = inputs[0] + inputs[1]
            elif kind == "multiply":
                made = inputs[0] * torch.sigmoid(inputs[1])
            elif kind == "concat":
                made = torch.cat(inputs, dim=1)
            else:
                made = self.get_submodule(name)(*inputs)
            tensors.append(made)
        return self.head(torch.flatten(tensors[-1], 1))


class Shortcut(nn.Module):
    """A block whose removal leaves the identity."""

    def __init__(self, width: int, n_hidden: int, *, is_relu_last: bool) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, n_hidden, 3, padding=1)
        self.norm = nn.BatchNorm2d(n_hidden)
        self.second = nn.Conv2d(n_hidden, width, 1)
        self.is_relu_last = is_relu_last

    def forward(self, x: Tensor) -> Tensor:
        y = x + self.second(torch.relu(self.norm(self.first(x))))
        return torch.relu(y) if self.is_relu_last else y


_PLACES = 5
_JOINS = ("add", "multiply", "concat")
_STEPS = (
    "conv",
    "norm",
    "relu",
    "depthwise",
    "grouped",
    "excite",
    "shortcut",
    "pool",
    *_JOINS * 2,
)


@st.composite
def graphs(draw: st.DrawFn) -> Net:
    """Draw a graph over pictures of one size: each step reads any of the tensors before it."""
    seed = draw(st.integers(0, 99))
    sizes = [draw(st.integers(1, 3))]  # channels of every tensor
    steps: list[tuple[str, str, tuple[int, ...]]] = []
    makers: dict[str, Callable[[], nn.Module]] = {}
    for number in range(draw(st.integers(5, 10))):
        # The first steps make channels that are not the picture's.
        kind = draw(st.sampled_from(_STEPS)) if number > 1 else "conv"
        kind, reads = _draw_reads(draw, kind, sizes)
        name = f"{kind}{number}"
        if kind in _JOINS:
            sizes.append(sum(sizes[i] for i in reads) if kind == "concat" else sizes[reads[0]])
        else:
            makers[name], n_out = _draw_layer(draw, kind, sizes[reads[0]])
            sizes.append(n_out)
        steps.append((name, kind, reads))
    is_pooled = draw(st.booleans())
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        layers = {name: make() for name, make in makers.items()}
        if is_pooled:
            layers["last"] = nn.AdaptiveAvgPool2d(1)
            steps.append(("last", "pool", (len(steps),)))
        n_features = sizes[-1] * (1 if is_pooled else _PLACES**2)
        model = scramble_norms(Graph(steps, layers, n_features)).eval()
        example = torch.randn(2, sizes[0], _PLACES, _PLACES)
    text = "; ".join(f"{i + 1}: {name}{reads}" for i, (name, _, reads) in enumerate(steps))
    return Net(f"seed {seed}, channels {sizes}: {text}", model, example)


def _draw_reads(draw: st.DrawFn, kind: str, sizes: Sequence[int]) -> tuple[str, tuple[int, ...]]:
    """Draw what a step reads, late tensors more often; a join without a partner is no join."""
    made = list(range(1, len(sizes)))
    first = draw(st.sampled_from([0, *made, *made[-2:]])) if made else 0
    if kind == "concat":
        return kind, (first, draw(st.sampled_from([0, *made])))
    if kind in _JOINS:
        fitting = [i for i in range(len(sizes)) if sizes[i] == sizes[first]]
        return kind, (first, draw(st.sampled_from(fitting)))
    return kind, (first,)


def _draw_layer(draw: st.DrawFn, kind: str, n_in: int) -> tuple[Callable[[], nn.Module], int]:
    width = draw(st.sampled_from([2, 3, 4, 4, 4, 6]))
    if kind == "conv":
        bias = draw(st.booleans())
        return lambda: nn.Conv2d(n_in, width, 3, padding=1, bias=bias), width
    if kind == "depthwise":
        return lambda: nn.Conv2d(n_in, n_in, 3, padding=1, groups=n_in), n_in
    if kind == "grouped":
        n_groups = draw(st.sampled_from([n for n in (1, 2, 3) if n_in % n == 0]))
        n_out = n_groups * draw(st.integers(1, 3))
        return lambda: nn.Conv2d(n_in, n_out, 1, groups=n_groups), n_out
    if kind == "excite":
        return lambda: Excite(n_in, width), n_in
    if kind == "shortcut":
        is_relu_last = draw(st.booleans())
        return lambda: Shortcut(n_in, width, is_relu_last=is_relu_last), n_in
    if kind == "norm":
        return lambda: nn.BatchNorm2d(n_in), n_in
    return (nn.ReLU, n_in) if kind == "relu" else (lambda: nn.MaxPool2d(3, 1, 1), n_in)
