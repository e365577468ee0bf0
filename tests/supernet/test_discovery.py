"""What is not understood keeps its width, says why and where, and is never wrong."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from footprint.counting import count_footprint
from torch import Tensor
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from dpod_search.errors import GroupingError
from dpod_search.footprint import build_footprint
from dpod_search.supernet import Supernet
from dpod_search.supernet import build_supernet
from dpod_search.supernet import extract_subnet


X = torch.linspace(-2, 2, 2 * 3 * 6 * 6).sin().reshape(2, 3, 6, 6)
Middle = Callable[["Base", Tensor], Tensor]


class Base(nn.Module):
    """A stem, a middle that each test writes, two convolutions and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.mid = nn.Conv2d(8, 8, 3, padding=1)
        self.wide = nn.Conv2d(16, 8, 1)
        self.last = nn.Conv2d(8, 6, 1)
        self.extra: nn.Module = nn.Identity()
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.middle(F.relu(self.stem(x)))
        return self.head(F.relu(self.last(x)).mean([2, 3]))

    def middle(self, x: Tensor) -> Tensor:
        raise NotImplementedError


def make(middle: Middle, extra: nn.Module | None = None) -> Base:
    torch.manual_seed(0)
    model = type("Model", (Base,), {"middle": middle})()
    model.extra = extra or model.extra
    return model.eval()


def reasons(supernet: Supernet) -> dict[str, str]:
    return {frozen.name: "; ".join(frozen.reasons) for frozen in supernet.grouping.frozen}


def elastic(supernet: Supernet) -> list[str]:
    return [group.name for group in supernet.groups]


def assert_never_wrong(supernet: Supernet, example: Tensor = X) -> None:
    """The supernet runs narrow, equals what is extracted, and costs what is counted."""
    footprint = build_footprint(supernet)
    for ratio in (0.0, 0.5, 1.0):
        widths = supernet.space.uniform(ratio)
        subnet = extract_subnet(supernet, widths)
        with supernet.active(widths):
            torch.testing.assert_close(supernet(example), subnet(example), rtol=1e-4, atol=1e-5)
        counted, measured = count_footprint(subnet, example), footprint.measure(widths)
        if supernet.grouping.uncounted:
            assert measured.pop("macs") <= counted.pop("macs")
        peak = measured.pop("peak_bytes")
        assert measured.items() <= counted.items()
        if ratio:  # with single channels a reshape copies nothing that it copies otherwise
            assert peak == pytest.approx(counted["peak_bytes"], rel=0.02)


