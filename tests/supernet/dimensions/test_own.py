"""Handlers of the user's own: what they say is followed, and what is wrong is never believed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from supernet.exactness import assert_exact
from torch import Tensor
from torch import nn
from torch.nn import functional as F

from dpod_search.errors import ConfigError
from dpod_search.errors import GroupingError
from dpod_search.supernet import Supernet
from dpod_search.supernet import build_supernet
from dpod_search.supernet import carry
from dpod_search.supernet import carry_with
from dpod_search.supernet import combine
from dpod_search.supernet import extract_subnet
from dpod_search.supernet import freeze
from dpod_search.supernet import import_handlers
from dpod_search.supernet import slide
from dpod_search.supernet.layers.group_norm import normalize_groups


Forward = Callable[["Own", Tensor], Tensor]


def wave(x: Tensor) -> Tensor:
    return x + torch.special.i0(x)


def blend(x: Tensor, y: Tensor) -> Tensor:
    return torch.special.i0(x) * y


class Own(nn.Module):
    """What a test says."""

    def __init__(self, run: Forward, **shapes: tuple[int, ...]) -> None:
        super().__init__()
        self.run = run
        for name, shape in shapes.items():
            setattr(self, name, nn.Parameter(torch.rand(shape)))

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self, x)


class Net(nn.Module):
    def __init__(self, own: nn.Module) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.own = own
        self.last = nn.Conv2d(8, 6, 1)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.gelu(self.last(self.own(self.stem(x)))).mean((2, 3)))


class Functions(Net):
    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.head(self.last(blend(wave(x), x)).mean((2, 3)))


def build(run: Forward, handler: Any, **shapes: tuple[int, ...]) -> tuple[Supernet, Tensor]:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 6, 6)
    return build_supernet(Net(Own(run, **shapes)).eval(), x, handlers={Own: handler}), x


def names(supernet: Supernet) -> list[str]:
    return [group.name for group in supernet.groups]


CASES: dict[str, tuple[Forward, Any, dict[str, tuple[int, ...]]]] = {
    "carry": (lambda own, x: wave(x), carry, {}),
    "slide": (lambda own, x: F.avg_pool2d(x, 2).sort(-1)[0], slide, {}),
    "combine": (lambda own, x: wave(x), combine, {}),
    "parameters": (
        lambda own, x: x * own.scale.view(-1, 1, 1) + own.shift + own.all,
        carry_with({"scale": 0, "shift": -3}),
        {"scale": (8,), "shift": (1, 8, 1, 1), "all": (1,)},
    ),
    "axis": (
        lambda own, x: x * own.scale[:, None, None],
        carry_with({"scale": 0}, axis=-3),
        {"scale": (8,)},
    ),
}  # fmt: skip  (a table)


@pytest.mark.parametrize("case", CASES)
def test_what_a_handler_says_is_followed(case: str) -> None:
    run, handler, shapes = CASES[case]
    supernet, x = build(run, handler, **shapes)

    assert names(supernet) == ["stem", "last"]
    assert_exact(supernet, x)


def test_without_a_handler_it_is_frozen() -> None:
    supernet = build_supernet(Net(Own(lambda own, x: wave(x))), torch.randn(2, 3, 6, 6))

    assert names(supernet) == ["last"]


def test_functions_need_no_wrapping() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 6, 6)
    net = Functions(nn.Identity()).eval()
    supernet = build_supernet(net, x, handlers={wave: carry, blend: combine})

    assert names(supernet) == ["stem", "last"]
    assert_exact(supernet, x)
    assert names(build_supernet(net, x)) == ["last"]


def test_methods() -> None:
    x = torch.randn(2, 3, 6, 6)
    net = Net(Own(lambda own, x: x.sigmoid().erfinv())).eval()

    assert names(build_supernet(net, x)) == ["last"]
    supernet = build_supernet(net, x, handlers={"erfinv": carry})
    assert names(supernet) == ["stem", "last"]
    assert_exact(supernet, x)


def test_freeze_gives_its_reason() -> None:
    supernet, x = build(lambda own, x: x.flip(1), freeze("reverses the channels"))

    assert names(supernet) == ["last"]
    (reason,) = next(item.reasons for item in supernet.grouping.frozen if item.name == "stem")
    assert reason.startswith("own (")
    assert reason.endswith("reverses the channels")
    assert_exact(supernet, x)


def test_a_module_called_twice_and_a_shared_parameter() -> None:
    torch.manual_seed(0)
    one, other = (Own(lambda own, x: wave(x * own.scale[:, None, None]), scale=(8,)) for _ in "ab")
    other.scale = one.scale
    x = torch.randn(2, 3, 6, 6)
    net = Net(nn.Sequential(one, nn.Conv2d(8, 8, 1), other, one)).eval()
    supernet = build_supernet(net, x, handlers={Own: carry_with({"scale": 0})})

    assert len(supernet.groups) == 2  # the scale makes both convolutions one group
    assert_exact(supernet, x)


LIES: dict[str, tuple[Forward, Any, dict[str, tuple[int, ...]]]] = {
    "a width in the code": (lambda own, x: x.reshape(2, 8, 36).reshape(2, 8, 6, 6), carry, {}),
    "a parameter that is not cut": (lambda own, x: x * own.scale, carry, {"scale": (1, 8, 1, 1)}),
    "a constant": (lambda own, x: x + torch.ones(8, 1, 1), carry, {}),
    "a channel": (lambda own, x: x * x[:, 7:], carry, {}),
    "fixed channels": (lambda own, x: torch.cat([x[:, :1]] * 8, 1), carry, {}),
    "random order": (lambda own, x: x[:, [7, 6, 5, 4, 3, 2, 1, 0]], carry, {}),
    "only while it trains": (
        lambda own, x: x.reshape(2, 8, 6, 6) if own.training else x,
        carry,
        {},
    ),
}


@pytest.mark.parametrize("case", LIES)
def test_a_handler_that_lies_is_found_out(case: str) -> None:
    run, handler, shapes = LIES[case]
    supernet, x = build(run, handler, **shapes)

    assert names(supernet) == ["last"]
    reasons = next(item.reasons for item in supernet.grouping.frozen if item.name == "stem")
    assert reasons == ("running it narrower fails",)
    extract_subnet(supernet, supernet.space.smallest)(x)


def test_reversed_channels_still_equal_the_extracted_net() -> None:
    supernet, x = build(lambda own, x: x.flip(1), carry)

    assert_exact(supernet, x)


def fail(discovery: object, node: object) -> Any:
    raise KeyError("what")


def divide(discovery: Any, node: Any) -> Any:
    return {1: discovery.layout(discovery.first_input(node), 0)}


WRONG: dict[str, tuple[Any, tuple[str, ...]]] = {
    "raises": (fail, ("the handler of own (", "failed with KeyError", "'what'", "test_own.py:")),
    "returns nothing": (lambda d, n: None, ("must return layouts by axis", "None")),
    "returns numbers": (lambda d, n: {1: 8}, ("must return layouts by axis", "{1: 8}")),
    "returns names": (lambda d, n: {"channels": ()}, ("must return layouts by axis",)),
    "another size": (divide, ("axis 1 has 2 elements", "shape (2, 8, 6, 6)")),
    "an axis too many": (lambda d, n: {4: d.layout(d.first_input(n), 1)}, ("axis 4",)),
    "takes too little": (len, ("failed with TypeError",)),
    "no such parameter": (carry_with({"scole": 0}), ("'scole'", "there is no such parameter")),
    "wrong axis": (carry_with({"scale": 1}), ("axis 1 of 'scale'", "its shape is (8,)")),
    "wrong size": (carry_with({"scale": 0}, axis=2), ("the 6 channels of axis 2", "(8,)")),
    "no such axis": (carry_with({"scale": 0}, axis=4), ("names axis 4 of 4 axes",)),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_handler_is_an_error_in_one_line(case: str) -> None:
    handler, parts = WRONG[case]
    with pytest.raises(GroupingError) as caught:
        build(lambda own, x: x * own.scale[:, None, None], handler, scale=(8,))

    assert "\n" not in str(caught.value)
    assert all(part in str(caught.value) for part in parts), str(caught.value)
    assert "test_own.py:" in str(caught.value)


def test_a_norm_with_a_forward_of_its_own_cannot_be_handled_as_torchs() -> None:
    class OwnNorm(nn.GroupNorm):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).relu()

    with pytest.raises(GroupingError, match="OwnNorm"):
        build_supernet(
            Net(OwnNorm(2, 8)), torch.randn(2, 3, 6, 6), handlers={OwnNorm: normalize_groups}
        )


def test_several_tensors_are_frozen() -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x * 2, x

    class Sum(Net):
        def forward(self, x: Tensor) -> Tensor:
            one, other = self.own(self.stem(x))[0], self.stem(x)
            return self.head(self.last(one + other).mean((2, 3)))

    torch.manual_seed(0)
    x = torch.randn(2, 3, 6, 6)
    supernet = build_supernet(Sum(Two()).eval(), x, handlers={Two: carry})

    assert names(supernet) == ["last"]
    assert_exact(supernet, x)


@pytest.mark.parametrize(
    ("handlers", "part"),
    [
        ({"rool": carry}, "no method 'rool'"),
        ({3: carry}, "got a int"),
        ({nn.ReLU(): carry}, "got a ReLU"),
        ({wave: "carry"}, "entry of wave must be a handler"),
        ({"erfinv": 3}, "entry of erfinv must be a handler"),
    ],
)
def test_a_table_that_is_none(handlers: Any, part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        build_supernet(Net(nn.Identity()), torch.randn(2, 3, 6, 6), handlers=handlers)


HANDLERS = {Own: carry}


def test_tables_are_imported_by_name() -> None:
    assert import_handlers(None) is None
    assert import_handlers(f"{__name__}:HANDLERS") == HANDLERS
    with pytest.raises(ConfigError, match="a function"):
        import_handlers(f"{__name__}:wave")
