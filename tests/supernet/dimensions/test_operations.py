"""Operations between two convolutions: which widths they leave, and that these are exact."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from supernet.exactness import assert_exact
from supernet.exactness import reasons
from torch import Tensor
from torch import nn
from torch.nn import functional

from dpod_search.supernet import build_supernet


X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """A convolution, an operation on 16 channels of 8 x 8 places, a convolution, a head."""

    def __init__(self, operation: Callable[[Tensor], Tensor], n_after: int = 16) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 16, 3, padding=1)
        self.b = nn.Conv2d(n_after, 12, 1)
        self.head = nn.Linear(12, 5)
        self.operation = operation

    def forward(self, x: Tensor) -> Tensor:
        y = self.operation(functional.relu(self.a(x)))
        return self.head(self.b(y).mean((2, 3)))


def write_rows(y: Tensor) -> Tensor:
    y = y.clone()
    y[:, :, 0] = y[:, :, 1] * 2
    y[..., -1] = 0.5
    return y


def write_places(y: Tensor) -> Tensor:
    wide = y.new_zeros(y.size(0), y.size(1), 16, 16)
    wide[:, :, ::2, ::2] = y
    return wide


def write_wrapped(y: Tensor) -> Tensor:
    y = y.clone()
    y[:, :, 0, 0] = y[:, :, 1, 1][None, None, None]  # more axes than it is written to
    return y


def choose_places(y: Tensor) -> Tensor:
    tokens = y.flatten(2)
    chosen = tokens.mean(1).topk(4).indices[:, None].expand(-1, tokens.shape[1], -1)
    return tokens.gather(2, chosen)[..., None]


def add_ones(y: Tensor) -> Tensor:
    b, c = y.shape[:2]
    return y + torch.zeros(*y.shape) + torch.ones((b, c, 1, 1))


def attend_over_places(y: Tensor) -> Tensor:
    q = y.flatten(2)
    scores = torch.baddbmm(torch.zeros(1, 1, 64), q.transpose(1, 2), q, alpha=0.25)
    mixed = torch.baddbmm(input=q, batch1=q, batch2=scores.softmax(2))
    return mixed.unflatten(2, (8, 8))


def sort_places(y: Tensor) -> Tensor:
    values, _ = torch.sort(y.flatten(2), dim=2)
    return values.cumsum(2)[..., None]


PASSES: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {
    "stack": (lambda y: torch.stack([y, y * 2], dim=1).sum(1), 16),
    "stack behind": (lambda y: torch.stack((y, y.abs()), -1).mean(-1), 16),
    "unflatten": (lambda y: y.flatten(2).unflatten(2, (8, -1)), 16),
    "movedim": (lambda y: y.movedim(1, -1).movedim(-1, 1), 16),
    "movedim of several": (lambda y: torch.movedim(y, (2, 3), (0, 1)).permute(2, 3, 0, 1), 16),
    "repeat_interleave of places": (lambda y: y.repeat_interleave(2, dim=2), 16),
    "repeat_interleave of channels": (lambda y: torch.repeat_interleave(y, 3, dim=1), 48),
    "repeat of channels": (lambda y: y.repeat(1, 2, 1, 1), 32),
    "index_select": (lambda y: y.index_select(2, torch.arange(4)), 16),
    "gather": (choose_places, 16),
    "topk": (lambda y: y.flatten(2).topk(4, dim=2).values[..., None], 16),
    "sort and running sums": (sort_places, 16),
    "windows as channels": (
        lambda y: functional.unfold(y, 3, padding=1).unflatten(2, (8, 8)),
        16 * 9,
    ),
    "windows and back": (
        lambda y: functional.fold(functional.unfold(y, 2, stride=2), (8, 8), 2, stride=2),
        16,
    ),
    "windows along an axis": (lambda y: y.unfold(2, 2, 2).mean(-1), 16),
    "written rows": (write_rows, 16),
    "written with axes in front": (write_wrapped, 16),
    "written places": (write_places, 16),
    "made of sizes": (add_ones, 16),
    "baddbmm": (attend_over_places, 16),
    "similarity": (
        lambda y: y * functional.cosine_similarity(y, y.roll(1, 2), dim=1).unsqueeze(1),
        16,
    ),
    "einsum with dots": (lambda y: torch.einsum("...ij,...jk->...ik", y, y), 16),
    "expanded to channels": (
        lambda y: y + y.mean(1, keepdim=True).expand(-1, y.shape[1], -1, -1),
        16,
    ),
}


@pytest.mark.parametrize("name", PASSES)
def test_channels_pass(name: str) -> None:
    operation, n_after = PASSES[name]
    torch.manual_seed(0)
    supernet = build_supernet(Net(operation, n_after), X)

    assert set(reasons(supernet)) == {"head"}
    assert set(supernet.space.names) == {"a", "b"}
    assert_exact(supernet, X)


def gather_by_name(y: Tensor) -> Tensor:
    tokens = y.flatten(2)
    places = tokens.mean(1).topk(4).indices[:, None].expand(-1, tokens.shape[1], -1)
    return torch.gather(input=tokens, dim=2, index=places)[..., None]


def test_arguments_by_name() -> None:
    supernet = build_supernet(Net(gather_by_name), X)

    assert set(supernet.space.names) == {"a", "b"}
    assert_exact(supernet, X)


def test_a_call_that_cannot_be_read_freezes_with_its_line() -> None:
    supernet = build_supernet(Net(lambda y: y.repeat(repeats=(1, 1, 1, 2))), X)

    assert supernet.space.names == ("b",)
    assert "is called in a way that cannot be followed" in reasons(supernet)["a"]
    assert_exact(supernet, X)


def test_what_a_model_writes_into_its_input_is_not_seen_by_others() -> None:
    class Writes(Net):
        def forward(self, x: Tensor) -> Tensor:
            x[:, 0] += 1
            return super().forward(x)

    x = X.clone()
    supernet = build_supernet(Writes(lambda y: y), x)

    assert set(supernet.space.names) == {"a", "b"}
    torch.testing.assert_close(x, X)


def test_a_block_that_writes_into_what_it_is_given_stays() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Conv2d(16, 16, 3, padding=1)

        def forward(self, y: Tensor) -> Tensor:
            more = self.inner(y.clone())
            y[:, :, 0] = 0.0
            return y + more

    supernet = build_supernet(Net(Block()), X)

    assert not supernet.grouping.blocks


FROZEN: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "topk of channels": (
        lambda y: y * y.topk(3, dim=1).values.sum(1, keepdim=True),
        "in an order",
    ),
    "channels by number": (lambda y: y[:, :].index_select(1, torch.arange(16)), "by number"),
    "a slice of channels": (
        lambda y: write_to(y.clone(), (slice(None), slice(0, 4))),
        "writes to a part",
    ),
    "a channel in place": (lambda y: add_to_channel(y.clone()), "one channel of it"),
    "where it is positive": (lambda y: write_to(y.clone(), y > 1), "writes to a part"),
}


def add_to_channel(y: Tensor) -> Tensor:
    y[:, 1] += 1
    return y


def write_to(y: Tensor, part: object) -> Tensor:
    y[part] = 0.25  # type: ignore[index]
    return y


@pytest.mark.parametrize("name", FROZEN)
def test_what_depends_on_the_number_of_a_channel_is_frozen(name: str) -> None:
    operation, reason = FROZEN[name]
    torch.manual_seed(0)
    supernet = build_supernet(Net(operation), X)

    assert reason in reasons(supernet)["a"]
    assert supernet.space.names == ("b",)
    assert_exact(supernet, X)


def test_a_convolution_of_a_part_that_is_written_back() -> None:
    class Partial(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part = nn.Conv2d(4, 4, 3, padding=1)

        def forward(self, y: Tensor) -> Tensor:
            y = y.clone()
            y[:, :4] = self.part(y[:, :4].clone())
            return y

    supernet = build_supernet(Net(Partial()), X)

    assert supernet.space.names == ("b",)
    assert "takes a part of it" in reasons(supernet)["a"]
    assert "setitem" in reasons(supernet)["operation.part"]
    assert_exact(supernet, X)
