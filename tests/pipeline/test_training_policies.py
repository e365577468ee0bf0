"""The whole loop with each training policy: a training without a path is searched and reported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pipeline.tiny import load_tiny

from dpod_search.pipeline import run_stages
from dpod_search.training import POLICIES


SHORT = ("search.n_trials=8", "finetune.n_subnets=1", "training.policy_options={}")
# What else has no run of its own: training from labels alone, and the group lasso.
MORE = {"uniform": ("training.distillation=0",), "sandwich": ("training.group_lasso=0.001",)}


@pytest.mark.parametrize("policy", sorted(set(POLICIES) - {"dpod"}))
def test_a_run_with_each_policy_ends_with_a_report(policy: str, tmp_path: Path) -> None:
    changes = (*SHORT, f"training.policy={policy}", *MORE.get(policy, ()))
    run_stages(load_tiny(*changes), tmp_path)
    profiles = json.loads((tmp_path / "path.json").read_text())["profiles"]
    assert len(profiles) == (policy == "dense")  # the full net
    training = json.loads((tmp_path / "training.json").read_text())
    assert training["policy"] == policy
    assert training["history"][-1]["loss"] > 0
    assert ("group_lasso" in training["history"][-1]) == (policy == "sandwich")
    # A path of the full net alone is none.
    assert "makes no path" in (tmp_path / "report.html").read_text()
    assert json.loads((tmp_path / "front.json").read_text())["members"]
