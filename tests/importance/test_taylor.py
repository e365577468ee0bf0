"""Taylor scores against gates put into the net, against finite changes, and what they leave."""

from __future__ import annotations

import copy
from contextlib import ExitStack
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from importance.nets import BODIES
from importance.nets import make_batches
from importance.nets import make_supernet
from torch import nn
from torch.nn import functional

from dpod_search.errors import DataError
from dpod_search.importance.taylor import find_cuts
from dpod_search.importance.taylor import score_taylor


# By body: where the output of each maker is cut off, if not at the layer itself.
ENDS = {
    "plain": {"body.0.0": ["body.0.1"]},
    "residual": {
        "body.0.first.0": ["body.0.first.1"],
        "body.0.second": ["body.0.norm"],
        "body.1.first.0": ["body.1.first.1"],
        "body.1.second": ["body.1.norm"],
    },
    "mobile": {
        f"body.{i}.{layer}": [f"body.{i}.{layer}_norm"]
        for i in (0, 1)
        for layer in ("depth", "project")
    },
    "depthwise": {"body.1.depth": ["body.1.norm"]},
    "excite": {"body.0.0": ["body.0.1"]},
    "transposed": {"body.1.0": ["body.1.1"]},
    "block": {"body.0.0": ["body.0.1"], "body.1.first": ["body.1.norm"]},
}


@contextmanager
def gating(supernet, path, gate, axis):
    """Multiply what a module makes, along one axis, by a gate for each element."""

    def multiply(_module, _inputs, output):
        tensor = output[0] if isinstance(output, tuple) else output
        shape = [-1 if i == axis % tensor.dim() else 1 for i in range(tensor.dim())]
        return tensor * gate.view(shape)

    handle = supernet.net.get_submodule(path).register_forward_hook(multiply)
    try:
        yield
    finally:
        handle.remove()


def differentiate_gates(supernet, paths, n_elements, batch, axis=1):
    gate = torch.ones(n_elements, requires_grad=True)
    with ExitStack() as stack:
        for path in paths:
            stack.enter_context(gating(supernet, path, gate, axis))
        loss = functional.cross_entropy(supernet(batch[0]), batch[1])
    return torch.autograd.grad(loss, gate)[0].numpy()


def by_layer(found):
    return {(layer.layer, layer.group): layer for layer in found}


@pytest.mark.parametrize("name", sorted(ENDS))
def test_scores_are_the_gradients_of_gates_on_what_layers_make(name):
    supernet, batches = make_supernet(name), make_batches()
    plans = {plan.name: plan for plan in supernet.grouping.layers}
    found = score_taylor(supernet, batches, functional.cross_entropy)
    for layer in found:
        n_units = supernet.groups[layer.group].full_width
        paths = ENDS[name].get(layer.layer) or [layer.layer]
        size = sum(segment.size for segment in plans[layer.layer].output)
        expected = np.mean(
            [
                np.abs(
                    differentiate_gates(supernet, paths, size, batch)
                    .reshape(n_units, -1)
                    .sum(axis=1)
                )
                for batch in batches
            ],
            axis=0,
        )
        np.testing.assert_allclose(layer.scores, expected, rtol=1e-3, atol=1e-6)
    assert {layer.layer for layer in found} >= {n for n, ends in ENDS[name].items() if ends}


def test_a_layer_that_a_depthwise_one_alone_reads_is_not_counted_twice():
    names = {maker.name for maker in find_cuts(make_supernet("mobile"))}
    assert names == {f"body.{i}.{layer}" for i in (0, 1) for layer in ("depth", "project")}
    names = {maker.name for maker in find_cuts(make_supernet("depthwise"))}
    assert names == {"body.1.depth", "body.1.point"}


def test_where_something_else_reads_it_too_the_layer_itself_is_counted():
    # The shortcut is added to what the norm gives.
    for name, layer in (("residual", "body.0.shortcut"), ("attention", "body.embed")):
        cut = {maker.name: maker for maker in find_cuts(make_supernet(name))}[layer]
        assert {p.parameter for p in cut.parts} == {f"{layer}.weight", f"{layer}.bias"}


def test_norms_behind_concatenations_are_gated_together():
    supernet, (batch, *_) = make_supernet("dense"), make_batches(1)
    cuts = {maker.name: maker for maker in find_cuts(supernet)}
    layers = by_layer(score_taylor(supernet, [batch], functional.cross_entropy))
    # What the first dense block makes goes on in its own norm alone, at the end of a row.
    assert {p.parameter for p in cuts["body.1.conv"].parts} == {
        "body.1.after.weight",
        "body.1.after.bias",
    }
    gate = torch.ones(3, requires_grad=True)
    whole = torch.cat([torch.ones(4), gate])
    with gating(supernet, "body.1.after", whole, 1):
        loss = functional.cross_entropy(supernet(batch[0]), batch[1])
    expected = torch.autograd.grad(loss, gate)[0].abs().numpy()
    (group,) = cuts["body.1.conv"].groups
    np.testing.assert_allclose(layers["body.1.conv", group].scores, expected, rtol=1e-3, atol=1e-6)


