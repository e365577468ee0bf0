from __future__ import annotations

import numpy as np
from importance.nets import make_supernet
from torch.nn import functional

from dpod_search.importance import measure_unit_importance
from dpod_search.importance.group_magnitude import score_group_magnitude
from dpod_search.supernet import extract_subnet
from dpod_search.supernet import reorder_units


def score(supernet):
    return score_group_magnitude(supernet, (), functional.cross_entropy)


def test_scores_are_the_squares_that_go_with_a_unit():
    supernet = make_supernet("plain")
    found = {}
    for layer in score(supernet):
        found.setdefault(layer.group, {})[layer.layer] = layer.scores
    maker = supernet.net.get_submodule("body.0.0")
    (group,) = (g for g, layers in found.items() if "body.0.0.weight" in layers)
    rows = maker.weight.square().flatten(1).sum(1).detach().numpy()
    np.testing.assert_allclose(found[group]["body.0.0.weight"], rows, rtol=1e-5)
    (reader,) = set(found[group]) - {"body.0.0.weight"}
    columns = supernet.net.get_parameter(reader).square().transpose(0, 1).flatten(1).sum(1)
    np.testing.assert_allclose(found[group][reader], columns.detach().numpy(), rtol=1e-5)


def test_what_goes_when_a_group_is_narrowed_is_what_its_last_units_have():
    for name in ("plain", "transposed", "grouped", "block"):
        supernet = make_supernet(name)
        whole = count_squares(extract_subnet(supernet, supernet.space.full))
        scores = [np.zeros(group.full_width) for group in supernet.groups]
        for layer in score(supernet):
            scores[layer.group] += layer.scores
        for group, rungs, units in zip(supernet.groups, supernet.space.rungs, scores, strict=True):
            if group.kind != "block":
                narrow = supernet.space.full.replace(group.name, rungs[0])
                rest = count_squares(extract_subnet(supernet, narrow))
                np.testing.assert_allclose(units[rungs[0] :].sum(), whole - rest, rtol=1e-4)


def count_squares(net):
    return sum(float(p.detach().double().square().sum()) for p in net.parameters() if p.ndim > 1)


def test_units_can_be_put_in_its_order():
    supernet = make_supernet("plain")
    found = measure_unit_importance(supernet, criterion="group_magnitude").by_group()
    reorder_units(supernet, found)
    again = measure_unit_importance(supernet, criterion="group_magnitude").by_group()
    for scores in again:
        assert scores is None or np.all(np.diff(scores) <= 1e-9)
