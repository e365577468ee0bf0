from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from latency.fakes import SETTINGS
from latency.fakes import add_up
from latency.fakes import make_residual_net
from latency.fakes import make_residual_supernet
from latency.fakes import make_table

from dpod_search.errors import DataError
from dpod_search.footprint import build_footprint
from dpod_search.latency import fit_latency
from dpod_search.latency import measure_error
from dpod_search.latency.layers import sample_subnets
from dpod_search.latency.model import TimedFootprint
from dpod_search.quantities import percent
from dpod_search.supernet import build_supernet


@pytest.fixture(scope="module")
def supernet():
    return make_residual_supernet()


def draw(supernet, n=50):
    return sample_subnets(supernet.space, n, np.random.default_rng(5))


def test_latencies_made_by_known_weights_are_recovered(supernet):
    table = make_table(supernet)
    model = fit_latency(supernet, table, n_held_out=8)

    for widths in draw(supernet):
        due = 0.8 * add_up(supernet, dict(table.layers), widths.active) + 0.5
        assert model.measure(widths) == pytest.approx(due, rel=0.02)
    assert model.error.mape < 0.01
    assert model.error.rank_correlation > 0.99
    assert model.error.n_nets == 8
    # A little ridge draws them to 0.
    assert model.weights["layers"] == pytest.approx(0.8, rel=0.1)
    assert model.weights["constant"] == pytest.approx(0.5, rel=0.2)


def test_the_error_is_told_of_nets_that_were_not_fitted_to(supernet):
    spoilt = make_table(supernet, distort=lambda ms, i: ms * (1.1 if i >= SETTINGS.n_fit else 1.0))
    model = fit_latency(supernet, spoilt, n_held_out=8)
    assert model.error.mape == pytest.approx(1 - 1 / 1.1, abs=0.01)
    assert model.error.worst >= model.error.mape


def test_a_model_that_is_too_wrong_is_refused_with_its_figure(supernet):
    rng = np.random.default_rng(0)
    noisy = make_table(supernet, distort=lambda ms, _i: ms * float(rng.uniform(0.3, 3)))

    with pytest.raises(
        DataError, match=r"too wrong .* \d+\.\d % off on average, .* \(limit 15"
    ) as e:
        fit_latency(supernet, noisy, n_held_out=8)
    assert "latency.n_fit" in str(e.value)
    model = fit_latency(supernet, noisy, n_held_out=8, max_error=float("inf"))
    assert f"{percent(model.error.mape)} off on average" in str(e.value)


def test_the_model_is_its_tables(supernet):
    model = fit_latency(supernet, make_table(supernet), n_held_out=8)
    subnets = draw(supernet)
    active = np.array([widths.active for widths in subnets])

    by_one = [model.measure(widths) for widths in subnets]
    np.testing.assert_allclose(model.table(active), by_one)
    rungs = [
        [options.index(width) for options, width in zip(supernet.space.rungs, row, strict=True)]
        for row in active.tolist()
    ]
    np.testing.assert_allclose(model.sum_ms.at(rungs), by_one)
    told = model.to_json()
    assert set(told) == {"weights", "mape", "worst", "rank_correlation", "n_held_out"}


def test_what_a_removed_block_would_take_does_not_count(supernet):
    model = fit_latency(supernet, make_table(supernet), n_held_out=8)
    space = supernet.space
    block = space.rungs.index((0, 1))
    without = space.full.replace(space.names[block], 0)
    inner = next(dict(space.inside)[n][0] for n in [space.names[block]])

    assert model.measure(without) < model.measure(space.full)
    assert model.measure(without.replace(inner, 1)) == model.measure(without)


def test_latency_is_one_more_footprint(supernet):
    model = fit_latency(supernet, make_table(supernet), n_held_out=8)
    sizes = build_footprint(supernet)
    found = TimedFootprint(sizes, model).measure(supernet.space.full)

    assert found.pop("latency") == pytest.approx(model.measure(supernet.space.full), rel=1e-3)
    assert found == sizes.measure(supernet.space.full)


def test_a_table_of_another_model_is_refused(supernet):
    other = build_supernet(make_residual_net(width=16), torch.zeros(2, 3, 8, 8))
    with pytest.raises(DataError, match="is of another model .*dpod-search latency request"):
        fit_latency(other, make_table(supernet), n_held_out=8)


def test_a_table_of_too_few_nets_is_refused(supernet):
    table = make_table(supernet)
    with pytest.raises(DataError, match="has 15 measured nets and 16 are due"):
        fit_latency(supernet, replace(table, nets=table.nets[:15]), n_held_out=8)


def test_a_net_that_is_none_of_the_space_is_refused(supernet):
    table = make_table(supernet)
    odd = replace(table.nets[0], widths=(99, *table.nets[0].widths[1:]))
    with pytest.raises(DataError, match="a net of the latency table is damaged .*99"):
        fit_latency(supernet, replace(table, nets=(odd, *table.nets)), n_held_out=8)


def test_errors_are_shares_of_what_was_measured():
    found = measure_error(np.array([1.1, 2.0, 2.0]), np.array([1.0, 2.0, 4.0]))
    assert (found.mape, found.worst) == (pytest.approx(0.2), 0.5)
    assert found.n_nets == 3
    assert "20.0 % off on average, 50.0 % at worst" in found.describe()
    # A model that says the same of all ranks nothing.
    assert measure_error(np.ones(3), np.arange(1.0, 4)).rank_correlation == 0