def test_heads_are_scored_by_their_values():
    supernet, (batch, *_) = make_supernet("attention"), make_batches(1)
    (group,) = (i for i, g in enumerate(supernet.groups) if g.kind == "heads")
    layers = by_layer(score_taylor(supernet, [batch], functional.cross_entropy))
    got = layers["body.attention", group].scores
    # A gate on what a head makes is one on the columns of the projection that read it.
    gate = torch.ones(4, requires_grad=True)
    projection = supernet.net.get_parameter("body.attention.out_proj.weight")
    columns = {"body.attention.out_proj.weight": projection * gate.repeat_interleave(2)}
    scores = torch.func.functional_call(supernet.net, columns, (batch[0],))
    loss = functional.cross_entropy(scores, batch[1])
    expected = torch.autograd.grad(loss, gate)[0].abs().numpy()
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-6)


def test_small_changes_of_a_unit_change_the_loss_as_much():
    supernet, (batch, *_) = make_supernet("residual"), make_batches(1)
    supernet.double()
    images, labels = batch[0].double(), batch[1]
    layers = by_layer(score_taylor(supernet, [(images, labels)], functional.cross_entropy))
    norm = supernet.net.get_submodule("body.0.norm")
    (scores,) = (s.scores for (name, _), s in layers.items() if name == "body.0.second")
    step = 1e-6
    with torch.no_grad():
        for unit, score in enumerate(scores):
            losses = []
            for factor in (1 - step, 1 + step):
                saved = norm.weight.clone(), norm.bias.clone()
                norm.weight[unit] *= factor
                norm.bias[unit] *= factor
                losses.append(float(functional.cross_entropy(supernet(images), labels)))
                norm.weight.copy_(saved[0])
                norm.bias.copy_(saved[1])
            assert abs(losses[1] - losses[0]) / (2 * step) == pytest.approx(score, rel=1e-4)


def test_scores_of_batches_are_averaged_after_the_absolute_value():
    supernet, batches = make_supernet("plain"), make_batches(3)
    each = [score_taylor(supernet, [batch], functional.cross_entropy) for batch in batches]
    together = score_taylor(supernet, batches, functional.cross_entropy)
    for number, layer in enumerate(together):
        mean = np.mean([found[number].scores for found in each], axis=0)
        np.testing.assert_allclose(layer.scores, mean)


@pytest.mark.parametrize("name", sorted(BODIES))
def test_every_group_of_channels_has_scores_and_a_dead_unit_has_none(name):
    supernet = make_supernet(name)
    wanted = {i for i, group in enumerate(supernet.groups) if group.kind != "block"}
    cuts = find_cuts(supernet)
    assert {group for maker in cuts for group in maker.groups} == wanted
    with torch.no_grad():
        for maker in cuts:
            for part in maker.parts:
                last = part.layout[-1]
                assert last.group is not None
                parameter = supernet.net.get_parameter(part.parameter)
                size = last.size // last.full
                parameter.narrow(part.axis, parameter.shape[part.axis] - size, size).zero_()
    found = score_taylor(supernet, make_batches(), functional.cross_entropy)
    assert any(layer.scores[:-1].any() for layer in found)
    if name != "dense":  # there the last of a row of runs is of another group
        assert not any(layer.scores[-1] for layer in found)


def disturb(supernet):
    """Bring a supernet into a state that is nobody's default."""
    supernet.train()
    supernet.net.get_submodule("body.0.first.1").eval()
    for parameter in supernet.parameters():
        parameter.grad = torch.full_like(parameter, 0.5)
    supernet.net.get_submodule("body.0.second").weight.requires_grad_(False)
    supernet.net.get_submodule("body.0.norm").weight.requires_grad_(False)


def remember(supernet):
    return (
        copy.deepcopy(supernet.state_dict()),
        [module.training for module in supernet.modules()],
        [(p.requires_grad, p.grad.clone()) for p in supernet.parameters()],
        supernet.widths,
    )


@pytest.mark.parametrize("fails", [False, True])
def test_the_supernet_is_left_as_it_was(fails):
    supernet = make_supernet("residual")
    disturb(supernet)
    state, modes, learning, widths = remember(supernet)

    def loss(scores, labels):
        # As a net's own code might.
        supernet.net.get_submodule("body.0.norm").num_batches_tracked.add_(1)
        if fails:
            raise ZeroDivisionError
        return functional.cross_entropy(scores, labels)

    with supernet.active(supernet.space.smallest), torch.no_grad():
        if fails:
            with pytest.raises(ZeroDivisionError):
                score_taylor(supernet, make_batches(1), loss)
        else:
            found = score_taylor(supernet, make_batches(1), loss)
            # At full width, with what is not trained among the rest.
            assert any(s.layer == "body.0.second" and s.scores.all() for s in found)
        assert supernet.widths == supernet.space.smallest
    after = remember(supernet)
    assert all(torch.equal(state[k], after[0][k]) for k in state)
    assert after[1] == modes
    assert after[3] == widths
    for (was, grad), (now, new) in zip(learning, after[2], strict=True):
        assert was == now
        assert torch.equal(grad, new)


def test_no_batches_are_an_error():
    with pytest.raises(DataError, match="at least one batch"):
        score_taylor(make_supernet("plain"), [], functional.cross_entropy)


def test_scales_that_a_net_multiplies_by_are_not_counted_besides_the_layers():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(2, 6, 3)
            self.scale = nn.Parameter(torch.rand(6, 1, 1))
            self.shift = nn.Parameter(torch.rand(6, 1, 1))
            self.head = nn.Linear(6, 3)

        def forward(self, x):
            return self.head((self.conv(x) * self.scale + self.shift).mean([2, 3]))

    from dpod_search.supernet import build_supernet

    supernet = build_supernet(Scaled(), torch.randn(2, 2, 6, 6))
    assert {maker.name for maker in find_cuts(supernet)} == {"conv", "shift"}
