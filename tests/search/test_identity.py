from __future__ import annotations

from dataclasses import replace

import optuna
import pytest
from optuna.samplers import RandomSampler
from search.fakes import ACCURACY
from search.fakes import make_space
from search.fakes import make_task

from dpod_search.errors import RunFolderError
from dpod_search.search import Params
from dpod_search.search import Proposal
from dpod_search.search import SearchSettings
from dpod_search.search import identity
from dpod_search.search import make_sampler
from dpod_search.search import open_study
from dpod_search.search.identity import bind_study
from dpod_search.search.store.space import make_distributions
from dpod_search.search.store.space import params_of


SETTINGS = SearchSettings(n_trials=3)
TASK = replace(
    make_task(constraints={"macs": "<= 50%"}),
    provenance={"data": "d" * 64, "weights": "w" * 64},
)
SEEDS = [Proposal(TASK.space.full, "path"), Proposal(TASK.space.smallest, "ladder")]


def start(task=TASK, settings=SETTINGS, seeds=SEEDS, sampler=None):
    """A study of one finished trial."""
    sampler = sampler or make_sampler(settings, task)
    study = open_study("x", None, task.objectives, sampler)
    bind_study(study, task, settings, seeds)
    add_trial(study, task)
    return study


def add_trial(study, task):
    distributions = make_distributions(task.space)
    params = params_of(task.space.full, task.space)
    study.add_trial(
        optuna.create_trial(params=params, distributions=distributions, values=[0.5, 1.0])
    )


def test_a_study_keeps_all_that_makes_it_what_it_is():
    kept = start().user_attrs
    assert kept["dpod:version"] == identity._find_version()
    assert kept["dpod:space"] == TASK.space.to_json()
    assert [entry["name"] for entry in kept["dpod:objectives"]] == ["accuracy", "macs"]
    assert kept["dpod:constraints"] == [["macs", "<= 50%"]]
    assert kept["dpod:sampler"] == "nsga2"
    assert kept["dpod:seed"] == 0
    assert kept["dpod:seeds"] == [[s.source, list(s.widths.active)] for s in SEEDS]
    assert kept["dpod:provenance"] == {"data": "d" * 64, "weights": "w" * 64}


def test_the_same_study_is_bound_again_and_limits_may_change():
    study = start()
    before = study.user_attrs
    bind_study(study, TASK, SETTINGS, SEEDS)
    assert study.user_attrs == before
    more = replace(SETTINGS, n_trials=9, n_evaluated=5, seconds=3.0, stall=2, surrogate=False)
    bind_study(study, TASK, more, SEEDS)
    assert study.user_attrs["dpod:settings"]["n_trials"] == 9
    assert {k: v for k, v in study.user_attrs.items() if k != "dpod:settings"} == {
        k: v for k, v in before.items() if k != "dpod:settings"
    }


WIDER = make_space(5)
OTHERS = [
    (
        {"space": WIDER},
        "another space: it had 4 entries, now 5",
    ),
    (
        {"space": make_space(4, 4)},
        'another space: entry 1 was {"name": "group0", "full": 16, "rungs": [2, ',
    ),
    (
        {"objectives": (ACCURACY, Params())},
        'other objectives: entry 2 was {"name": "macs", "direction": "minimize"}, now {"name": "p',
    ),
    (
        {"constraints": {"macs": "<= 60%"}},
        'other constraints: entry 1 was ["macs", "<= 50%"], now ["macs", "<= 60%"]; restore them',
    ),
    ({"constraints": {}}, "other constraints: it had 1 entries, now 0; restore them"),
    ({"seed": 7}, "another random seed: it was 0, now 7; restore it, or choose another"),
    ({"provenance": {"data": "e"}}, f"other data: it was {'d' * 64}, now e; restore them"),
    ({"provenance": {"data": "e"}, "seed": 7}, f"other data: it was {'d' * 64}, now e"),
    ({"provenance": {"weights": "e"}}, f"other weights of the supernet: it was {'w' * 64}, now e"),
]


@pytest.mark.parametrize(("change", "message"), OTHERS)
def test_another_task_is_refused_in_one_line_that_names_the_difference(change, message):
    task = replace(TASK, **change)
    seeds = [] if "space" in change else SEEDS
    with pytest.raises(RunFolderError) as error:
        bind_study(start(seeds=seeds), task, SETTINGS, seeds)
    text = str(error.value)
    assert text.startswith(f"study x was made with {message}")
    restore = "restore them" if message.startswith("other ") else "restore it"
    assert text.endswith(f"; {restore}, or choose another --out, study name or storage")
    assert "\n" not in text


