"""What has parameters and is not followed is told, with its reason, and its macs as not counted."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from supernet.exactness import assert_all_told
from supernet.exactness import assert_exact
from supernet.exactness import assert_not_rescued
from torch import Tensor
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from torch.nn.utils import prune
from torch.nn.utils import rnn

from dpod_search.errors import GroupingError
from dpod_search.supernet import Supernet
from dpod_search.supernet import build_supernet
from dpod_search.supernet import carry
from dpod_search.supernet import freeze


PICTURE = torch.randn(2, 3, 8, 8)
TOKENS = torch.randn(2, 5, 6)


def convolutions(change: Callable[[nn.Module], nn.Module]) -> nn.Module:
    """A first layer that is changed, and two more that are followed."""
    return nn.Sequential(
        change(nn.Conv2d(3, 8, 3)),
        nn.ReLU(),
        nn.Conv2d(8, 6, 3),
        nn.ReLU(),
        nn.Conv2d(6, 4, 1),
    )


class Sequence(nn.Module):
    """Something between a layer and a head that are followed."""

    def __init__(self, inner: nn.Module, run: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.inner = inner
        self.run = run
        self.norm = nn.LayerNorm(6)
        self.hidden = nn.Linear(6, 5)
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.hidden(self.norm(self.run(self.inner, x)))))


class Bare(nn.Module):
    """Adds a parameter of its own, whose width no layer makes."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.randn(6))
        self.factor = nn.Parameter(torch.ones(()))
        self.hidden = nn.Linear(6, 5)
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.hidden(x + self.shift) * self.factor)


class Borrowed(nn.Module):
    """Reads the weight of a layer that it calls, too; another is not used at all."""

    def __init__(self) -> None:
        super().__init__()
        self.lent = nn.Linear(6, 6)
        self.unused = nn.Linear(4, 4)
        self.hidden = nn.Linear(6, 5)
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.hidden(F.linear(self.lent(x), self.lent.weight)))


class Words(nn.Module):
    def __init__(self, *, is_tied: bool) -> None:
        super().__init__()
        self.table = nn.Embedding(20, 6, max_norm=1.0)
        self.hidden = nn.Linear(6, 5)
        self.back = nn.Linear(5, 6)
        self.head = nn.Linear(6, 20, bias=False)
        if is_tied:
            self.head.weight = self.table.weight

    def forward(self, words: Tensor) -> Tensor:
        return self.head(self.back(torch.relu(self.hidden(self.table(words)))))


CASES: dict[str, tuple[Callable[[], nn.Module], Tensor, dict[str, str], list[str]]] = {
    "spectral norm": (
        lambda: convolutions(parametrizations.spectral_norm),
        PICTURE,
        {"0": "its weight is computed by a parametrization (SpectralNorm)"},
        ["0"],
    ),
    "spectral norm, by a hook": (
        lambda: convolutions(nn.utils.spectral_norm),
        PICTURE,
        {"0": "its weight is computed by a hook (SpectralNorm)"},
        ["0"],
    ),
    "pruned": (
        lambda: convolutions(lambda layer: prune.l1_unstructured(layer, "weight", 0.5)),
        PICTURE,
        {"0": "its weight is computed by a hook (L1Unstructured)"},
        ["0"],
    ),
    "LSTMCell on single samples": (
        lambda: Sequence(
            nn.LSTMCell(6, 6),
            lambda inner, x: torch.stack([inner(row)[0] for row in x[:, 0].unbind(0)]),
        ),
        TOKENS,
        {"inner": "is given one sample without a batch axis"},
        ["inner"],
    ),
    "attention with keys of its own": (
        lambda: Sequence(
            nn.MultiheadAttention(6, 2, batch_first=True, add_zero_attn=True),
            lambda inner, x: inner(x, x, x)[0],
        ),
        TOKENS,
        {"inner": "has keys or values of its own"},
        ["inner"],
    ),
    "Bilinear": (
        lambda: Sequence(nn.Bilinear(6, 6, 6), lambda inner, x: inner(x, x)),
        TOKENS,
        {"inner": "is not understood (Bilinear)"},
        ["inner"],
    ),
    "a norm of several axes": (
        lambda: Sequence(nn.LayerNorm((5, 6)), lambda inner, x: inner(x)),
        TOKENS,
        {"inner": "normalises several axes at once"},
        [],
    ),
    "a parameter": (Bare, TOKENS, {"shift": "combines it with"}, []),
    "a borrowed weight": (
        Borrowed,
        TOKENS,
        {"lent": "lent.weight (", "unused": "nothing in the trace"},
        [],
    ),
    "an embedding": (
        lambda: Words(is_tied=False),
        torch.zeros(2, 4, dtype=torch.int64),
        {"table": "changes its rows as it reads them"},
        [],
    ),
    "a tied embedding": (
        lambda: Words(is_tied=True),
        torch.zeros(2, 4, dtype=torch.int64),
        {"table": "changes its rows as it reads them", "head": "is shared with table"},
        [],
    ),
}


def reasons_of(supernet: Supernet) -> dict[str, str]:
    return {item.name: "; ".join(item.reasons) for item in supernet.grouping.frozen}


