from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings
from importance.nets import BODIES
from importance.nets import make_batches
from importance.nets import make_supernet
from strategies import Net
from strategies import nets

from dpod_search.errors import ConfigError
from dpod_search.importance import CRITERIA
from dpod_search.importance import measure_unit_importance
from dpod_search.supernet import build_supernet


def assert_sound(supernet, found):
    """Scores of all groups, which add up to 1, and tables that never fall with a width."""
    space = supernet.space
    assert sum(layer.scores.sum() for layer in found.layers) == pytest.approx(1)
    for group, scores in zip(supernet.groups, found.by_group(), strict=True):
        assert (scores is None) == (group.kind == "block")
        assert scores is None or scores.shape == (group.full_width,)
    kept = found.tabulate(space)
    full = np.array(space.n_rungs) - 1
    assert kept.at([full])[0] == pytest.approx(1)
    rng = np.random.default_rng(0)
    rungs = rng.integers(0, space.n_rungs, size=(20, len(full)))
    wider = np.minimum(rungs + rng.integers(0, 2, size=rungs.shape), full)
    assert np.all(kept.at(wider) >= kept.at(rungs) - 1e-12)
    assert np.all(kept.at(rungs) >= 0)
    np.testing.assert_allclose(kept.at(space.canonical_rungs(rungs)), kept.at(rungs))


@pytest.mark.parametrize("criterion", sorted(CRITERIA))
@pytest.mark.parametrize("name", sorted(BODIES))
def test_every_criterion_scores_every_net(name, criterion):
    supernet = make_supernet(name)
    found = measure_unit_importance(supernet, make_batches(), criterion=criterion)
    assert found.criterion == criterion
    assert_sound(supernet, found)


@settings(max_examples=15, deadline=None)
@given(nets())
def test_nets_of_any_shape_are_scored(net: Net):
    supernet = build_supernet(net.model.eval(), net.example)
    labels = torch.arange(len(net.example)) % 3
    found = measure_unit_importance(supernet, [(net.example, labels)])
    assert_sound(supernet, found)


def test_no_more_batches_are_looked_at_than_asked_for():
    batches = iter(make_batches(5))
    measure_unit_importance(make_supernet("plain"), batches, n_batches=2)
    assert len(list(batches)) == 3


def test_an_unknown_criterion_names_the_known_ones():
    with pytest.raises(ConfigError, match=r"criterion must be one of .*'taylor'.* got 'tailor'"):
        measure_unit_importance(make_supernet("plain"), [], criterion="tailor")


def test_a_net_that_nothing_matters_to_must_be_trained():
    supernet = make_supernet("plain")
    with torch.no_grad():
        supernet.net.get_parameter("head.weight").zero_()
    with pytest.raises(ConfigError, match="0 in every layer; train the full net first"):
        measure_unit_importance(supernet, make_batches())


def test_a_broken_net_is_named():
    supernet = make_supernet("plain")
    with torch.no_grad():
        supernet.net.get_parameter("body.0.0.weight")[0] = torch.nan
    with pytest.raises(ConfigError, match="importance by taylor is not finite in body"):
        measure_unit_importance(supernet, make_batches())
