from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from training.fakes import FixedPolicy
from training.fakes import StopAfter
from training.fakes import StoppedError
from training.fakes import equal_states
from training.fakes import make_batches
from training.fakes import make_loader
from training.fakes import make_net
from training.fakes import make_pictures
from training.fakes import make_supernet

from dpod_search.errors import CheckpointError
from dpod_search.errors import ConfigError
from dpod_search.errors import DataError
from dpod_search.errors import TrainingError
from dpod_search.evaluation import Evaluator
from dpod_search.footprint import build_footprint
from dpod_search.supernet import build_supernet
from dpod_search.training import POLICIES
from dpod_search.training import CheckpointFile
from dpod_search.training import TrainingSettings
from dpod_search.training.policies import Plan
from dpod_search.training.schedule import CountedScorer
from dpod_search.training.train import train_by_policy


SETTINGS = TrainingSettings(epochs=4, lr=0.05, policy_options={"n_profiles": 4})
N_STEPS = 12
LOADERS = {"list": make_batches, "seeded": make_loader}


def train(supernet, loader, settings=SETTINGS, *, seed=0, **options):
    evaluator = Evaluator(supernet, make_pictures(12, seed=5)[0])
    judged = make_batches(12, 12, seed=6)
    footprint = build_footprint(supernet)
    return train_by_policy(
        supernet,
        loader,
        settings,
        CountedScorer(
            lambda widths: evaluator.evaluate(widths, judged).quality,
            lambda widths: footprint.measure(widths)["macs"],
            0,
        ),
        seed=seed,
        **options,
    )


def test_training_learns_and_leaves_the_full_net_in_evaluation_mode():
    supernet = make_supernet()
    evaluator = Evaluator(supernet, make_pictures(12, seed=5)[0])
    judged = make_batches(30, 30, seed=7)
    before = evaluator.evaluate(supernet.space.full, judged).quality
    settings = dataclasses.replace(SETTINGS, epochs=10)
    result = train(supernet, make_batches(), settings)
    assert evaluator.evaluate(supernet.space.full, judged).quality > before + 0.1
    assert not supernet.training
    assert supernet.widths == supernet.space.full
    assert result.n_steps == 30
    assert result.seconds > 0
    assert len(result.history) == 30
    assert result.path[0] == supernet.space.full
    assert result.path[-1] == supernet.space.smallest


@pytest.fixture(scope="module", params=LOADERS)
def uninterrupted(request):
    supernet = make_supernet(dropout=0.2)
    result = train(supernet, LOADERS[request.param]())
    return request.param, supernet, result


@pytest.mark.parametrize("n_done", range(1, N_STEPS + 1))
def test_stopped_after_any_step_weights_history_and_path_are_the_same(
    uninterrupted, n_done, tmp_path
):
    name, whole, result = uninterrupted
    checkpoint = CheckpointFile(tmp_path / "c.safetensors", key="run", every_seconds=0)
    with pytest.raises(StoppedError):
        train(
            make_supernet(dropout=0.2),
            LOADERS[name](),
            checkpoint=checkpoint,
            progress=StopAfter(n_done),
        )
    supernet = make_supernet(dropout=0.2, seed=9)  # other weights, to be replaced
    resumed = train(supernet, LOADERS[name](), checkpoint=checkpoint)
    if n_done > 1:  # the step that is interrupted is not kept
        assert equal_states(supernet.state_dict(), whole.state_dict())
        assert resumed.history == result.history
        assert resumed.path == result.path
        assert resumed.n_steps == result.n_steps


def test_the_same_seed_gives_the_same_weights_and_another_one_others():
    nets = []
    for seed, noise in ((0, 1), (0, 2), (1, 3)):
        supernet = make_supernet()
        torch.manual_seed(noise)
        train(supernet, make_batches(), seed=seed)
        nets.append(supernet.state_dict())
    assert equal_states(nets[0], nets[1])
    assert not equal_states(nets[0], nets[2])