class OwnConv(nn.Conv2d):
    """A convolution that does something else than its parent."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, torch.cumsum(self.weight, 1), self.bias, self.stride, self.padding)


class Tokens(nn.Module):
    """Linear layers over every place; ``run`` says along which axis."""

    def __init__(self, places: int) -> None:
        super().__init__()
        self.mix = nn.Linear(places, places)

    def forward(self, x: Tensor) -> Tensor:
        return self.mix(x)


UNKNOWN: dict[str, tuple[Middle, nn.Module | None, str]] = {
    "fourier": (lambda m, x: m.mid(x) + torch.fft.fft2(x).real, None, "fixed number"),
    "cumulated": (lambda m, x: m.mid(x).cumsum(dim=1), None, "cumsum"),
    "channel-slice": (lambda m, x: m.mid(x)[:, torch.arange(8)], None, "getitem"),
    "shuffle": (
        lambda m, x: m.mid(x).reshape(-1, 2, 4, 6, 6).transpose(1, 2).reshape(-1, 8, 6, 6),
        None,
        "does not follow the widths",
    ),
    "scaled": (lambda m, x: m.mid(x) * torch.arange(8.0).view(8, 1, 1), None, "fixed number"),
    "attribute": (lambda m, x: m.mid(x).data, None, "reads its attribute 'data'"),
    "pool-with-indices": (
        lambda m, x: F.max_pool2d(m.mid(x), 2, return_indices=True)[0],
        None,
        "not understood",
    ),
    "chunks": (lambda m, x: torch.cat(m.mid(x).chunk(2, 1)[::-1], 1), None, "chunk"),
    "computed-chunk": (
        lambda m, x: m.mid(x).chunk(1, x.dim() - 3)[0],
        None,
        "an axis that is computed",
    ),
    "computed-axis": (
        lambda m, x: m.mid(x).flatten(x.dim() - 2).reshape(x.shape),
        None,
        "not understood",
    ),
    "size-arithmetic": (
        lambda m, x: m.mid(x).reshape(x.size(0) * 1, 8 * x.size(2), -1).reshape(-1, 8, 6, 6),
        None,
        "does not follow the widths",
    ),
    "last-axis": (lambda m, x: m.extra(m.mid(x)), Tokens(6), "runs along another axis"),
    "keyword-sizes": (
        lambda m, x: m.mid(x).reshape(shape=(-1, 8, 6, 6)),
        None,
        "does not follow the widths",
    ),
    "rows-first": (
        lambda m, x: m.mid(x).flatten(0, 1).reshape(-1, 8, 6, 6),
        None,
        "does not follow the widths",
    ),
    "own-weight": (lambda m, x: m.mid(x) * m.mid.weight.pow(2).mean(), None, "read outside"),
}


def shuffle(x: Tensor, n_groups: int) -> Tensor:
    n, c, h, w = x.size()
    return x.view(n, n_groups, c // n_groups, h, w).transpose(1, 2).reshape(n, c, h, w)


def gate(model: Base, x: Tensor, drop: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Squeeze and excite as it is written by hand, with each way back to a picture in turn."""
    y = model.mid(x)
    b, c, _, _ = y.shape
    squeezed = drop(F.adaptive_avg_pool2d(y, 1), y)
    y = y * squeezed.sigmoid().view(b, c, 1, 1)
    y = y * squeezed[:, :, None, None]
    return y + squeezed.unsqueeze(2).unsqueeze(3).expand_as(y)


