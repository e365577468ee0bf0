from __future__ import annotations

import optuna
import pytest
from optuna.samplers import NSGAIISampler
from optuna.testing.pytest_samplers import BasicSamplerTestCase
from optuna.testing.pytest_samplers import MultiObjectiveSamplerTestCase
from optuna.trial import Trial
from optuna.trial import TrialState
from search.fakes import make_space

from dpod_search.search.samplers.reseeding import ReseededGPSampler
from dpod_search.search.samplers.reseeding import ReseededNSGAIISampler
from dpod_search.search.samplers.reseeding import ReseededRandomSampler
from dpod_search.search.samplers.reseeding import ReseededTPESampler
from dpod_search.search.store.space import make_distributions


class TestReseededTPESamplerContract(BasicSamplerTestCase, MultiObjectiveSamplerTestCase):
    @pytest.fixture
    def sampler(self):
        return lambda: ReseededTPESampler(3)


class TestReseededRandomSamplerContract(BasicSamplerTestCase, MultiObjectiveSamplerTestCase):
    @pytest.fixture
    def sampler(self):
        return lambda: ReseededRandomSampler(3)


class TestReseededNSGAIISamplerContract(BasicSamplerTestCase, MultiObjectiveSamplerTestCase):
    @pytest.fixture
    def sampler(self):
        return lambda: ReseededNSGAIISampler(population_size=4, seed=3)


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
class TestReseededGPSamplerContract(BasicSamplerTestCase, MultiObjectiveSamplerTestCase):
    @pytest.fixture
    def sampler(self):
        return lambda: ReseededGPSampler(3)


SAMPLERS = {
    "random": lambda: ReseededRandomSampler(1),
    "tpe": lambda: ReseededTPESampler(1),
    "gp": lambda: ReseededGPSampler(1),
    "nsga2-plain": lambda: ReseededNSGAIISampler(population_size=4, seed=1),
}
# Small, because a trial of the Gaussian process takes a second in a large space.
DISTRIBUTIONS = make_distributions(make_space(3, 4))
DIRECTIONS = ["minimize"] * 2


def run_trials(study, n):
    for _ in range(n):
        trial = study.ask(DISTRIBUTIONS)
        x = list(trial.params.values())
        study.tell(trial, [float(sum(x)), float(-x[0] - 2 * x[1])])


def read_params(study):
    return [trial.params for trial in study.get_trials(deepcopy=False)]


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_study_resumed_in_its_middle_goes_on_as_it_would_have(name):
    whole = optuna.create_study(directions=DIRECTIONS, sampler=SAMPLERS[name]())
    run_trials(whole, 13)
    for n in (3, 12):
        resumed = optuna.create_study(directions=DIRECTIONS, sampler=SAMPLERS[name]())
        resumed.add_trials(whole.trials[:n])
        run_trials(resumed, 13 - n)
        assert read_params(resumed) == read_params(whole), f"resumed after {n}"


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("n_drawn", [0, 2])
def test_a_trial_that_was_cut_off_draws_what_it_would_have_drawn(name, n_drawn):
    study = optuna.create_study(directions=DIRECTIONS, sampler=SAMPLERS[name]())
    run_trials(study, 11)
    whole = study.ask(DISTRIBUTIONS).params
    resumed = optuna.create_study(directions=DIRECTIONS, sampler=SAMPLERS[name]())
    resumed.add_trials(study.trials[:11])
    cut = resumed.ask(dict(list(DISTRIBUTIONS.items())[:n_drawn]))
    if n_drawn == 0 and name == "gp":
        # What it drew is with the trial before any parameter is.
        resumed.sampler.sample_relative(resumed, resumed.trials[11], DISTRIBUTIONS)
    resumed.sampler = SAMPLERS[name]()
    again = Trial(resumed, cut._trial_id)
    for parameter, distribution in DISTRIBUTIONS.items():
        again._suggest(parameter, distribution)
    assert again.params == whole


@pytest.mark.parametrize("make", [ReseededRandomSampler, ReseededTPESampler, ReseededGPSampler])
def test_seeds_differ(make):
    found = []
    for seed in (1, 2):
        study = optuna.create_study(directions=DIRECTIONS, sampler=make(seed))
        run_trials(study, 4)
        found.append(read_params(study))
    assert found[0] != found[1]


def test_plain_nsga2_counts_generations_as_optunas_own_and_leaves_seeds_out():
    study = optuna.create_study(directions=DIRECTIONS, sampler=SAMPLERS["nsga2-plain"]())
    study.enqueue_trial(dict.fromkeys(DISTRIBUTIONS, 1))
    run_trials(study, 14)
    key = NSGAIISampler._GENERATION_KEY
    generations = [trial.system_attrs.get(key) for trial in study.trials]
    assert generations == [None, *([0] * 4), *([1] * 4), *([2] * 4), 3]
    assert all(trial.state == TrialState.COMPLETE for trial in study.trials)
    other = NSGAIISampler(population_size=4)
    assert len(other.get_parent_population(study, 3)) == 4


def test_gp_starts_every_fit_without_the_last_ones_kernels():
    # They seldom change what is drawn, so equal trials would not show that they are gone.
    sampler = ReseededGPSampler(1)
    study = optuna.create_study(directions=DIRECTIONS, sampler=sampler)
    run_trials(study, 11)
    assert sampler._gprs_cache_list is not None
    study.ask()
    assert sampler._gprs_cache_list is None
