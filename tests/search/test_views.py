from __future__ import annotations

import copy
import importlib.util
from dataclasses import replace

import pytest
import torch
from torch import nn

from dpod_search.errors import ConfigError
from dpod_search.figures.front import draw_front
from dpod_search.records.run import read_run
from dpod_search.search import Accuracy
from dpod_search.search import Front
from dpod_search.search import Macs
from dpod_search.search import search
from dpod_search.search.api import make_task
from dpod_search.search.outcome import write_records
from dpod_search.search.results import collect_result
from dpod_search.supernet import build_supernet


BATCHES = [
    (torch.randn(32, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(32) % 4)
]


@pytest.fixture(scope="module")
def supernet():
    torch.manual_seed(0)
    return build_supernet(
        nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, 6),
            nn.ReLU(),
            nn.Linear(6, 4),
        ),
        torch.zeros(2, 3, 8, 8),
    )


@pytest.fixture(scope="module")
def front(supernet):
    return search(
        supernet, [Accuracy(BATCHES), Macs()], n_trials=20, constraints={"macs": "<= 90%"}
    )


def test_a_front_draws_the_figure_of_the_report(supernet, front, tmp_path):
    task = make_task(supernet, [Accuracy(BATCHES), Macs()], constraints={"macs": "<= 90%"})
    write_records(collect_result(front.study, task), tmp_path)
    assert front.plot() == draw_front(read_run(tmp_path)).figure


def test_a_selection_marks_its_own_members_among_all_trials(front):
    chosen = front.select(1)
    figure = chosen.plot()
    (marked,) = [trace for trace in figure.data if trace.name == "member of the front"]
    assert list(marked.x) == [chosen[0].macs]
    shown = [t for t in figure.data if t.name in {"evaluated", "cached", "pruned-constraint"}]
    assert sum(len(trace.x) for trace in shown) >= len(front)


def test_a_front_without_a_search_draws_its_members(front):
    bare = Front(front.members, front.objectives, front.full)
    (drawn,) = [trace for trace in bare.plot().data if trace.name == "evaluated"]
    assert list(drawn.x) == [member.macs for member in front]
    assert bare.study is None


def test_an_empty_front_draws_nothing_and_does_not_fail(front):
    assert not Front((), front.objectives).plot().data


def test_a_data_frame_has_a_row_a_member(front):
    frame = front.to_dataframe()
    assert list(frame["trial"]) == [member.trial for member in front]
    for row, member in zip(frame.to_dict("records"), front, strict=True):
        assert row["accuracy"] == member.values["accuracy"]
        assert {name: row[name] for name in member.footprint} == member.footprint
        assert {name: row[f"width:{name}"] for name in member.widths} == member.widths


def test_without_pandas_a_line_says_how_to_install_it(front, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install \"dpod-search\[pandas\]\"$"):
        front.to_dataframe()


def test_the_study_is_the_one_that_was_searched(front):
    assert front.study is not None
    assert front.study.metric_names == ["accuracy", "macs"]
    assert {member.trial for member in front} <= {t.number for t in front.study.trials}
    assert len(front.trials) == len(front.study.trials)


def test_a_study_in_a_journal_is_given_too(supernet, tmp_path):
    front = search(supernet, [Macs()], n_trials=6, storage=tmp_path / "journal.log")
    assert len(front.study.trials) == len(front.trials) == 6


def test_copies_leave_the_open_study(front):
    copied = copy.deepcopy(replace(front, members=()))
    assert copied.study is None
    assert copied.trials == front.trials