def test_other_seeds_are_refused():
    study = start()
    with pytest.raises(RunFolderError, match="other subnets to try first: it had 2 .* now 1;"):
        bind_study(study, TASK, SETTINGS, SEEDS[:1])
    with pytest.raises(RunFolderError, match=r"other subnets .*: entry 1 was \[\"path\", .*, now"):
        bind_study(study, TASK, SETTINGS, SEEDS[::-1])


def test_another_sampler_is_refused():
    study = start()
    tpe = replace(SETTINGS, sampler="tpe")
    message = (
        "study x was made with another sampler: it was nsga2, now tpe; "
        "restore it, or choose another --out, study name or storage"
    )
    study.sampler = make_sampler(tpe, TASK)
    with pytest.raises(RunFolderError) as error:
        bind_study(study, TASK, tpe, SEEDS)
    assert str(error.value) == message
    study.sampler = RandomSampler()
    with pytest.raises(RunFolderError, match="it was nsga2, now RandomSampler;"):
        bind_study(study, TASK, SETTINGS, SEEDS)
    with pytest.raises(RunFolderError, match="it was nsga2, now mine;"):
        bind_study(study, TASK, SETTINGS, SEEDS, sampler="mine")


def test_a_sampler_that_was_passed_in_is_known_by_its_class():
    study = start(sampler=RandomSampler())
    assert study.user_attrs["dpod:sampler"] == "RandomSampler"
    bind_study(study, TASK, SETTINGS, SEEDS)


def test_another_version_is_refused_if_both_are_known(monkeypatch):
    study = start()
    monkeypatch.setattr(identity, "_find_version", lambda: "unknown")
    bind_study(study, TASK, SETTINGS, SEEDS)
    monkeypatch.setattr(identity, "_find_version", lambda: "99.0")
    with pytest.raises(RunFolderError, match=r"another version of dpod-search: .* now 99\.0;"):
        bind_study(study, TASK, SETTINGS, SEEDS)


def test_what_nobody_told_cannot_differ_and_is_kept_once_it_is_told():
    silent = replace(TASK, provenance={})
    study = start(silent)
    assert "dpod:provenance" not in study.user_attrs
    bind_study(study, replace(TASK, provenance={"data": "d"}), SETTINGS, SEEDS)
    bind_study(study, replace(TASK, provenance={"weights": "w"}), SETTINGS, SEEDS)
    bind_study(study, silent, SETTINGS, SEEDS)
    assert study.user_attrs["dpod:provenance"] == {"data": "d", "weights": "w"}


def test_a_percentage_of_a_measured_value_is_the_same_before_and_after_it_is_known():
    task = replace(TASK, constraints={"accuracy": ">= 90%"})
    study = start(task)
    bind_study(study, task.with_full({"accuracy": 0.9}), SETTINGS, SEEDS)


def test_trials_of_something_else_are_refused():
    study = open_study("x", None, TASK.objectives, make_sampler(SETTINGS, TASK))
    add_trial(study, TASK)
    with pytest.raises(RunFolderError, match="holds trials that dpod-search did not make"):
        bind_study(study, TASK, SETTINGS, SEEDS)


def test_a_study_that_lacks_a_part_of_its_identity_is_refused():
    study = start(TASK)
    lacking = {name: v for name, v in study.user_attrs.items() if name != "dpod:seeds"}
    other = open_study("x", None, TASK.objectives, make_sampler(SETTINGS, TASK))
    for name, value in lacking.items():
        other.set_user_attr(name, value)
    add_trial(other, TASK)
    with pytest.raises(RunFolderError, match="holds trials that dpod-search did not make"):
        bind_study(other, TASK, SETTINGS, SEEDS)


def test_a_new_study_may_have_a_queue():
    study = open_study("x", None, TASK.objectives, make_sampler(SETTINGS, TASK))
    study.enqueue_trial(params_of(TASK.space.full, TASK.space))
    bind_study(study, TASK, SETTINGS, SEEDS)
    assert study.user_attrs["dpod:sampler"] == "nsga2"