def test_the_checkpoint_of_another_run_is_refused(tmp_path):
    path = tmp_path / "c.safetensors"
    train(make_supernet(), make_batches(), checkpoint=CheckpointFile(path, key="this"))
    written = path.read_bytes()
    with pytest.raises(CheckpointError, match="another training run"):
        train(make_supernet(), make_batches(), checkpoint=CheckpointFile(path, key="that"))
    assert path.read_bytes() == written


def test_nan_in_the_pictures_names_step_and_widths_and_keeps_the_checkpoint(tmp_path):
    checkpoint = CheckpointFile(tmp_path / "c.safetensors", key="run", every_seconds=0)
    with pytest.raises(StoppedError):
        train(make_supernet(), make_batches(), checkpoint=checkpoint, progress=StopAfter(5))
    written = checkpoint.path.read_bytes()
    bad = make_batches()
    bad[4 % 3][0][0, 0, 0, 0] = math.nan
    with pytest.raises(TrainingError, match=r"at step 4 \(full net and widths \d:\d\)"):
        train(make_supernet(), bad, checkpoint=checkpoint)
    assert checkpoint.path.read_bytes() == written


def test_loaders_without_batches_are_refused():
    with pytest.raises(DataError, match="is empty"):
        train(make_supernet(), [])


def test_a_supernet_without_groups_is_refused():
    supernet = make_supernet()
    supernet.grouping = dataclasses.replace(supernet.grouping, groups=())
    with pytest.raises(ConfigError, match="no channel group"):
        train_by_policy(
            supernet,
            make_batches(),
            SETTINGS,
            CountedScorer(lambda w: 1.0, lambda w: 1.0, 0),
            seed=0,
        )


def test_a_ladder_of_one_rung_trains_the_full_net():
    supernet = build_supernet(make_net(), torch.zeros(2, 1, 6, 6), ratios=(1.0,))
    result = train(supernet, make_batches())
    assert result.path == (supernet.space.full,)
    assert set(result.history[-1]) == {"step", "lr", "loss"}


def test_options_of_a_named_policy_are_no_options_of_a_class():
    policy = FixedPolicy(Plan(True, ()))
    with pytest.raises(ConfigError, match=r"'dpod'.*\{'n_profiles': 4\}.*functools\.partial"):
        train(make_supernet(), make_batches(), policy=lambda context: policy)
    settings = dataclasses.replace(SETTINGS, policy_options={}, epochs=1)
    train(make_supernet(), make_batches(), settings, policy=lambda context: policy)


def test_a_policy_may_have_no_path_and_no_full_net(monkeypatch):
    smallest = make_supernet().space.smallest

    @dataclasses.dataclass(frozen=True)
    class NoOptions:
        pass

    policy = FixedPolicy(Plan(False, (smallest,)))
    monkeypatch.setitem(POLICIES, "smallest", (lambda context, options: policy, NoOptions))
    supernet = make_supernet()
    settings = TrainingSettings(policy="smallest", epochs=1)
    result = train(supernet, make_batches(), settings)
    assert result.path == ()
    assert result.history[0]["loss"] == result.history[0]["partial_loss"]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("policy", "dpad"),
        ("policy_options", {"n_profile": 3}),
        ("epochs", -1),
        ("batch_size", 1),
        ("lr", 0),
        ("lr", math.nan),
        ("momentum", 1.0),
        ("weight_decay", -1),
        ("optimizer", "adam"),
        ("schedule", "linear"),
        ("warmup_share", 1),
        ("max_grad_norm", -1),
        ("ema_decay", 1),
        ("precision", "float16"),
        ("label_smoothing", 1.0),
        ("crop_padding", -1),
        ("n_workers", -1),
        ("checkpoint_seconds", -1),
    ],
)
def test_settings_out_of_range_are_named(setting, value):
    with pytest.raises(ConfigError, match=f"training.{setting}"):
        TrainingSettings(**{setting: value})
