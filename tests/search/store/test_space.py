from __future__ import annotations

import optuna
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from optuna.samplers import RandomSampler
from search.fakes import make_space

from dpod_search.errors import ConfigError
from dpod_search.search.store.space import make_distributions
from dpod_search.search.store.space import params_of
from dpod_search.search.store.space import suggest_widths
from dpod_search.search.store.space import widths_from_params
from dpod_search.search.store.space import widths_of
from dpod_search.widths import WidthSpace


@st.composite
def spaces_and_widths(draw):
    rungs = draw(
        st.lists(
            st.sets(st.integers(1, 64), min_size=1, max_size=8).map(lambda s: tuple(sorted(s))),
            min_size=1,
            max_size=5,
        )
    )
    space = WidthSpace(tuple(f"g{i}" for i in range(len(rungs))), tuple(rungs))
    indices = [draw(st.integers(0, len(r) - 1)) for r in rungs]
    return space, space.from_rungs(indices)


@given(spaces_and_widths())
def test_widths_round_trip_through_parameters(case):
    space, widths = case
    assert widths_from_params(params_of(widths, space), space) == widths


@settings(max_examples=25, deadline=None)
@given(spaces_and_widths())
def test_widths_round_trip_through_a_trial(case):
    space, widths = case
    study = optuna.create_study(sampler=RandomSampler(seed=0))
    study.enqueue_trial(params_of(widths, space))
    trial = study.ask()
    assert suggest_widths(trial, space) == widths
    study.tell(trial, 0.0)
    frozen = study.trials[0]
    assert widths_of(frozen, space) == widths
    assert frozen.user_attrs["widths"] == dict(widths)
    assert frozen.distributions == make_distributions(space)


def test_a_group_without_a_choice_is_no_parameter():
    space = WidthSpace(("a", "b"), ((4,), (2, 4)))
    assert list(make_distributions(space)) == ["b"]
    assert params_of(space.full, space) == {"b": 2}


@pytest.mark.parametrize("params", [{}, {"group0": 9}, {"group0": 0}, {"group0": "2"}])
def test_parameters_of_another_space_are_refused(params):
    with pytest.raises(ConfigError, match="group0 must be a rung from 1 to 8"):
        widths_from_params(params, make_space(1))
