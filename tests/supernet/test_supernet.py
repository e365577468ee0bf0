"""The supernet at some widths is the extracted subnet, and nothing else is touched."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from strategies import Classifier
from strategies import ConvUnit
from strategies import Dense
from strategies import Net
from strategies import Residual
from strategies import nets
from strategies import scramble_norms
from strategies import widths_of
from torch import Tensor
from torch import nn

from dpod_search.errors import ConfigError
from dpod_search.errors import GroupingError
from dpod_search.supernet import Subnet
from dpod_search.supernet import Supernet
from dpod_search.supernet import SupernetSettings
from dpod_search.supernet import build_supernet
from dpod_search.supernet import extract_subnet
from dpod_search.supernet.layers.state import ElasticLayer
from dpod_search.widths import Widths
from dpod_search.widths import WidthSpace


SAME = {"rtol": 1e-4, "atol": 1e-5}
X = torch.linspace(-1, 1, 2 * 3 * 6 * 6).sin().reshape(2, 3, 6, 6)


def make_model() -> nn.Module:
    body = nn.Sequential(ConvUnit(3, 8), Residual(8, 8, 1), Dense(8, 4), Residual(12, 6, 2))
    return scramble_norms(Classifier(body, 6, "pool"))


def build_if_it_can_be_narrowed(net: Net) -> Supernet | None:
    try:
        return build_supernet(net.model, net.example)
    except GroupingError:
        return None


def assert_same_tensors(first: nn.Module, second: nn.Module) -> None:
    mine, other = first.state_dict(), second.state_dict()
    assert list(mine) == list(other)
    for name, tensor in mine.items():
        assert torch.equal(tensor, other[name]), name


@settings(max_examples=30)
@given(nets(), st.data())
def test_running_at_widths_equals_the_extracted_subnet(net: Net, data: st.DataObject) -> None:
    supernet = build_if_it_can_be_narrowed(net)
    if supernet is None:
        return
    widths = data.draw(widths_of(supernet.space))
    subnet = extract_subnet(supernet, widths)

    for training in (False, True):
        supernet.train(training)
        subnet.train(training)
        with supernet.active(widths):
            torch.testing.assert_close(supernet(net.example), subnet(net.example), **SAME)

    # In training the statistics of the active channels moved alike.
    with supernet.active(widths):
        moved = extract_subnet(supernet, widths)
    torch.testing.assert_close(dict(moved.named_buffers()), dict(subnet.named_buffers()), **SAME)


@settings(max_examples=25)
@given(nets(), st.data())
def test_gradients_are_those_of_the_extracted_subnet_and_zero_elsewhere(
    net: Net, data: st.DataObject
) -> None:
    supernet = build_if_it_can_be_narrowed(net)
    if supernet is None:
        return
    supernet.eval()
    widths = data.draw(widths_of(supernet.space))
    subnet = extract_subnet(supernet, widths)

    with supernet.active(widths):
        supernet(net.example).square().sum().backward()
    subnet(net.example).square().sum().backward()

    # Gradients in place of weights: extraction then cuts the gradients as it cuts the weights.
    gradients = copy.deepcopy(supernet)
    for parameter, own in zip(gradients.parameters(), supernet.parameters(), strict=True):
        parameter.data = torch.zeros_like(own) if own.grad is None else own.grad
    active = extract_subnet(gradients, widths)
    for (name, expected), got in zip(subnet.named_parameters(), active.parameters(), strict=True):
        gradient = torch.zeros_like(expected) if expected.grad is None else expected.grad
        torch.testing.assert_close(
            got.detach(),
            gradient,
            rtol=1e-3,
            atol=1e-4 * float(1 + gradient.abs().max()),
            msg=name,
        )
    total = sum(float(p.detach().abs().sum()) for p in gradients.parameters())
    kept = sum(float(p.detach().abs().sum()) for p in active.parameters())
    assert kept == pytest.approx(total, rel=1e-4)


@settings(max_examples=30)
@given(nets())
def test_known_operations_need_no_safety_net(net: Net) -> None:
    # Discovery itself finds what must be shared; the trial runs of a build find nothing more.
    supernet = build_if_it_can_be_narrowed(net)
    if supernet is None:
        return
    reasons = [text for frozen in supernet.grouping.frozen for text in frozen.reasons]
    assert "running it narrower fails" not in reasons
    assert not supernet.grouping.uncounted


@settings(max_examples=20)
@given(nets(), st.data())
def test_a_smaller_subnet_is_a_prefix_of_a_larger_one(net: Net, data: st.DataObject) -> None:
    supernet = build_if_it_can_be_narrowed(net)
    if supernet is None or any("Dense" in type(m).__name__ for m in net.model.modules()):
        return  # behind a concat the kept channels are two prefixes; tested by value elsewhere
    one, other = data.draw(widths_of(supernet.space)), data.draw(widths_of(supernet.space))
    small, large = [
        Widths(supernet.space.names, tuple(map(choose, one.active, other.active)))
        for choose in (min, max)
    ]
    inside = extract_subnet(supernet, small).state_dict()
    outside = extract_subnet(supernet, large).state_dict()

    for name, tensor in inside.items():
        corner = outside[name][tuple(slice(size) for size in tensor.shape)]
        assert torch.equal(tensor, corner), name


@settings(max_examples=20)
@given(nets(), st.booleans())
def test_at_full_width_it_is_the_users_model_bit_for_bit(net: Net, training: bool) -> None:
    model = net.model.train(training)
    before = copy.deepcopy(model)
    supernet = build_if_it_can_be_narrowed(net)
    if supernet is None:
        return

    assert_same_tensors(model, before)
    assert_same_tensors(supernet.net, before)
    assert [m.training for m in model.modules()] == [m.training for m in before.modules()]
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert torch.equal(supernet(net.example), before(net.example))
    assert_same_tensors(model, copy.deepcopy(model))
    full = extract_subnet(supernet, supernet.space.full)
    assert torch.equal(full(net.example), before(net.example))


def test_training_the_supernet_leaves_the_users_model_alone() -> None:
    model = make_model()
    before = copy.deepcopy(model)
    supernet = build_supernet(model, X)
    optimizer = torch.optim.SGD(supernet.parameters(), lr=1.0)
    supernet(X).sum().backward()
    optimizer.step()

    assert_same_tensors(model, before)
    assert not torch.equal(supernet.net.head.weight, model.head.weight)


def test_modes_are_the_users_also_where_they_are_mixed() -> None:
    model = make_model().train()
    model.body[1].norm.eval()
    supernet = build_supernet(model, X)

    assert [m.training for m in supernet.net.modules()] == [m.training for m in model.modules()]
    assert supernet.training
    assert not build_supernet(model.eval(), X).training


def test_extraction_gives_the_users_classes_with_plain_layers() -> None:
    model = make_model()
    supernet = build_supernet(model, X)
    subnet = extract_subnet(supernet, {**supernet.space.smallest, "body.1": 1})

    theirs = dict(model.named_modules())
    ours = dict(subnet.named_modules())
    assert {name: type(m) for name, m in ours.items()} == {n: type(m) for n, m in theirs.items()}
    assert not any(isinstance(m, ElasticLayer) for m in ours.values())
    assert set(subnet.state_dict()) == set(model.state_dict())


def test_extracted_weights_load_into_a_net_built_by_hand() -> None:
    class Small(nn.Module):
        def __init__(self, width: int, bottleneck: int) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, width, 3, stride=2, padding=1, bias=False)
            self.norm = nn.BatchNorm2d(width)
            self.mid = nn.Conv2d(width, bottleneck, 1, padding_mode="circular")
            self.back = nn.Conv2d(bottleneck, width, 3, padding="same")
            self.head = nn.Linear(width * 9, 5)

        def forward(self, x: Tensor) -> Tensor:
            x = torch.relu(self.norm(self.stem(x)))
            x = x + self.back(torch.relu(self.mid(x)))
            return self.head(x.flatten(1))

    supernet = build_supernet(scramble_norms(Small(8, 4)).eval(), X, ratios=[0.5])
    widths = supernet.space.make({"stem": 4, "mid": 2})
    by_hand = Small(4, 2).eval()
    by_hand.load_state_dict(extract_subnet(supernet, widths).state_dict())

    with supernet.active(widths):
        torch.testing.assert_close(by_hand(X), supernet(X), **SAME)


def test_an_extracted_subnet_shares_nothing_with_the_supernet() -> None:
    supernet = build_supernet(make_model().eval(), X)
    for widths in (supernet.space.full, supernet.space.smallest):
        before = {name: tensor.clone() for name, tensor in supernet.state_dict().items()}
        subnet = extract_subnet(supernet, widths)
        for tensor in (*subnet.parameters(), *subnet.buffers()):
            tensor.detach().fill_(7)
        assert all(torch.equal(t, before[name]) for name, t in supernet.state_dict().items())


def test_extraction_keeps_dtype_mode_and_what_is_not_trained() -> None:
    model = make_model().double().eval()
    model.body[0][0].weight.requires_grad_(False)
    supernet = build_supernet(model, X.double())
    subnet = extract_subnet(supernet, supernet.space.smallest)

    assert subnet(X.double()).dtype == torch.float64
    assert not any(m.training for m in subnet.modules())
    assert [n for n, p in subnet.named_parameters() if not p.requires_grad] == ["body.0.0.weight"]


def test_a_copy_of_a_supernet_is_independent() -> None:
    supernet = build_supernet(make_model().eval(), X)
    twin = copy.deepcopy(supernet)
    before = supernet(X)

    with twin.active(twin.space.smallest):
        assert supernet.widths == supernet.space.full
        assert torch.equal(supernet(X), before)
        assert not torch.equal(twin(X), before)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    assert torch.equal(supernet(X), before)


def test_widths_come_back_after_nested_blocks_and_after_errors() -> None:
    supernet = build_supernet(make_model(), X)
    full, smallest = supernet.space.full, supernet.space.smallest
    middle = supernet.space.uniform(0.5)

    with supernet.active(smallest):
        with supernet.active(middle):
            assert supernet.widths == middle
        assert supernet.widths == smallest
        with pytest.raises(KeyError), supernet.active(middle):
            raise KeyError("the user's own")
        assert supernet.widths == smallest
        with pytest.raises(ConfigError), supernet.active({"nothing": 1}):
            pass
        assert supernet.widths == smallest
    assert supernet.widths == full


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"body.0.0": 3}, r"width 3 of body\.0\.0 is not one of its rungs \(2, 4, 6, 8\)"),
        ({"body.0.0": 2.5}, r"width 2\.5 of body\.0\.0 is not one of its rungs"),
        ({"no.such": 2}, r"do not name the groups of this supernet: \['no\.such'\]"),
    ],
)
def test_widths_that_do_not_belong(change: dict[str, int], message: str) -> None:
    supernet = build_supernet(make_model(), X, ratios=[0.25, 0.5, 0.75])
    wrong = {**supernet.space.full, **change}

    with pytest.raises(ConfigError, match=message) as caught, supernet.active(wrong):
        pass
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match=message):
        extract_subnet(supernet, wrong)


def test_a_subnet_runs_at_its_own_widths_and_leaves_the_others() -> None:
    supernet = build_supernet(make_model().eval(), X)
    subnet = Subnet(supernet, supernet.space.smallest)

    torch.testing.assert_close(subnet(X), subnet.extract()(X), **SAME)
    assert supernet.widths == supernet.space.full
    assert subnet.device == torch.device("cpu")


def test_the_state_dict_has_the_users_names_and_loads_back() -> None:
    model = make_model()
    supernet = build_supernet(model, X)
    other = build_supernet(make_model(), X)

    assert set(supernet.state_dict()) == {f"net.{name}" for name in model.state_dict()}
    other.load_state_dict(supernet.state_dict())
    widths = supernet.space.smallest
    assert_same_tensors(extract_subnet(other, widths), extract_subnet(supernet, widths))


def test_ratios_and_multiple_shape_the_space() -> None:
    space = build_supernet(make_model(), X, ratios=[0.2, 0.5], multiple=4).space
    expected = WidthSpace.from_ratios(
        space.full, [0.2, 0.5], 4, blocks=["body.1"], inside={"body.1": ["body.1.first.0"]}
    )

    assert space == expected
    with pytest.raises(ConfigError, match="width ratios"):
        build_supernet(make_model(), X, ratios=[0.0])
    with pytest.raises(ConfigError, match="multiple must be"):
        build_supernet(make_model(), X, multiple=0)


@pytest.mark.parametrize("wrong", [{"ratios": (0.5, 1.5)}, {"ratios": (0.0,)}, {"multiple": 0}])
def test_settings_are_checked(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"supernet\."):
        SupernetSettings(**wrong)


def test_groups_that_fail_only_together_are_refused() -> None:
    # Each group narrows alone. With both narrow the extracted net takes another branch than the
    # supernet, for a reason that is not in the graph.
    class Picky(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Conv2d(3, 8, 1)
            self.b = nn.Conv2d(8, 8, 1)
            self.head = nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = self.b(torch.relu(self.a(x)))
            if self.a.out_channels + self.b.out_channels < 9:
                x = 9 * x
            return self.head(x.mean([2, 3]))

    with pytest.raises(GroupingError, match="several of its groups narrowed at once") as caught:
        build_supernet(Picky(), X)
    assert "\n" not in str(caught.value)
