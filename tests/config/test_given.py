"""What a study has for defaults once it names trained weights."""

from __future__ import annotations

import pytest

from dpod_search.config import load_study
from dpod_search.config import make_study
from dpod_search.errors import ConfigError


WEIGHTS = 'model.weights="net.pth"'


def test_weights_stay_and_subnets_are_repaired_and_chained():
    study = make_study("any", [WEIGHTS])
    assert study.training.epochs == 0
    assert study.data.calibration_share == 0.01
    assert study.evaluation.repair
    assert study.evaluation.n_calibration == 1500
    assert study.finetune.chain
    assert not study.finetune.tunes_full


def test_what_the_study_says_stays():
    changes = [
        WEIGHTS,
        "training.flip=true",
        "evaluation.repair=false",
        "finetune.tunes_full=true",
    ]
    study = make_study("any", changes)
    assert study.training.epochs == 0
    assert not study.evaluation.repair
    assert study.evaluation.n_calibration == 1500
    assert study.finetune.tunes_full


@pytest.mark.parametrize(
    ("changes", "share"),
    [
        ([], 0.05),
        (["search.n_ladder=3"], 0.05),
        (["search.finetune_share=0.2"], 0.2),
        (["search.n_trials=240"], None),
        (["search.stall=9"], None),
    ],
)
def test_the_search_has_a_share_of_the_finetuning_unless_it_has_a_length(changes, share):
    assert make_study("any", [WEIGHTS, *changes]).search.finetune_share == share
    without = 0.2 if share == 0.2 else None
    assert make_study("any", changes).search.finetune_share == without


def test_what_is_chosen_at_once_has_them_too():
    study = make_study(
        "any",
        [
            WEIGHTS,
            'oneshot.method="mdp"',
            'oneshot.budgets=["macs<=25%"]',
            'training.policy="dense"',
        ],
    )
    assert study.training.epochs == 0
    assert study.evaluation.repair
    assert study.finetune.chain


@pytest.mark.parametrize(
    "changes", [[], [WEIGHTS, "training.epochs=30"], [WEIGHTS, 'training.policy="sandwich"']]
)
def test_a_supernet_that_is_trained_has_the_other_defaults(changes):
    study = make_study("any", changes)
    assert study.training.epochs == 30
    assert not study.evaluation.repair


def test_nothing_is_trained_only_where_there_are_weights(tmp_path):
    with pytest.raises(ConfigError, match=r"training\.epochs = 0 takes trained weights"):
        make_study("any", ["training.epochs=0"])
    file = tmp_path / "study.toml"
    file.write_text("model = 3\n")
    with pytest.raises(ConfigError, match="model must be a table"):
        load_study(file)
