"""Residual blocks: which can be removed, that nothing of them is left, and that it is exact."""

from __future__ import annotations

import copy
from collections.abc import Callable
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from strategies import Residual
from strategies import scramble_norms
from supernet.exactness import assert_close
from supernet.exactness import assert_exact
from torch import Tensor
from torch import nn
from torch.nn import functional as F

from dpod_search.supernet import Supernet
from dpod_search.supernet import build_supernet
from dpod_search.supernet import extract_subnet


X = torch.linspace(-2, 2, 2 * 3 * 5 * 5).sin().reshape(2, 3, 5, 5)
WIDTH = 6
Join = Callable[["Block", Tensor], Tensor]


class Block(nn.Module):
    """A residual block whose join each test writes; ``f`` is what it adds."""

    def __init__(self, join: Join = lambda m, x: x + m.f(x)) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(WIDTH, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, WIDTH, 1)
        self.drop = nn.Dropout(0.0)
        self.gamma = nn.Parameter(torch.rand(WIDTH, 1, 1) + 0.5)
        self.join = join

    def f(self, x: Tensor) -> Tensor:
        return self.conv2(F.relu(self.norm(self.conv1(x))))

    def forward(self, x: Tensor) -> Tensor:
        return self.join(self, x)


class Net(nn.Module):
    """A stem, blocks that ``run`` goes through, and a head."""

    def __init__(self, run: Callable[[Net, Tensor], Tensor] | None = None, **parts: nn.Module):
        super().__init__()
        self.stem = nn.Conv2d(3, WIDTH, 3, padding=1)
        for name, part in parts.items():
            setattr(self, name, part)
        self.head = nn.Linear(WIDTH, 3)
        self.run = run or (lambda net, x: net.blocks(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.run(self, self.stem(x)).mean((2, 3)))


def make(run: Callable[[Net, Tensor], Tensor] | None = None, **parts: nn.Module) -> Supernet:
    torch.manual_seed(0)
    parts = parts or {"blocks": nn.Sequential(Block(), Block(), Block())}
    return build_supernet(scramble_norms(Net(run, **parts)).eval(), X)


def blocks_of(supernet: Supernet) -> set[str]:
    return {group.name for group in supernet.groups if group.kind == "block"}


def without(supernet: Supernet, *names: str) -> nn.Module:
    return extract_subnet(supernet, {**supernet.space.full, **dict.fromkeys(names, 0)})


def drop_path(x: Tensor, rate: float, is_training: bool) -> Tensor:
    if rate == 0.0 or not is_training:
        return x
    kept = torch.rand(len(x), 1, 1, 1) >= rate
    return x * kept / (1 - rate)


def add_in_place(block: Block, x: Tensor) -> Tensor:
    identity = x
    out = block.f(x)
    out += identity
    return out


def add_twice(block: Block, x: Tensor) -> Tensor:
    x = x + block.f(x)
    return x + block.gamma * block.conv2(block.conv1(x))


JOINS: dict[str, Join] = {
    "plain": lambda m, x: x + m.f(x),
    "relu-after": lambda m, x: F.relu(m.f(x) + x),
    "pre-activation": lambda m, x: m.conv2(m.norm(m.conv1(F.relu(x)))) + x,
    "in-place": add_in_place,
    "in-place-relu": lambda m, x: F.relu_(add_in_place(m, x)),
    "function": lambda m, x: torch.add(x, m.f(x)),
    "method": lambda m, x: m.f(x).add(x),
    "drop-path": lambda m, x: x + drop_path(m.f(x), 0.1, m.training),
    "dropout": lambda m, x: x + m.drop(m.f(x)),
    "gamma": lambda m, x: x + m.gamma * m.f(x),
    "twice": add_twice,
}


@pytest.mark.parametrize("name", JOINS)
def test_every_way_to_write_a_shortcut(name: str) -> None:
    join = JOINS[name]
    torch.manual_seed(0)
    blocks = nn.Sequential(*(Block(join) for _ in range(3)))
    supernet = make(None, blocks=blocks)

    assert blocks_of(supernet) == {"blocks.0", "blocks.1", "blocks.2"}
    # Random numbers for rows that are dropped are drawn for blocks that are there only.
    assert_exact(supernet, X, n_trained=0 if name == "drop-path" else 3)
    assert_nothing_is_left(supernet, "blocks.1")


def assert_nothing_is_left(supernet: Supernet, *names: str) -> None:
    full, less = extract_subnet(supernet, supernet.space.full), without(supernet, *names)
    weights = {id_of(full.get_parameter(n)) for name in names for n in names_in(full, name)}
    assert weights
    assert not weights & {id_of(p) for p in less.parameters()}
    n_gone = sum(len(list(full.get_submodule(name).modules())) for name in names)
    n_left = sum(type(m) is nn.Identity for m in less.modules())
    assert len(list(less.modules())) == len(list(full.modules())) - n_gone + n_left
    assert len(less.state_dict()) == len(full.state_dict()) - sum(
        len(full.get_submodule(name).state_dict()) for name in names
    )


def names_in(model: nn.Module, path: str) -> list[str]:
    return [f"{path}.{name}" for name, _ in model.get_submodule(path).named_parameters()]


def id_of(parameter: nn.Parameter) -> tuple[float, ...]:
    return tuple(parameter.detach().flatten().tolist())


def through_list(net: Net, x: Tensor) -> Tensor:
    for block in net.blocks:
        x = block(x)
    return x


@pytest.mark.parametrize("is_list", [False, True])
def test_numbered_lists_are_numbered_anew(is_list: bool) -> None:
    parts = [Block() for _ in range(3)]
    blocks = nn.ModuleList(parts) if is_list else nn.Sequential(*parts)
    supernet = make(through_list if is_list else None, blocks=blocks)

    less = without(supernet, "blocks.0")
    assert {name for name in less.state_dict() if name.startswith("blocks")} == {
        f"blocks.{i}.{name}" for i in range(2) for name in parts[0].state_dict()
    }
    assert torch.equal(less.blocks[0].gamma, supernet.net.blocks[1].gamma)
    assert_nothing_is_left(supernet, "blocks.0")
    assert_nothing_is_left(supernet, "blocks.0", "blocks.1", "blocks.2")
    assert len(without(supernet, "blocks.0", "blocks.1", "blocks.2").blocks) == 0
    assert_exact(supernet, X)


def test_other_names_are_kept() -> None:
    blocks = nn.Sequential()
    for name in ("first", "second"):
        blocks.add_module(name, Block())
    supernet = make(None, blocks=blocks)

    less = without(supernet, "blocks.first")
    assert list(dict(less.blocks.named_children())) == ["second"]
    assert_exact(supernet, X)


def test_an_attribute_becomes_an_identity() -> None:
    supernet = make(lambda net, x: net.two(net.one(x)), one=Block(), two=Block())

    less = without(supernet, "one")
    assert type(less.one) is nn.Identity
    assert not any(name.startswith("one") for name in less.state_dict())
    assert_nothing_is_left(supernet, "one")
    assert_exact(supernet, X)


class Nested(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(Block(), Block())
        self.after = nn.Conv2d(WIDTH, WIDTH, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.after(self.inner(x))


def test_blocks_in_blocks() -> None:
    supernet = make(None, blocks=nn.Sequential(Nested(), Block(), Nested()))

    outer = {"blocks.0", "blocks.1", "blocks.2"}
    inner = {f"blocks.{i}.inner.{j}" for i in (0, 2) for j in (0, 1)}
    assert blocks_of(supernet) == outer | inner
    assert_exact(supernet, X)
    less = without(supernet, "blocks.0", "blocks.0.inner.1", "blocks.2.inner.0")
    assert [type(part) for part in less.blocks] == [Block, Nested]
    assert len(less.blocks[1].inner) == 1
    assert torch.equal(less.blocks[1].inner[0].gamma, supernet.net.blocks[2].inner[1].gamma)


class Downsample(Block):
    def __init__(self) -> None:
        super().__init__(lambda m, x: m.project(x) + m.f(x))
        self.project = nn.Conv2d(WIDTH, WIDTH, 1)


class Leaky(Block):
    """Its inner tensor is used elsewhere."""

    def forward(self, x: Tensor) -> Tensor:
        self.inner = self.f(x)
        return x + self.inner


def run_leaky(net: Net, x: Tensor) -> Tensor:
    x = net.leaky(x)
    return x + net.leaky.inner


class Scaling(Block):
    """Not the identity plus something."""

    def __init__(self) -> None:
        super().__init__(lambda m, x: 2 * x + m.f(x))


class WithTwo(Block):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + self.f(y)


STAYING: dict[str, Callable[[], Supernet]] = {
    "called-twice": lambda: make(lambda net, x: net.block(net.block(x)), block=Block()),
    "used-elsewhere": lambda: make(run_leaky, leaky=Leaky()),
    "weight-used-elsewhere": lambda: make(
        lambda net, x: net.block(x) * net.block.gamma, block=Block()
    ),
    "layer-used-elsewhere": lambda: make(
        lambda net, x: net.block.conv2(net.block.conv1(net.block(x))), block=Block()
    ),
    "downsample": lambda: make(None, blocks=Downsample()),
    "projection": lambda: make(None, blocks=Residual(WIDTH, WIDTH, 2)),
    "scaled": lambda: make(None, blocks=Scaling()),
    "two-inputs": lambda: make(lambda net, x: net.block(x, x * 2), block=WithTwo()),
    "tuple": lambda: make(
        lambda net, x: net.block(x)[0], block=Block(lambda m, x: (x + m.f(x), x))
    ),
    "without-layers": lambda: make(None, blocks=nn.Sequential(Block(lambda m, x: x + x.exp()))),
    "product": lambda: make(None, blocks=Block(lambda m, x: x * m.f(x))),
    "difference": lambda: make(None, blocks=Block(lambda m, x: x - m.f(x))),
}


@pytest.mark.parametrize("name", STAYING)
def test_what_is_no_identity_without_its_layers_stays(name: str) -> None:
    supernet = STAYING[name]()

    assert not blocks_of(supernet)
    assert_exact(supernet, X)


def in_pairs(net: Net, x: Tensor) -> Tensor:
    for block, scale in zip(net.blocks, net.scales, strict=False):
        x = block(x) * scale
    return x


def by_number(net: Net, x: Tensor) -> Tensor:
    for i in range(3):
        x = net.blocks[i](x)
    return x


def by_length(net: Net, x: Tensor) -> Tensor:
    return through_list(net, x) / len(net.blocks)


def in_halves(net: Net, x: Tensor) -> Tensor:
    for block in net.blocks[:2]:
        x = block(x)
    x = F.relu(x)
    for block in net.blocks[2:]:
        x = block(x)
    return x


def with_outputs(net: Net, x: Tensor) -> Tensor:
    outputs: list[Tensor] = []
    for i, block in enumerate(net.blocks):
        x = block(x)
        if i in (0, 2):
            outputs.append(x)
    return outputs[0] + outputs[1] * 2


@pytest.mark.parametrize("run", [in_pairs, by_number, by_length, in_halves, with_outputs])
def test_a_list_that_is_more_than_run_through_keeps_its_places(
    run: Callable[[Net, Tensor], Tensor],
) -> None:
    """Its numbers mean something; as they begin, the scales would not tell."""
    scales = nn.ParameterList([nn.Parameter(torch.ones(WIDTH, 1, 1)) for _ in range(3)])
    blocks = nn.ModuleList(Block() for _ in range(3))
    supernet = make(run, blocks=blocks, scales=scales)
    with torch.no_grad():
        for i, scale in enumerate(supernet.net.scales):
            scale.fill_(1 + i)

    assert blocks_of(supernet) == {"blocks.0", "blocks.1", "blocks.2"}
    less = without(supernet, "blocks.1")
    assert [type(part) for part in less.blocks] == [Block, nn.Identity, Block]
    assert_exact(supernet, X)
    assert_nothing_is_left(supernet, "blocks.1")


def test_blocks_can_be_left_out_of_the_space() -> None:
    model = Net(None, blocks=nn.Sequential(Block(), Block())).eval()

    assert not blocks_of(build_supernet(model, X, removes_blocks=False))


def snapshot(supernet: Supernet) -> dict[str, tuple[int, type]]:
    return {name: (id(m), type(m)) for name, m in supernet.named_modules()}


def test_a_supernet_is_whole_again_afterwards() -> None:
    supernet = make(None, blocks=nn.Sequential(Nested(), Block()))
    before, expected = snapshot(supernet), supernet(X)
    weights = copy.deepcopy(supernet.state_dict())

    for widths in _some_widths(supernet):
        with supernet.active(widths):
            supernet(X)
        extract_subnet(supernet, widths)
        assert snapshot(supernet) == before
        assert torch.equal(supernet(X), expected)
    for name, tensor in supernet.state_dict().items():
        assert torch.equal(tensor, weights[name]), name


def test_a_supernet_is_whole_again_after_an_error() -> None:
    supernet = make(None, blocks=nn.Sequential(Nested(), Block()))
    before, expected = snapshot(supernet), supernet(X)

    for widths in _some_widths(supernet):
        with supernet.active(widths), pytest.raises(RuntimeError):
            supernet(X[:, :2])
        assert snapshot(supernet) == before
        assert torch.equal(supernet(X), expected)


def _some_widths(supernet: Supernet) -> Iterator[dict[str, int]]:
    rng = np.random.default_rng(0)
    yield supernet.space.smallest
    for _ in range(5):
        yield supernet.space.sample(rng)


def test_a_removed_block_is_not_trained() -> None:
    supernet = make().train()
    moved = {name: buffer.clone() for name, buffer in supernet.net.blocks[1].named_buffers()}
    with supernet.active({**supernet.space.full, "blocks.1": 0}):
        supernet(X).square().sum().backward()

    grads = {name: p.grad for name, p in supernet.net.named_parameters()}
    inside = [g for name, g in grads.items() if name.startswith("blocks.1.")]
    assert all(grad is None or not grad.any() for grad in inside)
    unused = ("gamma",)  # the plain block does not read it
    others = {n: g for n, g in grads.items() if not n.startswith("blocks.1.")}
    assert all(g is not None for n, g in others.items() if not n.endswith(unused))
    for name, buffer in supernet.net.blocks[1].named_buffers():
        assert torch.equal(buffer, moved[name]), name


def test_a_block_that_is_kept_is_narrowed_as_before() -> None:
    supernet = make()
    widths = {**supernet.space.smallest, "blocks.1": 1, "blocks.1.conv1": 3}
    subnet = extract_subnet(supernet, widths)

    assert subnet.blocks[0].conv1.out_channels == 3
    with supernet.active(widths):
        assert_close(supernet(X), subnet(X))