@pytest.mark.parametrize("case", CASES)
def test_it_is_told_with_its_reason(case: str) -> None:
    make, x, wanted, uncounted = CASES[case]
    torch.manual_seed(0)
    model = make().eval()
    supernet = build_supernet(model, x)

    found = reasons_of(supernet)
    for name, reason in wanted.items():
        assert reason in found[name]
    assert [where.partition(" ")[0] for where in supernet.grouping.uncounted] == uncounted
    assert_all_told(supernet)
    assert_not_rescued(supernet)
    torch.testing.assert_close(supernet(x), model(x))


def test_what_is_told_has_its_width_if_it_is_known() -> None:
    widths = {}
    for case in (
        "spectral norm",
        "LSTMCell on single samples",
        "an embedding",
        "a norm of several axes",
    ):
        make, x, wanted, _ = CASES[case]
        name = next(iter(wanted))
        frozen = build_supernet(make(), x).grouping.frozen
        widths[case] = next(item.full_width for item in frozen if item.name == name)

    known = {"spectral norm": 8, "LSTMCell on single samples": 6, "an embedding": 6}
    assert widths == {**known, "a norm of several axes": None}


class Packed(nn.Module):
    """Hands a recurrent layer what is no tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 6)
        self.recurrent = nn.GRU(6, 6, batch_first=True)
        self.hidden = nn.Linear(6, 5)
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.hidden(self.recurrent(pack(self.first(x)))[1][0]))


@torch.fx.wrap
def pack(x: Tensor) -> rnn.PackedSequence:
    return rnn.pack_padded_sequence(x, torch.full((len(x),), x.size(1)), batch_first=True)


def test_macs_on_what_is_no_tensor_are_not_counted_either() -> None:
    supernet = build_supernet(Packed(), TOKENS)

    assert "is given a packed sequence" in reasons_of(supernet)["recurrent"]
    assert any(where.startswith("recurrent (") for where in supernet.grouping.uncounted)
    assert_all_told(supernet)


@pytest.mark.parametrize("handler", [carry, freeze("is left alone")])
def test_a_handler_of_ones_own_does_not_hide_what_it_does_not_cut(handler: object) -> None:
    class Mixer(nn.Module):
        """Mixes places, of which each channel knows nothing."""

        def __init__(self) -> None:
            super().__init__()
            self.places = nn.Linear(64, 64)

        def forward(self, x: Tensor) -> Tensor:
            return self.places(x.flatten(2)).view_as(x)

    model = nn.Sequential(nn.Conv2d(3, 8, 1), Mixer(), nn.Conv2d(8, 6, 1), nn.Conv2d(6, 4, 1))
    supernet = build_supernet(model, PICTURE, handlers={Mixer: handler})

    reason = "does not cut places.weight" if handler is carry else "is left alone"
    assert reason in reasons_of(supernet)["1"]
    assert [where.partition(" ")[0] for where in supernet.grouping.uncounted] == ["1"]
    assert [group.name for group in supernet.groups] == (["0", "2"] if handler is carry else ["2"])
    assert_all_told(supernet)


def test_a_layer_whose_parameters_are_all_told_is_not_told_again() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.PReLU(8), nn.Conv2d(8, 4, 1))
    supernet = build_supernet(model.eval(), PICTURE)

    assert list(reasons_of(supernet)) == ["2"]
    assert_exact(supernet, PICTURE)


class OnlyRecurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.LSTMCell(6, 6)
        self.norm = nn.LayerNorm(6)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        made = [self.inner(row)[0] for row in x[:, 0].unbind(0)]
        return self.head(self.norm(torch.stack(made)))


REFUSED: dict[str, tuple[Callable[[], nn.Module], Tensor, str]] = {
    "spectral norm everywhere": (
        lambda: nn.Sequential(
            parametrizations.spectral_norm(nn.Conv2d(3, 8, 3)),
            nn.ReLU(),
            parametrizations.spectral_norm(nn.Conv2d(8, 4, 3)),
        ),
        PICTURE,
        r"\(0: its weight is computed by a parametrization \(SpectralNorm\), which .*; 2: its weight",
    ),
    "LSTMCell alone": (
        OnlyRecurrent,
        TOKENS,
        r"\(inner: inner \(.*\) is given one sample without a batch axis; head: output",
    ),
    "one layer": (lambda: nn.Conv2d(3, 4, 1), PICTURE, "the model is one layer, a Conv2d"),
    "many": (
        lambda: nn.Sequential(
            *(parametrizations.spectral_norm(nn.Linear(6, 6)) for _ in range(5)), nn.Linear(6, 6)
        ),
        TOKENS,
        "; and 3 more",
    ),
    "what makes no channels": (
        lambda: nn.Sequential(nn.Conv2d(3, 3, 3, groups=3)),
        PICTURE,
        "its layers make no channels",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_model_of_nothing_else_is_refused_by_these_reasons(case: str) -> None:
    make, x, reason = REFUSED[case]
    with pytest.raises(GroupingError, match=reason) as told:
        build_supernet(make(), x)
    assert "it has no layers" not in str(told.value)
    assert "\n" not in str(told.value)
