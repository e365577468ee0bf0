"""How many trials a search may have whose finetuning is what counts."""

from __future__ import annotations

import pytest
from pipeline.tiny import load_tiny

from dpod_search.pipeline.folder import RunFolder
from dpod_search.pipeline.session import Session
from dpod_search.pipeline.stages.affording import limit_search
from dpod_search.pipeline.stages.affording import list_ladder
from dpod_search.progress import SilentProgress


def count(folder, *overrides, is_filled=False):
    session = Session(load_tiny(*overrides), RunFolder(folder), SilentProgress())
    return limit_search(session, is_filled=is_filled).n_trials


def test_without_a_share_the_study_says_how_many(tmp_path):
    assert count(tmp_path) == 12


def test_twice_the_share_or_the_epochs_is_twice_the_trials(tmp_path):
    wide = ("search.n_trials=1000000", "finetune.equal_cost=1.0", "finetune.max_epochs=1000")
    once = count(tmp_path, "search.finetune_share=10", "finetune.epochs=5", *wide)
    for twice in (
        ("search.finetune_share=20", "finetune.epochs=5"),
        ("search.finetune_share=10", "finetune.epochs=10"),
    ):
        assert count(tmp_path, *twice, *wide) == pytest.approx(2 * once, abs=1)


def test_budgets_say_what_is_finetuned(tmp_path):
    wide = ("search.n_trials=1000000", "search.finetune_share=100", "finetune.equal_cost=0.0")
    none = ("finetune.tunes_full=false", "training.epochs=1")
    small, large = (
        count(tmp_path, f'finetune.budgets=["macs<={share}%"]', *wide, *none) for share in (20, 60)
    )
    assert large == pytest.approx(3 * small, rel=0.1)


def test_it_is_worth_as_many_passes_as_finetuning_takes(tmp_path):
    # A member of all macs and the full net, for 4 epochs each, a backward pass as two forward ones.
    overrides = (
        "search.n_trials=1000000",
        "search.finetune_share=1",
        "finetune.epochs=4",
        "finetune.equal_cost=1.0",
        "finetune.max_epochs=1000",
        'finetune.budgets=["macs<=100%"]',
    )
    session = Session(load_tiny(*overrides), RunFolder(tmp_path), SilentProgress())
    n_judged = len(session.data.validation) + len(session.calibration_images)
    ladder = list_ladder(session)
    share = sum(ladder) / len(ladder) / ladder[-1]
    passes = 2 * 3 * 4 * len(session.data.train)
    assert limit_search(session, is_filled=False).n_trials == int(passes / (n_judged * share))


def test_it_is_no_more_than_the_study_says(tmp_path):
    assert count(tmp_path, "search.finetune_share=1000", "finetune.epochs=100") == 12


def test_less_than_a_generation_is_none_if_the_budgets_are_filled_without(tmp_path):
    little = "search.finetune_share=0.0001"
    assert count(tmp_path, little, is_filled=True) == 1
    assert count(tmp_path, little) == 6  # search.population_size


def test_without_finetuning_the_search_is_all_there_is(tmp_path):
    assert count(tmp_path, "search.finetune_share=0.05", "finetune.epochs=0") == 12