class Gated(nn.Module):
    """A gate of the model's own on every channel, as ConvNeXt's layer scale."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.gate = nn.Parameter(torch.rand(shape) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate


KNOWN: dict[str, tuple[Middle, nn.Module | None, int]] = {
    "group-norm": (lambda m, x: m.extra(m.mid(x)), nn.GroupNorm(2, 8), 4),
    "one-group-norm": (lambda m, x: m.extra(m.mid(x)), nn.GroupNorm(1, 8), 1),
    "grouped": (lambda m, x: m.extra(m.mid(x)), nn.Conv2d(8, 8, 3, padding=1, groups=2), 4),
    "multiplier": (
        lambda m, x: m.wide(m.extra(m.mid(x))),
        nn.Conv2d(8, 16, 3, padding=1, groups=8),
        1,
    ),
    "grouped-multiplier": (
        lambda m, x: m.wide(m.extra(m.mid(x))),
        nn.Conv2d(8, 16, 3, padding=1, groups=4),
        2,
    ),
    "shuffle": (lambda m, x: shuffle(m.mid(x), 2), None, 2),
    "shuffled-concat": (
        lambda m, x: m.wide(shuffle(torch.cat([m.mid(x), m.extra(x)], 1), 2)),
        nn.Conv2d(8, 8, 1),
        1,
    ),
    "chunk": (lambda m, x: torch.cat([m.mid(x).chunk(2, 1)[i] for i in (1, 0)], 1), None, 2),
    "permute": (
        lambda m, x: m.extra(m.mid(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2),
        nn.LayerNorm(8),
        1,
    ),
    "pooled-view": (lambda m, x: gate(m, x, lambda s, x: s.view(x.size(0), -1)), None, 1),
    "pooled-index": (lambda m, x: gate(m, x, lambda s, x: s[:, :, 0, 0]), None, 1),
    "pooled-squeeze": (lambda m, x: gate(m, x, lambda s, x: s.squeeze(3).squeeze(2)), None, 1),
    "view-as": (lambda m, x: (y := m.mid(x)).flatten(1).reshape_as(y), None, 1),
    "own-parameter": (lambda m, x: m.extra(m.mid(x)), Gated(8, 1, 1), 1),
    "own-scalar": (lambda m, x: m.extra(m.mid(x)), Gated(1), 1),
}


@pytest.mark.parametrize("name", KNOWN)
def test_what_is_understood_can_be_narrowed_in_whole_units(name: str) -> None:
    middle, extra, unit = KNOWN[name]
    supernet = build_supernet(make(middle, extra), X)

    (group,) = [group for group in supernet.groups if group.name == "mid"]
    assert group.unit == unit
    assert_never_wrong(supernet)


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_is_not_understood_keeps_its_width_and_says_why(name: str) -> None:
    middle, extra, word = UNKNOWN[name]
    supernet = build_supernet(make(middle, extra), X)

    assert "mid" not in elastic(supernet)
    assert word in reasons(supernet)["mid"]
    assert "running it narrower" not in reasons(supernet)["mid"]
    assert "last" in elastic(supernet)  # the rest of the net is none the worse
    assert_never_wrong(supernet)


def test_a_reason_names_the_line_of_the_users_model() -> None:
    def middle(model: Base, x: Tensor) -> Tensor:
        return torch.fft.fft2(model.mid(x)).real

    supernet = build_supernet(make(middle), X)

    line = middle.__code__.co_firstlineno + 1
    assert f"fft2 ({Path(__file__)}:{line}) is not understood" in reasons(supernet)["mid"]
    assert inspect.getsourcelines(middle)[0][1].strip().startswith("return torch.fft")


def test_hard_coded_sizes_are_frozen() -> None:
    class Hard(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Conv2d(3, 8, 3, padding=1)
            self.b = nn.Conv2d(8, 4, 3, padding=1)
            self.head = nn.Linear(4 * 6 * 6, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.b(F.relu(self.a(x))).reshape(-1, 4 * 6 * 6))

    supernet = build_supernet(Hard().eval(), X)

    assert elastic(supernet) == ["a"]
    assert "does not follow the widths" in reasons(supernet)["b"]
    assert_never_wrong(supernet)


def test_sizes_read_from_layers_are_found_by_the_trial_run(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        supernet = build_supernet(make(lambda m, x: m.mid(x) / m.mid.out_channels), X)

    assert reasons(supernet)["mid"] == "running it narrower fails"
    assert "kept at full width because narrower runs fail: ['mid']" in caplog.text
    assert_never_wrong(supernet)


def test_sizes_of_another_tensor_are_frozen() -> None:
    def middle(model: Base, x: Tensor) -> Tensor:
        return model.mid(x).reshape(x.size(0), x.size(1) * x.size(2), -1).reshape(-1, 8, 6, 6)

    supernet = build_supernet(make(middle), X)

    assert elastic(supernet) == ["last"]  # mid and stem share a width, and a number fixes it
    assert "does not follow the widths" in reasons(supernet)["stem"]
    assert_never_wrong(supernet)


def test_tied_layers_keep_their_width_and_are_counted_once() -> None:
    model = make(lambda m, x: m.extra(F.relu(m.mid(x))), nn.Conv2d(8, 8, 3, padding=1))
    model.extra.weight = model.mid.weight
    supernet = build_supernet(model, X)

    assert elastic(supernet) == ["last"]
    assert "the weight of mid is shared with extra" in reasons(supernet)["mid"]
    assert_never_wrong(supernet)


def test_a_weight_shared_with_what_is_not_understood_is_frozen_too() -> None:
    model = make(lambda m, x: m.mid(x) + m.extra(x), OwnConv(8, 8, 3, padding=1))
    model.extra.weight = model.mid.weight
    supernet = build_supernet(model, X)

    assert elastic(supernet) == ["last"]
    assert_never_wrong(supernet)


@pytest.mark.parametrize("register", ["register_forward_hook", "register_forward_pre_hook"])
def test_a_layer_with_hooks_is_not_touched(register: str) -> None:
    model = make(lambda m, x: m.extra(m.mid(x)), nn.Conv2d(8, 8, 1))
    getattr(model.mid, register)(
        (lambda module, inputs, output: output.flip(1))
        if register == "register_forward_hook"
        else (lambda module, inputs: (inputs[0].flip(1),))
    )
    supernet = build_supernet(model, X)

    assert "extra" in elastic(supernet)
    assert "has hooks" in reasons(supernet)["stem"]
    assert [text.partition(" ")[0] for text in supernet.grouping.uncounted] == ["mid"]
    assert_never_wrong(supernet)


def test_uncounted_multiplications_are_listed_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    model = make(lambda m, x: m.extra(m.mid(x)), spectral_norm(nn.Conv2d(8, 8, 1)))
    with caplog.at_level(logging.WARNING):
        supernet = build_supernet(model, X)

    assert len(supernet.grouping.uncounted) == 1
    assert supernet.grouping.uncounted[0].startswith("extra (")
    assert "are not counted" in caplog.text


def test_an_add_joins_and_a_concat_lines_up() -> None:
    def middle(model: Base, x: Tensor) -> Tensor:
        x = x + model.mid(x)
        return model.wide(torch.cat([x, model.extra(x)], 1))

    supernet = build_supernet(make(middle, nn.Conv2d(8, 8, 1)), X)

    members = {group.name: group.members for group in supernet.groups}
    assert set(members) == {"stem", "extra", "wide", "last"}
    assert members["stem"] == ("stem", "mid", "extra", "wide")  # mid's output joined stem's
    widths = supernet.space.make({**supernet.space.full, "stem": 3, "extra": 5})
    subnet = extract_subnet(supernet, widths)
    assert tuple(subnet.wide.weight.shape) == (8, 3 + 5, 1, 1)
    kept = torch.cat([supernet.net.wide.weight[:, :3], supernet.net.wide.weight[:, 8:13]], 1)
    assert torch.equal(subnet.wide.weight, kept)
    assert_never_wrong(supernet)


@pytest.mark.parametrize(
    "join",
    [
        lambda x, y: torch.cat([x, x], 1),
        lambda x, y: torch.cat([x, y], axis=1),
        lambda x, y: torch.cat(tensors=(y, x), dim=-3),
        lambda x, y: torch.concat([x, y], 1),
    ],
)
def test_every_way_to_write_a_concat(join: Callable[[Tensor, Tensor], Tensor]) -> None:
    supernet = build_supernet(make(lambda m, x: m.wide(join(x, m.mid(x)))), X)

    assert "stem" in elastic(supernet)
    assert_never_wrong(supernet)


REDUCTIONS: dict[str, Middle] = {
    "mean": lambda m, x: x * m.mid(x).mean(1, keepdim=True),
    "all but the batch": lambda m, x: x * m.mid(x).mean((1, 2, 3), keepdim=True),
    "variance": lambda m, x: x / torch.var(m.mid(x), dim=1, keepdim=True).add(1).sqrt(),
    "norm": lambda m, x: F.normalize(m.mid(x), dim=1) + x * x.norm(dim=1)[:, None],
    "layer norm by hand": lambda m, x: (
        (x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True, unbiased=False) + 1).sqrt()
    ),
    "root mean square": lambda m, x: m.mid(x * torch.rsqrt(x.pow(2).mean(1, keepdim=True) + 1)),
    "global response": lambda m, x: m.mid(
        x * (x.norm(dim=(2, 3), keepdim=True) / x.norm(dim=(2, 3), keepdim=True).mean(1, True))
    ),
    "two of a kind": lambda m, x: (
        x * torch.cat([x.mean(1, True), x.amax(1, True)], 1).sum(1, True)
    ),
}


@pytest.mark.parametrize("name", REDUCTIONS)
def test_a_reduction_over_channels_is_one_over_those_that_are_there(name: str) -> None:
    supernet = build_supernet(make(REDUCTIONS[name]), X)

    assert "stem" in elastic(supernet)
    assert_never_wrong(supernet)


def test_a_deviation_that_one_channel_has_not_keeps_its_width() -> None:
    def middle(m: Base, x: Tensor) -> Tensor:
        y = m.mid(x)
        return (y - y.mean(1, True)) / (y.std(1, keepdim=True) + 1)

    supernet = build_supernet(make(middle), X)

    assert "mid" in reasons(supernet)
    assert_never_wrong(supernet)


TURNS: dict[str, tuple[Middle, bool]] = {
    "roll": (lambda m, x: torch.roll(m.mid(x), shifts=(1, 1), dims=(2, 3)), True),
    "roll method": (lambda m, x: m.mid(x).roll(1, 2), True),
    "flip": (lambda m, x: torch.flip(m.mid(x), [3]), True),
    "flip method": (lambda m, x: m.mid(x).flip(2, 3), True),
    "max along a row": (lambda m, x: m.mid(x).max(3, keepdim=True)[0] + x, True),
    "min of all": (lambda m, x: x - m.mid(x).min(), True),
    "values by name": (lambda m, x: m.mid(x).max(3, keepdim=True).values + x, True),
    "along axis=": (lambda m, x: m.mid(x).min(axis=3, keepdim=True)[0] + x, True),
    "greater of two": (lambda m, x: torch.max(m.mid(x), x), True),
    "flip of channels": (lambda m, x: m.mid(x).flip(1), False),
    "roll of channels": (lambda m, x: torch.roll(m.mid(x), 1, 1), False),
    "roll of everything": (lambda m, x: torch.roll(m.mid(x), 1), False),
    "max of channels": (lambda m, x: m.mid(x).max(1, keepdim=True)[1] + x, False),
}


@pytest.mark.parametrize("name", TURNS)
def test_what_is_turned_or_numbered_keeps_its_width_and_no_other(name: str) -> None:
    middle, is_elastic = TURNS[name]
    supernet = build_supernet(make(middle), X)

    assert ("mid" in reasons(supernet)) != is_elastic
    assert_never_wrong(supernet)


def test_axes_beside_the_flattened_ones_stay_elastic() -> None:
    def middle(model: Base, x: Tensor) -> Tensor:
        tokens = F.gelu(model.mid(x)).flatten(2)  # channels stay in front
        return model.wide(torch.cat([x, x], 1)) * tokens.mean(2).mean(1)[:, None, None, None]

    supernet = build_supernet(make(middle), X)

    assert "stem" in elastic(supernet)
    assert_never_wrong(supernet)


def test_pictures_without_a_batch_dimension_are_listed_as_uncounted() -> None:
    model = nn.Sequential(
        nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 6), nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)
    )
    supernet = build_supernet(model, torch.zeros(3, 6, 6))

    assert elastic(supernet) == ["0"]
    assert [text.partition(" ")[0] for text in supernet.grouping.uncounted] == ["3", "4"]


def test_two_concats_that_are_cut_differently_cannot_be_added() -> None:
    def middle(model: Base, x: Tensor) -> Tensor:
        y = model.mid(x)
        one = torch.cat([model.extra(x), x], 1)
        other = torch.cat([y, model.extra(y)], 1)
        return model.wide(torch.cat([one + other, model.extra(x)], 1))

    supernet = build_supernet(make(middle, nn.Conv2d(8, 4, 1)), X)

    assert "laid out differently" in reasons(supernet)["stem"]
    assert_never_wrong(supernet)


@pytest.mark.parametrize(
    ("flatten", "n_places"),
    [
        (lambda x: x.flatten(1), 36),
        (lambda x: torch.flatten(x, start_dim=1, end_dim=-1), 36),
        (lambda x: torch.reshape(x, (x.size(0), -1)), 36),
        (lambda x: x.reshape(x.shape[0], -1), 36),
        (lambda x: x.flatten(1, 2).mean(2), 6),
    ],
)
def test_a_sum_flattened_without_pooling_stays_elastic(
    flatten: Callable[[Tensor], Tensor], n_places: int
) -> None:
    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Conv2d(3, 8, 1)
            self.b = nn.Conv2d(8, 8, 1)
            self.head = nn.Linear(8 * n_places, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.a(x)
            return self.head(flatten(x + self.b(x)))

    supernet = build_supernet(Flat().eval(), X)

    assert elastic(supernet) == ["a"]
    assert_never_wrong(supernet)


def test_a_broadcast_over_channels_is_frozen_where_it_has_one_channel() -> None:
    def middle(model: Base, x: Tensor) -> Tensor:
        return model.mid(x) * torch.sigmoid(model.extra(x))

    supernet = build_supernet(make(middle, nn.Conv2d(8, 1, 1)), X)

    assert {"stem", "mid", "last"} == set(elastic(supernet))
    assert "broadcasts it" in reasons(supernet)["extra"]
    assert_never_wrong(supernet)


def test_the_same_layer_at_two_places_has_one_width_at_both() -> None:
    def middle(model: Base, x: Tensor) -> Tensor:
        return model.extra(F.relu(model.mid(F.relu(model.extra(x)))))

    supernet = build_supernet(make(middle, nn.Conv2d(8, 8, 3, padding=1)), X)

    members = {group.name: group.members for group in supernet.groups}
    assert members["stem"] == ("stem", "extra", "mid")  # mid feeds extra's second call
    assert_never_wrong(supernet)


@pytest.mark.parametrize(
    "model",
    [
        nn.Linear(3, 2),
        nn.Sequential(nn.Linear(3, 2)),
        nn.Sequential(nn.Linear(3, 1), nn.Linear(1, 2)),
        nn.Sequential(nn.ReLU()),
        nn.Sequential(nn.Linear(3, 8), nn.Unflatten(1, (2, 4)), nn.Flatten(), nn.Linear(8, 2)),
    ],
)
def test_a_model_with_nothing_to_narrow_is_refused(model: nn.Module) -> None:
    with pytest.raises(
        GroupingError, match="no channel group of the model can be narrowed"
    ) as got:
        build_supernet(model, torch.randn(2, 3))
    assert "\n" not in str(got.value)


def test_layers_of_one_and_three_dimensions() -> None:
    volumes = nn.Sequential(
        nn.Conv3d(2, 6, 3, padding=1),
        nn.BatchNorm3d(6),
        nn.ReLU(),
        nn.AvgPool3d(2),
        nn.Conv3d(6, 4, 1),
        nn.AdaptiveMaxPool3d(1),
        nn.Flatten(),
        nn.Linear(4, 3),
    )  # fmt: skip  (a table)
    sounds = nn.Sequential(
        nn.Conv1d(2, 6, 3),
        nn.BatchNorm1d(6),
        nn.SiLU(),
        nn.MaxPool1d(2),
        nn.Conv1d(6, 4, 3, groups=1, padding_mode="reflect", padding=1),
        nn.Flatten(1),
        nn.Linear(16, 5),
        nn.BatchNorm1d(5),
        nn.Linear(5, 3),
    )  # fmt: skip  (a table)
    for model, x in ((volumes, torch.randn(2, 2, 4, 4, 4)), (sounds, torch.randn(2, 2, 10))):
        supernet = build_supernet(model.eval(), x)
        assert not supernet.grouping.uncounted
        assert (
            len(supernet.groups)
            == sum(
                hasattr(m, "stride") or isinstance(m, nn.Linear) for m in model if not _is_pool(m)
            )
            - 1
        )
        assert_never_wrong(supernet, x)


def _is_pool(module: nn.Module) -> bool:
    return "Pool" in type(module).__name__


def test_a_slice_up_to_the_full_width_takes_all() -> None:
    def ghost(model: Base, x: Tensor) -> Tensor:
        x = model.mid(x)
        return model.wide(torch.cat([x, model.extra(x)], 1)[:, : model.n_made])

    model = make(ghost, nn.Conv2d(8, 8, 3, padding=1, groups=8))
    model.n_made = 16
    supernet = build_supernet(model, X)

    assert "mid" in elastic(supernet)
    assert_never_wrong(supernet)


def test_a_slice_that_cuts_channels_off_is_frozen() -> None:
    def ghost(model: Base, x: Tensor) -> Tensor:
        x = model.mid(x)
        return model.wide(torch.cat([x, model.extra(x), x], 1)[:, :16])

    supernet = build_supernet(make(ghost, nn.Conv2d(8, 8, 3, padding=1, groups=8)), X)

    assert "takes a part of it" in reasons(supernet)["mid"]
    assert_never_wrong(supernet)
