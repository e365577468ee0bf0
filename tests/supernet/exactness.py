"""What holds for every supernet: at any widths it is the extracted net, and costs what is counted."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from footprint.counters import count_macs
from footprint.counters import count_params
from torch import Tensor
from torch import nn

from dpod_search.footprint import build_footprint
from dpod_search.supernet import Supernet
from dpod_search.supernet import extract_subnet
from dpod_search.widths import Widths


N_WIDTHS = 20


def sample_widths(supernet: Supernet, n: int = N_WIDTHS) -> list[Widths]:
    """The ends of the space, and widths drawn from it with one seed."""
    rng = np.random.default_rng(0)
    space = supernet.space
    return [space.smallest, space.full, *(space.sample(rng) for _ in range(n - 2))]


def assert_close(got: Tensor, expected: Tensor, *, tolerance: float = 1e-5) -> None:
    """The same but for rounding, at the scale of what is expected."""
    scale = float(expected.detach().double().abs().max()) if expected.numel() else 0.0
    torch.testing.assert_close(got, expected, rtol=0, atol=tolerance * scale + 1e-9)


def assert_exact(
    supernet: Supernet,
    x: Tensor,
    *,
    widths: Iterable[Widths] | None = None,
    n_trained: int = 3,
    is_counted: bool = True,
) -> None:
    """Run, differentiate and count a supernet at many widths, and the extracted nets too.

    Args:
        supernet: The supernet.
        x: A batch that it takes.
        widths: By default those of :func:`sample_widths`.
        n_trained: With the first so many, in training mode as well.
        is_counted: The closed forms cover all its macs.
    """
    assert_not_rescued(supernet)
    assert_all_told(supernet)
    assert is_counted == (not supernet.grouping.uncounted), supernet.grouping.uncounted
    for number, chosen in enumerate(sample_widths(supernet) if widths is None else widths):
        subnet = extract_subnet(supernet, chosen)
        assert not any("dpod_search" in type(part).__module__ for part in subnet.modules())
        assert_same_run(supernet, subnet, chosen, x, trains=number < n_trained)
        assert_same_gradients(supernet, subnet, chosen, x)
        assert_same_cost(supernet, subnet, chosen, x, is_counted=is_counted)
    assert supernet.widths == supernet.space.full


def assert_not_rescued(supernet: Supernet) -> None:
    """Discovery itself finds what must be shared; the trial runs of a build find nothing more."""
    reasons = [text for frozen in supernet.grouping.frozen for text in frozen.reasons]
    assert "running it narrower fails" not in reasons, supernet.grouping.frozen


def assert_all_told(supernet: Supernet) -> None:
    """Every parameter is of a layer with a plan, read by the model's code, or of what is frozen."""
    grouping = supernet.grouping
    planned = {plan.name for plan in (*grouping.layers, *grouping.parameters)}
    told = planned | {name for item in grouping.frozen for name in (item.name, *item.members)}
    untold = [
        name
        for name, _ in supernet.net.named_parameters()
        if not any(name == path or name.startswith(f"{path}.") for path in told)
    ]
    assert not untold


def assert_same_run(
    supernet: Supernet, subnet: nn.Module, widths: Widths, x: Tensor, *, trains: bool
) -> None:
    """Both give the same numbers and gather the same statistics."""
    for training in (True, False) if trains else (False,):
        supernet.train(training)
        subnet.train(training)
        with supernet.active(widths):
            torch.manual_seed(1)
            got = supernet(x)
        torch.manual_seed(1)
        assert_close(got, subnet(x))
    supernet.eval()
    subnet.eval()
    moved = dict(extract_subnet(supernet, widths).named_buffers())
    for name, buffer in subnet.named_buffers():
        assert_close(moved[name], buffer)


def assert_same_gradients(
    supernet: Supernet, subnet: nn.Module, widths: Widths, x: Tensor
) -> None:
    """Gradients are those of the extracted net, and zero elsewhere."""
    supernet.zero_grad()
    with supernet.active(widths):
        supernet(x).square().sum().backward()
    subnet(x).square().sum().backward()
    with gradients_as_weights(supernet):
        active = dict(extract_subnet(supernet, widths).named_parameters())
        whole = sum(float(p.detach().abs().sum()) for p in supernet.parameters())
    assert list(active) == [name for name, _ in subnet.named_parameters()]
    kept = sum(float(p.detach().abs().sum()) for p in active.values())
    assert kept == pytest.approx(whole, rel=1e-4)  # nothing flows to what is cut off
    for name, expected in subnet.named_parameters():
        gradient = torch.zeros_like(expected) if expected.grad is None else expected.grad
        atol = 1e-5 * (1 + float(gradient.abs().max()))
        got = active[name].detach()
        torch.testing.assert_close(got, gradient, rtol=0, atol=atol, msg=f"gradient of {name}")
    supernet.zero_grad()


@contextmanager
def gradients_as_weights(supernet: Supernet) -> Iterator[None]:
    """Extraction then cuts the gradients as it cuts the weights."""
    held = [(parameter, parameter.data) for parameter in supernet.parameters()]
    for parameter, data in held:
        parameter.data = torch.zeros_like(data) if parameter.grad is None else parameter.grad
    yield
    for parameter, data in held:
        parameter.data = data


def assert_same_cost(
    supernet: Supernet, subnet: nn.Module, widths: Widths, x: Tensor, *, is_counted: bool = True
) -> None:
    """The closed forms give what is counted."""
    measured = build_footprint(supernet).measure(widths)
    if is_counted:
        assert measured["macs"] == count_macs(subnet, x)
    assert measured["params"] == count_params(subnet)
    stored = [*subnet.parameters(), *(b for b in subnet.buffers() if b.is_floating_point())]
    assert measured["weight_bytes"] == sum(t.numel() * t.element_size() for t in stored)


def reasons(supernet: Supernet) -> dict[str, str]:
    """Why each dimension is frozen that is."""
    return {frozen.name: "; ".join(frozen.reasons) for frozen in supernet.grouping.frozen}


def assert_exports(supernet: Supernet, x: Tensor) -> None:
    """What is extracted can be exported; blocks are kept, so that there is attention in it."""
    blocks = {block.path: 1 for block in supernet.grouping.blocks}
    subnet = extract_subnet(supernet, {**supernet.space.smallest, **blocks}).eval()
    exported = torch.export.export(subnet, (x,))
    assert_close(exported.module()(x), subnet(x))
